"""Keeps a CPU busy, and makes 10 000 nested spans a second besides.

For every line on stdin (how many seconds): does so, and answers with the number of spans as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import spanprof
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

TURN = 0.01
REQUESTS_A_TURN = 20
CHILDREN = 4


def work() -> None:
    """Burn a little CPU."""
    number = 0
    for _ in range(200):
        number = (number * 31 + 7) % 1_000_003


def main() -> None:
    """Answer until stdin is closed."""
    provider = TracerProvider(resource=Resource({"service.name": "storm"}), shutdown_on_exit=False)
    provider.add_span_processor(spanprof.SpanProcessor())
    tracer = provider.get_tracer("storm")
    with tracer.start_as_current_span("first"):
        pass
    print("ready", flush=True)
    for line in sys.stdin:
        spans = 0
        end = time.monotonic() + int(line)
        while (start := time.monotonic()) < end:
            for _ in range(REQUESTS_A_TURN):
                with tracer.start_as_current_span("request"):
                    for _ in range(CHILDREN):
                        with tracer.start_as_current_span("step"):
                            pass
            spans += REQUESTS_A_TURN * (1 + CHILDREN)
            while time.monotonic() < start + TURN:
                work()
        print(json.dumps({"spans": spans}), flush=True)


if __name__ == "__main__":
    main()
