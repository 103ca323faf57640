"""Uses known amounts of CPU time in functions and spans of their own.

For every line on stdin (how many seconds): does so, and answers with the nanoseconds that the thread's CPU
clock has counted in each function, as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

from opentelemetry.sdk.trace import TracerProvider

FUNCTIONS = 40
SOURCE = """
def work_{number:02}(until):
    number = 0
    while thread_time_ns() < until:
        for _ in range(100):
            number = (number * 31 + 7) % 1_000_003
"""


def functions() -> list[Callable[[int], None]]:
    """Make functions with code objects of their own."""
    names: dict[str, object] = {"thread_time_ns": time.thread_time_ns}
    source = "".join(SOURCE.format(number=number) for number in range(FUNCTIONS))
    exec(compile(source, "truth_work.py", "exec"), names)  # noqa: S102 (our own source)
    return [names[f"work_{number:02}"] for number in range(FUNCTIONS)]  # type: ignore[misc]


def main() -> None:
    """Answer until stdin is closed."""
    tracer = TracerProvider().get_tracer("truth")
    work = functions()
    with tracer.start_as_current_span("first"):
        pass
    print("ready", flush=True)
    for line in sys.stdin:
        counted = [0] * FUNCTIONS
        end = time.monotonic() + int(line)
        while time.monotonic() < end:
            # The later ones get more, and no two turns are alike: the sampling clock finds no beat.
            number = random.choices(range(FUNCTIONS), range(10, 10 + FUNCTIONS))[0]
            nanoseconds = random.randrange(300_000, 6_000_000)
            with tracer.start_as_current_span(f"span_{number:02}"):
                start = time.thread_time_ns()
                work[number](start + nanoseconds)
                counted[number] += time.thread_time_ns() - start
        print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    main()
