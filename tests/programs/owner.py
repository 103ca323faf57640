"""Says who it is in the ways that applications have, and uses CPU time in spans: `owner.py SECONDS [WAY…]`.

``title``: it writes a title over its command line and environment. ``setproctitle``: that package does. ``code``: its
resource is made in code. ``wrapped``: its provider lies in one that is not the SDK's. ``package``: with the package.
``own``: it has no provider. ``fork``: a child does the same work, under a title; with ``own`` it has a provider.
"""

import os
import sys

import workload
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

RESOURCE = {
    "service.name": "named in code",
    "service.namespace": "of code",
    "service.version": "7",
}


class Wrapped(trace.TracerProvider):
    """A provider that is not the SDK's, and has one."""

    def __init__(self, provider: TracerProvider) -> None:
        """Keep it."""
        self.kept = provider

    def get_tracer(self, *arguments: object, **named: object) -> trace.Tracer:
        """Ask it."""
        return self.kept.get_tracer(*arguments, **named)


def show(title: bytes) -> None:
    """Write it over the memory that the kernel has put the command line and the environment in."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rsplit(b") ", 1)[1].split()
    start, end = int(fields[45]), int(fields[48])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(title.ljust(end - start, b"\0")[: end - start])


def set_up(ways: "list[str]") -> None:
    """Set up tracing, as the only one in this process."""
    resource = Resource.create(RESOURCE) if "code" in ways else None
    provider = TracerProvider(resource=resource)
    if "package" in ways:
        import spanprof

        provider.add_span_processor(spanprof.SpanProcessor())
    trace.set_tracer_provider(Wrapped(provider) if "wrapped" in ways else provider)


def burn_span(seconds: float) -> None:
    """Use CPU time in spans."""
    tracer = trace.get_tracer("owner")
    used = 0.0
    while used < seconds:
        with tracer.start_as_current_span("span"):
            used += workload.burn(0.02)


def work_as_child(seconds: float, ways: "list[str]") -> None:
    """Use CPU time under a title, and perhaps as another service."""
    show(b"worker: a child")
    if "own" in ways:
        set_up(["code"])
    burn_span(seconds)


def main() -> None:
    """Say who it is, and work."""
    seconds, *ways = sys.argv[1:]
    if "title" in ways:
        show(b"worker: idle")
    if "setproctitle" in ways:
        import setproctitle

        setproctitle.setproctitle("gunicorn: worker [checkout.wsgi]")
    if "own" not in ways:
        set_up(ways)
    workload.wait_for_start()
    child = os.fork() if "fork" in ways else None
    if child == 0:
        work_as_child(float(seconds), ways)
        os._exit(0)
    burn_span(float(seconds))
    if child is not None:
        os.waitpid(child, 0)
    workload.say(pids=[str(it) for it in (os.getpid(), child) if it])
    workload.wait_for_end()


if __name__ == "__main__":
    main()
