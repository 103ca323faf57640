"""Runs Python in the thread that the argument names; prints both threads' pointers and tids."""

import os
import sys
import threading


def run() -> None:
    while True:
        pass


def wait() -> None:
    # The test sees by the system call that this thread waits here, and not for the GIL.
    os.read(os.pipe()[0], 1)


main, other = (run, wait) if sys.argv[1] == "main" else (wait, run)
thread = threading.Thread(target=other, daemon=True)
thread.start()
tids = threading.get_native_id(), thread.native_id
print("threads", threading.get_ident(), thread.ident, *tids, flush=True)
main()
