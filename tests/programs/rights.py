"""What a capability each buys: a span, frames of the kernel, and native frames of a deleted library.

Arguments: the library, and the user to become. Prints the share of work done in the span: all of it.
"""

import ctypes
import os
import sys
import time
from typing import TYPE_CHECKING

import workload

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_DUMPABLE = 4
tracer = workload.set_up_tracing(service_name="rights")

# Of each of the three kinds of work, at a time and in all, in seconds of CPU time. Each is measured, as what a
# loop takes differs tenfold between processors.
SLICE = 0.005
ENOUGH = 0.3


def use(work: "Callable[[], object]", seconds: float) -> float:
    """Do this until it has used so much CPU time; return how much it was."""
    start = time.thread_time()
    while (used := time.thread_time() - start) < seconds:
        work()
    return used


def become(user: int) -> None:
    """Become another user, and stay as open to others as a process that has started as that user."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def main() -> None:
    """Work in a span until enough was done."""
    path, user = sys.argv[1:]
    library = ctypes.CDLL(path)
    os.unlink(path)
    zeros = os.open("/dev/zero", os.O_RDONLY)
    block = bytearray(1 << 20)
    if int(user):
        become(int(user))
    kinds = {
        "python": lambda: sum(range(1000)),
        "library": lambda: library.spin_in_library(ctypes.c_uint64(100_000)),
        "kernel": lambda: os.readv(zeros, [block]),
    }
    workload.wait_for_start()
    with tracer.start_as_current_span("work"):
        used = dict.fromkeys(kinds, 0.0)
        while min(used.values()) < ENOUGH:
            for kind, work in kinds.items():
                used[kind] += use(work, SLICE)
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
