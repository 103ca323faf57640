"""Tells from inside which span was current in which thread when: what a profiler's labels are judged by.

A record of 56 bytes is appended to the file that ORACLE_FILE names for every stretch in which a
thread has worked without giving way to another task, and for every start and end of a span. Times
are those of CLOCK_BOOTTIME, which the kernel stamps samples with too. What is read here is
``trace.get_current_span()``, and nothing that a profiler has written.
"""

import os
import struct
import threading
import time

import workload
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

# kind, pid, tid, 0, begin, end, span id, high and low half of the trace id
RECORD = struct.Struct("<IIIIQQQQQ")
NO_SPAN, ACTIVE, ENDED, SPAN_STARTED, SPAN_ENDED = range(5)

file = os.open(os.environ["ORACLE_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def now() -> int:
    """Tell the time as the kernel stamps samples, in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def append(kind: int, begin: int, end: int, context: trace.SpanContext) -> None:
    """Append a record, in one go: threads and processes share the file."""
    record = RECORD.pack(
        kind,
        os.getpid(),
        threading.get_native_id(),
        0,
        begin,
        end,
        context.span_id,
        context.trace_id >> 64,
        context.trace_id & (1 << 64) - 1,
    )
    os.write(file, record)


class Starts(SpanProcessor):
    """Records when spans start: no sample may carry one before. The first of all processors."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Record the start, before anybody can make the span current."""
        append(SPAN_STARTED, now(), 0, span.get_span_context())


class Ends(SpanProcessor):
    """Records when spans end: no sample may carry one after. The last of all processors."""

    def on_end(self, span: ReadableSpan) -> None:
        """Record the end, after the span has its time of end."""
        append(SPAN_ENDED, now(), 0, span.get_span_context())


def set_up(service_name: str) -> trace.Tracer:
    """Register a provider, as the environment says, and have spans of every class made once."""
    tracer = workload.set_up_tracing(Starts(), service_name=service_name)
    trace.get_tracer_provider().add_span_processor(Ends())
    for one in (tracer, unsampled):
        with one.start_as_current_span("first of its class"):
            pass
    return tracer


# A tracer whose spans are current like others, but which are not recorded.
unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("unsampled")


def work(seconds: float = 0.002) -> None:
    """Use CPU time in this thread, and record which span was current all the while."""
    stretch = started()
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        for _ in range(100):
            pass
    ended(stretch)


def started() -> tuple:
    """Begin a stretch in the span that is current."""
    span = trace.get_current_span()
    context = span.get_span_context()
    # A span that is not recorded is in no trace: samples may not carry it.
    kind = NO_SPAN
    if span.is_recording():
        kind = ACTIVE
    elif getattr(span, "end_time", None) is not None:
        kind = ENDED
    return kind, now(), context


def ended(stretch: tuple) -> None:
    """End a stretch."""
    end = now()
    kind, begin, context = stretch
    append(kind, begin, end, context)


def run(cases: dict) -> None:
    """Wait for the word, and run all cases one after another."""
    workload.wait_for_start()
    # Until the profiler has looked at the process.
    time.sleep(0.3)
    for case in cases.values():
        case()
    workload.say(done=True)
    workload.wait_for_end()
