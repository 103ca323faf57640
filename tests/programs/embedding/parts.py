"""The Python part of the programs that embed CPython: functions that burn in a span each, called as the span."""

import threading
import time

import host
import workload
from embedding import plain
from opentelemetry import trace

tracer = trace.get_tracer("embedding")
# Set when the work begins, by which time the profiler has met all threads that wait for it.
begun = threading.Event()


def set_up(settle_seconds: float = 0) -> None:
    """Register a provider, and have a span made. The profiler may need some seconds to learn of it, if it is
    at work already.
    """
    plain.settled = time.monotonic() + settle_seconds
    workload.set_up_tracing(service_name="embedding")
    with tracer.start_as_current_span("first of its class"):
        pass


def current_span() -> int:
    """Tell the id of the current span."""
    return trace.get_current_span().get_span_context().span_id


plain.current_span = current_span


def burn_a(ways: str, seconds: float) -> None:
    """Burn in span a."""
    for way in ways.split():
        plain.WAYS[way](seconds)


def burn_b(ways: str, seconds: float) -> None:
    """Burn in span b."""
    for way in ways.split():
        plain.WAYS[way](seconds)


def burn_c(ways: str, seconds: float) -> None:
    """Burn in span c."""
    for way in ways.split():
        plain.WAYS[way](seconds)


def burn_d(ways: str, seconds: float) -> None:
    """Burn in span d."""
    for way in ways.split():
        plain.WAYS[way](seconds)


def burn_e(ways: str, seconds: float) -> None:
    """Burn in span e."""
    for way in ways.split():
        plain.WAYS[way](seconds)


def burn_f(ways: str, seconds: float) -> None:
    """Burn in span f."""
    for way in ways.split():
        plain.WAYS[way](seconds)


BURNERS = {"a": burn_a, "b": burn_b, "c": burn_c, "d": burn_d, "e": burn_e, "f": burn_f}


def in_span(name: str, ways: str, seconds: float) -> None:
    """Burn once in each way, in a span of its own or in none."""
    if name == "plain":
        plain.burn_plain(ways, seconds)
        return
    with tracer.start_as_current_span(name):
        BURNERS[name](ways, seconds)


def go_on(ways: str, seconds: float) -> None:
    """Burn once in each way, in whatever span the state is in."""
    for way in ways.split():
        plain.WAYS[way](seconds)


def loop(name: str, ways: str, until: float) -> None:
    """Burn again and again, until the process has used so much CPU time."""
    while time.process_time() < until:
        in_span(name, ways, 0.004)


def around_act(name: str, ways: str, seconds: float) -> None:
    """Burn in a span before and after what the program does in a C function."""
    with tracer.start_as_current_span(name):
        BURNERS[name](ways, seconds)
        host.act()
        BURNERS[name](ways, seconds)


def wait_in(name: str) -> None:
    """Sleep in a span, from before the profiler came until the work begins."""
    while not begun.is_set():
        in_span(name, "sleep", 0.004)


def begin() -> None:
    """Let the waiting threads begin."""
    begun.set()


def loop_in_threads(name: str, ways: str, until: float) -> None:
    """Burn in a thread of Python's as well."""
    threading.Thread(target=loop, args=(name, ways, until)).start()


def turns(name: str, turn: float, until: float) -> None:
    """Burn in turns with others, each turn in a span that stays open while the others have theirs."""
    while time.process_time() < until:
        with tracer.start_as_current_span(name):
            BURNERS[name]("spin", turn)
            host.act()
            BURNERS[name]("unlocked", turn / 2)


def wait_for_start() -> None:
    """Say that all is imported; wait for the test, and until the agent has seen the process."""
    workload.wait_for_start()
    time.sleep(0.3)


def wait_for_end() -> None:
    """Say that all is done."""
    workload.say(done=True)
    workload.wait_for_end()
