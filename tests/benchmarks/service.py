"""Pretends to be a service that is not very busy: 20 requests a second, each a span of 2 ms of CPU.

Runs until stdin is closed.
"""

from __future__ import annotations

import time

import spanprof
import until_closed
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

PERIOD = 0.05
WORK_NANOSECONDS = 2_000_000


def work(frames: int) -> int:
    """Burn CPU below this many frames."""
    if frames > 1:
        return work(frames - 1)
    number = 0
    end = time.thread_time_ns() + WORK_NANOSECONDS
    while time.thread_time_ns() < end:
        for _ in range(200):
            number = (number * 31 + 7) % 1_000_003
    return number


def main() -> None:
    """Serve."""
    provider = TracerProvider(
        resource=Resource({"service.name": "benchmark"}), shutdown_on_exit=False
    )
    provider.add_span_processor(spanprof.SpanProcessor())
    tracer = provider.get_tracer("benchmark")
    stop = until_closed.ready()
    while not stop.wait(PERIOD):
        with tracer.start_as_current_span("GET /request"):
            work(25)


if __name__ == "__main__":
    main()
