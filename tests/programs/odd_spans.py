"""Spans that are not as they should be: one case a run, named by the first argument."""

import asyncio
import contextvars
import os
import sys
import threading

import workload
from opentelemetry import context, trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

SECONDS = 1.0


class OwnContext(ContextVarsRuntimeContext):
    """A runtime context of the application's own, which the agent cannot read."""

    def __init__(self) -> None:
        """Keep the contexts in another place than OpenTelemetry."""
        self._own = contextvars.ContextVar("own", default=context.Context())  # noqa: B039 (immutable)

    def attach(self, context: context.Context) -> contextvars.Token:
        """Make a context current."""
        return self._own.set(context)

    def get_current(self) -> context.Context:
        """Return the current context."""
        return self._own.get()

    def detach(self, token: contextvars.Token) -> None:
        """Make the context before current again."""
        self._own.reset(token)


if "OWN_CONTEXT" in os.environ:
    context._RUNTIME_CONTEXT = OwnContext()
UMLAUTS = "GET /größe/日本語/🐍"
tracer = workload.set_up_tracing(service_name="odd")


def span_id(span: trace.Span) -> str:
    """Tell a span's id as profiles do."""
    return trace.format_span_id(span.get_span_context().span_id)


def ended_elsewhere() -> None:
    """End a span on another thread than the one it was started in."""
    span = tracer.start_span("travels")
    token = context.attach(trace.set_span_in_context(span))
    while_open()
    thread = threading.Thread(target=span.end)
    thread.start()
    thread.join()
    after_end()
    context.detach(token)
    with tracer.start_as_current_span("next") as following:
        in_next()
    workload.say(travels=span_id(span), next=span_id(following))


def while_open() -> None:
    """Work in the span."""
    workload.burn(SECONDS)


def after_end() -> None:
    """Work in no span."""
    workload.burn(SECONDS)


def in_next() -> None:
    """Work in the span that follows."""
    workload.burn(SECONDS)


def deep(levels: int) -> None:
    """Open this many spans in one another, work, and work in the root alone again."""
    with tracer.start_as_current_span("level 0") as root:
        innermost = descend(1, levels)
        at_the_root()
    workload.say(root=span_id(root), innermost=innermost)


def descend(level: int, levels: int) -> str:
    """Open the next span, or work."""
    with tracer.start_as_current_span(f"level {level}") as span:
        if level + 1 < levels:
            return descend(level + 1, levels)
        at_the_bottom()
        return span_id(span)


def at_the_bottom() -> None:
    """Work in the innermost span."""
    workload.burn(SECONDS)


def at_the_root() -> None:
    """Work in the root span."""
    workload.burn(SECONDS)


def long_name() -> None:
    """Name a span with 10 kB, its cut inside a character of two bytes."""
    with tracer.start_as_current_span("n" + "ä" * 5120) as span:
        in_long_name()
    workload.say(span=span_id(span))


def in_long_name() -> None:
    """Work in the span."""
    workload.burn(SECONDS)


def not_ascii() -> None:
    """Name a span in other scripts."""
    with tracer.start_as_current_span(UMLAUTS) as span:
        in_not_ascii()
    workload.say(span=span_id(span), name=UMLAUTS)


def in_not_ascii() -> None:
    """Work in the span."""
    workload.burn(SECONDS)


def interleaved() -> None:
    """Open two spans beside each other: the agent cannot tell which one is current."""
    first = tracer.start_span("first")
    second = tracer.start_span("second")
    both_open()
    first.end()
    one_open()
    second.end()
    none_open()
    workload.say(first=span_id(first), second=span_id(second))


def both_open() -> None:
    """Work while both spans are open."""
    workload.burn(SECONDS)


def one_open() -> None:
    """Work while the second span alone is open."""
    workload.burn(SECONDS)


def none_open() -> None:
    """Work when both have ended."""
    workload.burn(SECONDS)


def concurrent() -> None:
    """Serve two requests at once in an event loop, taking turns."""
    asyncio.run(two_requests())
    workload.say(done=True)


async def two_requests() -> None:
    """Run both."""
    await asyncio.gather(serve_alpha(), serve_beta())


async def serve_alpha() -> None:
    """Take turns with the other."""
    with tracer.start_as_current_span("alpha"):
        for _ in range(50):
            in_alpha()
            await asyncio.sleep(0)


async def serve_beta() -> None:
    """Take turns with the other."""
    with tracer.start_as_current_span("beta"):
        for _ in range(50):
            in_beta()
            await asyncio.sleep(0)


def in_alpha() -> None:
    """Work for the first request."""
    workload.burn(SECONDS / 50)


def in_beta() -> None:
    """Work for the second request."""
    workload.burn(SECONDS / 50)


def fork() -> None:
    """Fork within a span; parent and child both work."""
    with tracer.start_as_current_span("forks") as span:
        child = os.fork()
        if child == 0:
            in_child()
            os._exit(0)
        in_parent()
        os.waitpid(child, 0)
    workload.say(span=span_id(span), child=child)


def in_child() -> None:
    """Work in the child, which has started no span itself."""
    workload.burn(SECONDS)


def in_parent() -> None:
    """Work in the parent meanwhile."""
    workload.burn(SECONDS)


def execute() -> None:
    """Replace the program within a span."""
    with tracer.start_as_current_span("executes"):
        before_exec()
        os.execv(sys.executable, [sys.executable, __file__, "after_exec"])


def before_exec() -> None:
    """Work in the span."""
    workload.burn(SECONDS)


def after_exec() -> None:
    """Work in the new program, which knows of no span."""
    workload.burn(SECONDS)
    workload.say(done=True)


def exits() -> None:
    """Work in a span, and exit within it."""
    with tracer.start_as_current_span("exits") as span:
        before_exit()
        workload.say(span=span_id(span))
        os._exit(0)


def before_exit() -> None:
    """Work in the span."""
    workload.burn(SECONDS)


def main() -> None:
    """Run the case, with its arguments."""
    case, *arguments = sys.argv[1:]
    cases = {
        "after_exec": after_exec,
        "concurrent": concurrent,
        "deep": deep,
        "ended_elsewhere": ended_elsewhere,
        "execute": execute,
        "exits": exits,
        "fork": fork,
        "interleaved": interleaved,
        "long_name": long_name,
        "not_ascii": not_ascii,
    }
    if case != "after_exec":
        workload.wait_for_start()
    cases[case](*map(int, arguments))
    workload.wait_for_end()


if __name__ == "__main__":
    main()
