"""Uses known amounts of CPU time in functions and spans of their own.

Argument: how, in `python` or in `numpy`. For every line on stdin (how many seconds): does so, and answers with
the nanoseconds that the thread's CPU clock has counted in each function, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable

import in_process
from opentelemetry.sdk.trace import TracerProvider

FUNCTIONS = 40
SIZE = 96
# In C without the GIL: a product of two matrices takes some hundred microseconds.
NUMPY = """
def work_{number:02}(until):
    while thread_time_ns() < until:
        matrix @ matrix
"""
SOURCE = """
def work_{number:02}(until):
    number = 0
    while thread_time_ns() < until:
        for _ in range(100):
            number = (number * 31 + 7) % 1_000_003
"""


def functions(how: str) -> list[Callable[[int], None]]:
    """Make functions with code objects of their own."""
    names: dict[str, object] = {"thread_time_ns": time.thread_time_ns}
    template = SOURCE
    if how == "numpy":
        # What other threads do is not on this one's clock.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        import numpy

        template = NUMPY
        names["matrix"] = numpy.random.default_rng(1).random((SIZE, SIZE))
    source = "".join(template.format(number=number) for number in range(FUNCTIONS))
    exec(compile(source, "truth_work.py", "exec"), names)  # noqa: S102 (our own source)
    return [names[f"work_{number:02}"] for number in range(FUNCTIONS)]  # type: ignore[misc]


def main() -> None:
    """Answer until stdin is closed."""
    provider = TracerProvider()
    in_process.start(provider)
    tracer = provider.get_tracer("truth")
    work = functions(sys.argv[1])
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
    in_process.stop()


if __name__ == "__main__":
    main()
