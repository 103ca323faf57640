"""Ways to use CPU time that record themselves, for interpreters with OpenTelemetry and without it.

Nothing here may call another Python function between the begin and the end of a stretch: a stretch has one
stack, and each of its samples must have it.
"""

import sys
import time

import host

try:
    import zlib
except ImportError:  # A build without the library.
    zlib = None

DATA = bytes(1 << 20)


def no_span() -> int:
    """Give the id of the current span: none."""
    return 0


# `parts` replaces it.
current_span = no_span
# When all should be attributed.
settled = 0.0


def kind(usual: str) -> str:
    """Tell what a stretch is that begins now."""
    return usual if time.monotonic() >= settled else "settling"


def stack() -> str:
    """Tell the names of the caller and of its callers, leaf first, as the interpreter knows them."""
    names = []
    frame = sys._getframe(1)
    while frame:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return ";".join(names)


def spin(seconds: float) -> None:
    """Use CPU time in Python code."""
    what, span, names = kind("attached"), current_span(), stack()
    begin, start = host.now(), time.thread_time_ns()
    until = start + int(seconds * 1e9)
    while time.thread_time_ns() < until:
        for _ in range(1000):
            pass
    host.stretch(what, begin, time.thread_time_ns() - start, span, names)


def unlocked(seconds: float) -> None:
    """Use CPU time in a C function of the program that has released the GIL."""
    host.unlocked(kind("detached"), seconds, current_span(), stack())


def checksum(seconds: float) -> None:
    """Use CPU time in a library that releases the GIL, again and again."""
    what, span, names = kind("detached"), current_span(), stack()
    begin, start = host.now(), time.thread_time_ns()
    until = start + int(seconds * 1e9)
    while time.thread_time_ns() < until:
        zlib.crc32(DATA)
    host.stretch(what, begin, time.thread_time_ns() - start, span, names)


def sleep(seconds: float) -> None:
    """Use none, and keep the state detached."""
    time.sleep(seconds)


WAYS = {
    "spin": spin,
    "unlocked": unlocked,
    "checksum": checksum if zlib else unlocked,
    "sleep": sleep,
}


def burn_plain(ways: str, seconds: float) -> None:
    """Burn in no span."""
    for way in ways.split():
        WAYS[way](seconds)
