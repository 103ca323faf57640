"""Uses a number of seconds of CPU time and says how much it was; for tests that need no more.

busy.py SECONDS [again | fork | multiprocessing-fork | multiprocessing-spawn]
"""

import json
import multiprocessing
import os
import sys
import time


def busy(seconds: float) -> None:
    """Use CPU time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        for _ in range(1000):
            pass


def work(seconds: float) -> None:
    """Be busy, and say so."""
    start = time.process_time()
    busy(seconds)
    used = time.process_time() - start
    print(json.dumps({"busy": used, "pid": os.getpid()}), flush=True)


def main() -> None:
    """Work here, in this program once more, or in children."""
    seconds, *how = sys.argv[1:]
    if how == ["again"]:
        os.execv(sys.executable, [sys.executable, __file__, seconds])
    if not how:
        return work(float(seconds))
    processes = []
    if how == ["fork"]:
        for _ in range(3):
            if os.fork() == 0:
                work(float(seconds))
                os._exit(0)
        for _ in range(3):
            os.wait()
        return None
    context = multiprocessing.get_context(how[0].removeprefix("multiprocessing-"))
    for _ in range(3):
        process = context.Process(target=work, args=(float(seconds),))
        process.start()
        processes.append(process)
    for process in processes:
        process.join()
    return None


if __name__ == "__main__":
    main()
