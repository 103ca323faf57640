"""Works in functions that belong to a span each: `work_007` is only ever called in `span_007`.

Argument: how the spans relate. For every line on stdin (how many seconds): works, and answers `0`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable

import in_process
from opentelemetry.sdk.trace import TracerProvider

MOST = 100
NESTED = 10
PARALLEL = 4
SOURCE = """
def work_{number:03}(until):
    while thread_time() < until:
        for _ in range(100):
            pass
"""
provider = TracerProvider()
tracer = provider.get_tracer("owners")


def functions() -> list[Callable[[float], None]]:
    """Make functions with code objects of their own."""
    names: dict[str, object] = {"thread_time": time.thread_time}
    source = "".join(SOURCE.format(number=number) for number in range(MOST))
    exec(compile(source, "owners_work.py", "exec"), names)  # noqa: S102 (our own source)
    return [names[f"work_{number:03}"] for number in range(MOST)]  # type: ignore[misc]


WORK = functions()


def work(number: int, seconds: float = 0.0015) -> None:
    """Work for the span of a number, in which the caller is."""
    WORK[number](time.thread_time() + seconds)


async def request(number: int, end: float) -> None:
    """Serve a request that gives way to the others all the time."""
    while time.monotonic() < end:
        with tracer.start_as_current_span(f"span_{number:03}"):
            for _ in range(5):
                work(number)
                await asyncio.sleep(0)


async def requests(count: int, end: float) -> None:
    """Serve this many at once."""
    await asyncio.gather(*(request(number, end) for number in range(count)))


def nested(number: int, end: float) -> None:
    """Work in a span, in one below it, and in the first one again."""
    with tracer.start_as_current_span(f"span_{number:03}"):
        work(number)
        if number + 1 < NESTED and time.monotonic() < end:
            nested(number + 1, end)
        work(number)


def turns(first: int, end: float) -> None:
    """Work in spans one after the other."""
    number = first
    while time.monotonic() < end:
        with tracer.start_as_current_span(f"span_{number:03}"):
            work(number)
        number = first + (number - first + 1) % 20


def in_threads(end: float) -> None:
    """Work in several threads."""
    threads = [threading.Thread(target=turns, args=(20 * it, end)) for it in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_children(end: float) -> None:
    """Work in children that are forked from within a span."""
    children = []
    with tracer.start_as_current_span("span_099"):
        for number in range(PARALLEL):
            child = os.fork()
            if child == 0:
                turns(20 * number, end)
                os._exit(0)
            children.append(child)
        work(99)
    for child in children:
        os.waitpid(child, 0)


def main() -> None:
    """Answer until stdin is closed."""
    how = sys.argv[1]
    in_process.start(provider)
    with tracer.start_as_current_span("first"):
        pass
    print("ready", flush=True)
    for line in sys.stdin:
        end = time.monotonic() + int(line)
        if how.isdigit():
            asyncio.run(requests(int(how), end))
        elif how == "nested":
            while time.monotonic() < end:
                nested(0, end)
        elif how == "threads":
            in_threads(end)
        else:
            in_children(end)
        print("0", flush=True)
    in_process.stop()


if __name__ == "__main__":
    main()
