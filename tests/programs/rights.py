"""What a capability each buys: a span, frames of the kernel, and native frames of a deleted library.

Arguments: the library, and the user to become. Prints the share of work done in the span: all of it.
"""

import ctypes
import os
import sys

import workload

PR_SET_DUMPABLE = 4
tracer = workload.set_up_tracing(service_name="rights")


def in_library(library: ctypes.CDLL) -> None:
    """Use CPU in native code."""
    library.spin_in_library(ctypes.c_uint64(1_000_000))


def in_kernel(zeros: int, block: bytearray) -> None:
    """Use CPU in the kernel."""
    for _ in range(20):
        os.readv(zeros, [block])


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
    workload.wait_for_start()
    with tracer.start_as_current_span("work"):
        used = 0.0
        while used < 0.8:
            in_library(library)
            in_kernel(zeros, block)
            used += workload.burn(0.005)
            used += 0.01
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
