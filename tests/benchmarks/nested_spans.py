"""Keeps a CPU busy in 5 000 spans a second, ten in one another each time.

Runs until stdin is closed.
"""

from __future__ import annotations

import time

import spanprof
import until_closed
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Tracer, TracerProvider

TURN = 0.01
REQUESTS_A_TURN = 5
DEPTH = 10


def work(end: float) -> None:
    """Burn CPU until then."""
    number = 0
    while time.monotonic() < end:
        for _ in range(100):
            number = (number * 31 + 7) % 1_000_003


def step(tracer: Tracer, depth: int, end: float) -> None:
    """Work within this many spans."""
    if depth == 0:
        work(end)
        return
    with tracer.start_as_current_span("step"):
        step(tracer, depth - 1, end)


def main() -> None:
    """Burn."""
    provider = TracerProvider(resource=Resource({"service.name": "nested"}), shutdown_on_exit=False)
    provider.add_span_processor(spanprof.SpanProcessor())
    tracer = provider.get_tracer("nested")
    stop = until_closed.ready()
    while not stop.is_set():
        start = time.monotonic()
        for number in range(REQUESTS_A_TURN):
            step(tracer, DEPTH, start + TURN * (number + 1) / REQUESTS_A_TURN)


if __name__ == "__main__":
    main()
