"""Sub-interpreters made by Python code: before OpenTelemetry is imported and long after, on the thread of another
interpreter and on threads of their own, with OpenTelemetry in them and without, and destroyed again.
"""

import sys
import threading
import time

from embedding import plain

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
try:
    from concurrent.futures import InterpreterPoolExecutor
except ImportError:  # Before 3.14.
    InterpreterPoolExecutor = None

PLAIN = "from embedding import plain; plain.burn_plain('spin unlocked', 0.004)"
SET_UP = "from embedding import parts; parts.set_up()"
SET_UP_LATE = "from embedding import parts; parts.set_up(settle_seconds=2)"
IN_SPAN = "parts.in_span('b', 'spin unlocked', 0.004)"

# Set when the threads are to begin, and when they are to end.
begun, ended = threading.Event(), threading.Event()


def execute(interpreter: object, source: str) -> None:
    """Run code in an interpreter, on this thread."""
    run = getattr(interpreters, "run_string", None) or interpreters.exec
    failure = run(interpreter, source)
    assert failure is None, failure


def create() -> object:
    """Make an interpreter that may import what starts threads."""
    if (3, 9) <= sys.version_info < (3, 12):
        return interpreters.create(isolated=False)
    return interpreters.create()


def live() -> None:
    """Have an interpreter until the end, on the thread that calls."""
    own = interpreters.create()
    execute(own, "from embedding import plain")
    begun.wait()
    while not ended.is_set():
        execute(own, PLAIN)
    interpreters.destroy(own)


def live_late() -> None:
    """Have one that imports OpenTelemetry while it is profiled."""
    own = create()
    execute(own, SET_UP_LATE)
    while not ended.is_set():
        execute(own, IN_SPAN)
    interpreters.destroy(own)


early = threading.Thread(target=live)
late = threading.Thread(target=live)
late_with_spans = threading.Thread(target=live_late)
# An interpreter with OpenTelemetry from the start, and more of them.
served = executor = None


def start_early() -> None:
    """Have an interpreter that is older than OpenTelemetry in the main one."""
    early.start()


def prepare() -> None:
    """Make interpreters whose spans are judged: they are there before the profiler looks."""
    from embedding import parts

    global served, executor
    served = create()
    execute(served, SET_UP)
    if InterpreterPoolExecutor:
        executor = InterpreterPoolExecutor(max_workers=2, initializer=parts.set_up)
        for one in [executor.submit(time.sleep, 0.1) for _ in range(2)]:
            one.result()


def nest() -> None:
    """Enter interpreters from this one, on the same thread: one that stays, and one that is gone then."""
    execute(served, IN_SPAN)
    passing = interpreters.create()
    execute(passing, PLAIN)
    interpreters.destroy(passing)


def run(seconds: float) -> None:
    """Burn in all of them, for this many seconds of CPU time."""
    from embedding import parts

    begun.set()
    late.start()
    late_with_spans.start()
    until = time.process_time() + seconds
    while time.process_time() < until:
        with parts.tracer.start_as_current_span("a"):
            parts.burn_a("spin unlocked", 0.004)
            nest()
            parts.burn_a("spin", 0.004)
        plain.burn_plain("spin", 0.002)
        if executor:
            both = [
                executor.submit(parts.in_span, "c", "spin unlocked", 0.004),
                executor.submit(plain.burn_plain, "spin unlocked", 0.004),
            ]
            for one in both:
                one.result()
    ended.set()
    if executor:
        executor.shutdown()
    for thread in (early, late, late_with_spans):
        thread.join()
    interpreters.destroy(served)
