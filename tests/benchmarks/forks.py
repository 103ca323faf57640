"""Forks children that use 3 ms of CPU each.

For every line on stdin (children in a second, and seconds): forks them, as far as the machine can, and answers with how
many it has forked.
"""

from __future__ import annotations

import os
import sys
import time

SECONDS = 0.003


def burn() -> None:
    """Use CPU time."""
    while time.thread_time() < SECONDS:
        pass


def reap() -> int:
    """Wait for those that have ended; how many there were."""
    ended = 0
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            ended += 1
    except ChildProcessError:
        pass
    return ended


def fork(rate: float, seconds: float) -> int:
    """Fork children at a rate; how many."""
    start = time.monotonic()
    children = ended = 0
    while (elapsed := time.monotonic() - start) < seconds:
        if children > elapsed * rate:
            time.sleep(0.001)
            continue
        children += 1
        if os.fork() == 0:
            burn()
            os._exit(0)
        ended += reap()
    while ended < children:
        os.waitpid(-1, 0)
        ended += 1
    return children


def main() -> None:
    """Answer until stdin is closed."""
    print("ready", flush=True)
    for line in sys.stdin:
        rate, seconds = map(float, line.split())
        print(fork(rate, seconds), flush=True)


if __name__ == "__main__":
    main()
