"""A process that keeps whoever opens one of its files waiting for as long as it likes.

It maps a file, to execute it, of a file system in user space (FUSE) that lets nobody open that any more. Lets go when it
is told to begin.
"""

import ctypes
import mmap
import os
import signal
import sys

import blocked
import workload

READ_EXECUTE = 1 | 4


class AllButTheFirst:
    """Requests that are not answered: those to read, and to open once more."""

    def __init__(self) -> None:
        """Nothing was opened yet."""
        self.opened = 0

    def __contains__(self, request: int) -> bool:
        """Tell whether this request is not answered."""
        self.opened += request == blocked.OPEN
        return request == blocked.READ or (request == blocked.OPEN and self.opened > 1)


def main() -> None:
    """Block, let go, and end without touching the page."""
    kept = mmap.mmap(-1, blocked.PAGE)
    page = ctypes.addressof(ctypes.c_char.from_buffer(kept))
    blocked.NOT_ANSWERED = AllButTheFirst()
    server = blocked.block(page)
    address = ctypes.c_void_p(page)
    blocked.check(blocked.libc.mprotect(address, blocked.PAGE, READ_EXECUTE))
    workload.wait_for_start()
    os.kill(server, signal.SIGKILL)
    workload.say(done=True)
    sys.stdin.readline()
    os._exit(0)


if __name__ == "__main__":
    main()
