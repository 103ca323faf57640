"""Measures what span processors add to one span of the OpenTelemetry SDK.

For every line on stdin (how many times to go round): times every processor once a round, in an order
that changes, and answers with nanoseconds a span for each round and processor, of spans below a local root
and of local roots, as JSON, with the first byte of each probe site: 90 is the nop, cc a trap.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import time

import spanprof
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from spanprof import _hook

SPANS = 500


def tracer_with(processor: object | None) -> trace.Tracer:
    """Build a tracer of the SDK whose provider has the one processor."""
    provider = TracerProvider(
        resource=Resource({"service.name": "benchmark"}), shutdown_on_exit=False
    )
    if processor is not None:
        provider.add_span_processor(processor)
    return provider.get_tracer("benchmark")


def tracers() -> dict[str, trace.Tracer]:
    """Every processor that is at hand."""
    processors: dict[str, object | None] = {
        "none": None,
        "empty": SpanProcessor(),
        "spanprof": spanprof.SpanProcessor(),
    }
    try:
        from pyroscope.otel import PyroscopeSpanProcessor
    except ImportError:
        pass
    else:
        processors["pyroscope-otel"] = PyroscopeSpanProcessor()
    return {name: tracer_with(processor) for name, processor in processors.items()}


def time_batch(tracer: trace.Tracer) -> float:
    """Make spans below a local root; thread CPU nanoseconds a span."""
    with tracer.start_as_current_span("root"):
        start = time.thread_time_ns()
        for _ in range(SPANS):
            with tracer.start_as_current_span("operation"):
                pass
        return (time.thread_time_ns() - start) / SPANS


def time_roots(tracer: trace.Tracer) -> float:
    """Make local roots; thread CPU nanoseconds a span."""
    start = time.thread_time_ns()
    for _ in range(SPANS):
        with tracer.start_as_current_span("request"):
            pass
    return (time.thread_time_ns() - start) / SPANS


def site_addresses() -> dict[str, int]:
    """The addresses of the hook's probe sites in this process, by its SDT notes."""
    path = _hook.__file__
    with open("/proc/self/maps", encoding="utf-8") as maps:
        base = min(int(line.split("-")[0], 16) for line in maps if line.rstrip().endswith(path))
    with open(path, "rb") as file:
        image = file.read()
    table, count = struct.unpack_from("<Q", image, 40)[0], struct.unpack_from("<H", image, 60)[0]
    sections = [struct.unpack_from("<IIQQQQ", image, table + 64 * i) for i in range(count)]
    names = sections[struct.unpack_from("<H", image, 62)[0]][4]
    sites = {}
    for name, _, _, _, offset, size in sections:
        if image[names + name :].split(b"\0", 1)[0] != b".note.stapsdt":
            continue
        end = offset + size
        while offset < end:
            owner, length, _ = struct.unpack_from("<III", image, offset)
            note = offset + 12 + (owner + 3) // 4 * 4
            address = struct.unpack_from("<Q", image, note)[0]
            probe = image[note + 24 : note + length].split(b"\0")[1].decode()
            sites[probe] = base + address
            offset = note + (length + 3) // 4 * 4
    return sites


def first_bytes(sites: dict[str, int]) -> dict[str, str]:
    """What each site begins with now."""
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        found = {}
        for name, address in sites.items():
            memory.seek(address)
            found[name] = memory.read(1).hex()
        return found


def main() -> None:
    """Answer until stdin is closed."""
    all_tracers = tracers()
    sites = site_addresses()
    for _ in range(4):
        for tracer in all_tracers.values():
            time_batch(tracer)
            time_roots(tracer)
    print("ready", flush=True)
    for line in sys.stdin:
        times: dict[str, list[float]] = {name: [] for name in all_tracers}
        roots: dict[str, list[float]] = {name: [] for name in all_tracers}
        for _ in range(int(line)):
            for name in random.sample(list(all_tracers), len(all_tracers)):
                times[name].append(time_batch(all_tracers[name]))
                roots[name].append(time_roots(all_tracers[name]))
        answer = {"times": times, "roots": roots, "sites": first_bytes(sites)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
