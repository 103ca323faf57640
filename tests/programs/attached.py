"""Two threads: the one that is named runs Python, the other one waits. Says their thread pointers."""

import sys
import threading
import time


def run() -> None:
    while True:
        pass


def wait() -> None:
    time.sleep(3600)


main, other = (run, wait) if sys.argv[1] == "main" else (wait, run)
thread = threading.Thread(target=other, daemon=True)
thread.start()
print("threads", threading.get_ident(), thread.ident, flush=True)
main()
