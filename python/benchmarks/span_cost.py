"""What the span processor costs, beside an empty one and pyroscope-otel (if installed).

Times on a busy machine are worth little, their differences within one round a little more. So every
round measures every processor once, in an order that changes, and the medians over all rounds are
compared.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import spanprof
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor as EmptySpanProcessor
from opentelemetry.sdk.trace import TracerProvider
from spanprof import _hook


def tracer_with(processor: object | None) -> trace.Tracer:
    """Build a tracer of the SDK whose provider has the one processor."""
    provider = TracerProvider(
        resource=Resource({"service.name": "benchmark"}), shutdown_on_exit=False
    )
    if processor is not None:
        provider.add_span_processor(processor)
    return provider.get_tracer("benchmark")


def root_spans(tracer: trace.Tracer, spans: int) -> None:
    """Make spans that are all local roots."""
    for _ in range(spans):
        with tracer.start_as_current_span("operation"):
            pass


def child_spans(tracer: trace.Tracer, spans: int) -> None:
    """Make spans below one local root."""
    with tracer.start_as_current_span("root"):
        root_spans(tracer, spans)


def measure(work, tracer: trace.Tracer, spans: int, probed: bool) -> float:
    """Time one batch, in microseconds a span."""
    _hook._force_probes(probed)
    start = time.perf_counter_ns()
    work(tracer, spans)
    return (time.perf_counter_ns() - start) / spans / 1000


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--spans", type=int, default=2000, help="spans a round and processor")
    options = parser.parse_args()

    processors: dict[str, object | None] = {
        "no processor": None,
        "empty processor": EmptySpanProcessor(),
        "spanprof": spanprof.SpanProcessor(),
        "spanprof, active": spanprof.SpanProcessor(span_label="active"),
        # As if an agent listened, without the kernel's part.
        "spanprof, probed": spanprof.SpanProcessor(),
    }
    try:
        from pyroscope.otel import PyroscopeSpanProcessor
    except ImportError:
        pass
    else:
        processors["pyroscope-otel"] = PyroscopeSpanProcessor()
    tracers = {name: tracer_with(processor) for name, processor in processors.items()}

    for work in (root_spans, child_spans):
        times: dict[str, list[float]] = {name: [] for name in tracers}
        for tracer in tracers.values():
            work(tracer, options.spans)
        for _ in range(options.rounds):
            for name in random.sample(list(tracers), len(tracers)):
                times[name].append(
                    measure(work, tracers[name], options.spans, name.endswith("probed"))
                )
        empty = times["empty processor"]
        print(f"{work.__name__}: microseconds a span, median of {options.rounds} rounds")
        for name, batch in times.items():
            added = statistics.median(a - b for a, b in zip(batch, empty, strict=True))
            ratio = statistics.median(a / b for a, b in zip(batch, empty, strict=True))
            print(
                f"  {name:18} {statistics.median(batch):7.2f}"
                f"   {added:+6.2f} beside empty   ratio {ratio:.3f}   minimum {min(batch):.2f}"
            )


if __name__ == "__main__":
    main()
