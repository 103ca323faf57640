"""Burns CPU in spans of one name, so that an agent can show that it sees them.

``hook`` as argument adds the package, and waits until its probes are on.
"""

import os
import sys
import time

from opentelemetry.sdk.trace import TracerProvider

provider = TracerProvider()
tracer = provider.get_tracer("proof")


def burn(seconds: float) -> int:
    """Use CPU time, not the clock's: the machine may be busy."""
    end = time.process_time() + seconds
    rounds = 0
    while time.process_time() < end:
        rounds += sum(range(1000))
    return rounds


def wait_for_probes(seconds: float) -> None:
    """End the program if no probe is attached to the package's site within that time."""
    from spanprof import _hook

    end = time.monotonic() + seconds
    while not _hook.stats()["probed"]:
        if time.monotonic() > end:
            sys.exit("no probe is on")
        with tracer.start_as_current_span("before"):
            time.sleep(0.01)


def main() -> None:
    """Ten spans of a tenth of a second; without the package as long as its parent process runs."""
    if "hook" in sys.argv:
        import spanprof

        provider.add_span_processor(spanprof.SpanProcessor())
        wait_for_probes(30)
        rounds = range(10)
    else:
        print("ready", flush=True)
        parent = os.getppid()
        rounds = iter(lambda: os.getppid() == parent, False)
    for _ in rounds:
        with tracer.start_as_current_span("proof"):
            burn(0.1)


if __name__ == "__main__":
    main()
