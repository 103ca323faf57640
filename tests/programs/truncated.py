"""Works in two libraries that are truncated while they are mapped, as an ordinary user.

Arguments: the libraries, and how many bytes they keep: all of their code, and none of their symbols. The first one
loses the rest after a while, the second one before it is used.
"""

import ctypes
import os
import sys
import time

NOBODY = 65534


def work(function, seconds: float) -> None:
    """Call a function for so much CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        function(1_000_000)


def main() -> None:
    """Work before and after."""
    first, second = sys.argv[1:3]
    kept = int(sys.argv[3])
    for path in first, second:
        os.chown(path, NOBODY, NOBODY)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    library = ctypes.CDLL(first)
    work(library.work_before, 1)
    os.truncate(first, kept)
    work(library.work_after, 1)
    library = ctypes.CDLL(second)
    os.truncate(second, kept)
    work(library.work_before, 1)


if __name__ == "__main__":
    main()
