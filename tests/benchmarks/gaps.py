"""Measures the time that is stolen from a thread below 30 Python and 20 native frames.

The first argument is the C library, the second how many threads the process has, all but one idle. For every
line on stdin (how many seconds): answers with the nanoseconds stolen in short gaps and in long ones, the
number of short gaps and the time watched, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading

import in_process

PYTHON_FRAMES = 30
NATIVE_FRAMES = 20


class Result(ctypes.Structure):
    """What the library fills in."""

    _fields_ = (
        ("stolen", ctypes.c_double),
        ("stopped", ctypes.c_double),
        ("gaps", ctypes.c_double),
        ("watched", ctypes.c_double),
    )


def watch(library: ctypes.CDLL, frames: int, seconds: float) -> Result:
    """Watch below this many frames."""
    if frames > 1:
        return watch(library, frames - 1, seconds)
    result = Result()
    library.watch(NATIVE_FRAMES, ctypes.c_double(seconds), ctypes.byref(result))
    return result


def main() -> None:
    """Answer until stdin is closed."""
    library = ctypes.CDLL(sys.argv[1])
    for _ in range(int(sys.argv[2]) - 1):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    in_process.start()
    print("ready", flush=True)
    for line in sys.stdin:
        # The module and this function are frames, too.
        result = watch(library, PYTHON_FRAMES - 2, float(line))
        facts = {name: getattr(result, name) for name, _ in Result._fields_}
        print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
