"""What the workloads share: tracing as users set it up, CPU time to burn, and words to the test.

A workload says ``ready`` and waits for a line, works, says what it did, and waits for the end of
its input. So a test can begin and end a recording at the right moments.
"""

import json
import os
import sys
import time

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class FileExporter(SpanExporter):
    """Appends a line of JSON for every span that has ended, whatever process it ended in."""

    def __init__(self, path: str) -> None:
        """Open the file: appending, so that processes do not overwrite one another."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def export(self, spans: "list[ReadableSpan]") -> SpanExportResult:
        """Write the spans, each line in one go."""
        for span in spans:
            context = span.get_span_context()
            line = {
                "name": span.name,
                "span_id": trace.format_span_id(context.span_id),
                "trace_id": trace.format_trace_id(context.trace_id),
                "parent": trace.format_span_id(span.parent.span_id) if span.parent else None,
                "pid": os.getpid(),
            }
            os.write(self._file, (json.dumps(line) + "\n").encode())
        return SpanExportResult.SUCCESS


def set_up_tracing(*first: SpanProcessor, **resource: str) -> trace.Tracer:
    """Register a provider: with the hook, unless WITHOUT_PACKAGE is set, with the app's own exporter
    if SPANS_FILE is set, and with these processors before both.
    """
    attributes = {name.replace("_", "."): value for name, value in resource.items()}
    provider = TracerProvider(resource=Resource.create(attributes))
    for processor in first:
        provider.add_span_processor(processor)
    if "WITHOUT_PACKAGE" not in os.environ:
        import spanprof

        provider.add_span_processor(spanprof.SpanProcessor())
    if "SPANS_FILE" in os.environ:
        exporter = FileExporter(os.environ["SPANS_FILE"])
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return trace.get_tracer("workload")


def burn(seconds: float) -> float:
    """Use CPU time in this thread; return how much it was."""
    start = time.thread_time()
    while (used := time.thread_time() - start) < seconds:
        for _ in range(1000):
            pass
    return used


def say(**facts: object) -> None:
    """Tell the test, in one line."""
    print(json.dumps(facts), flush=True)


def wait_for_start() -> None:
    """Say that all is imported, and wait for the word."""
    say(ready=True)
    sys.stdin.readline()


def wait_for_end() -> None:
    """Stay until the test no longer needs the process."""
    sys.stdin.read()
