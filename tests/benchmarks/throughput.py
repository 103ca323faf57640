"""Measures how fast a CPU-bound loop below 30 frames gets on.

For every line on stdin (a number): runs that many batches of constant work, and answers with the
nanoseconds that each took, as JSON: by the wall clock, since a profiler that stops the thread costs
it no CPU time.
"""

from __future__ import annotations

import json
import sys
import time

import in_process

DEPTH = 30
ITERATIONS = 150_000


def batch() -> int:
    """Do constant work; the time it took."""
    start = time.monotonic_ns()
    number = 0
    for _ in range(ITERATIONS):
        number = (number * 31 + 7) % 1_000_003
    return time.monotonic_ns() - start


def deeper(frames: int, batches: int) -> list[int]:
    """Run the batches below this many frames."""
    if frames > 1:
        return deeper(frames - 1, batches)
    return [batch() for _ in range(batches)]


def main() -> None:
    """Answer until stdin is closed."""
    in_process.start()
    deeper(DEPTH - 3, 5)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(deeper(DEPTH - 3, int(line))), flush=True)


if __name__ == "__main__":
    main()
