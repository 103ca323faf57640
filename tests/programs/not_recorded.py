"""Spans that are current and that no trace has: each kind in a function of its own, beside recorded ones."""

import os
import sys

import workload
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

SECONDS = 1.0
TURNS = 20


class RecordOnly(Sampler):
    """Has spans recorded for the processors, and sent to nobody."""

    def should_sample(self, *_: object, **__: object) -> SamplingResult:
        """Decide for every span alike."""
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        """Name the sampler."""
        return "RecordOnly"


# Also below a span that is dropped, where the default drops, too.
os.environ["OTEL_TRACES_SAMPLER"] = "always_on"
tracer = workload.set_up_tracing(service_name="not recorded")
dropping = TracerProvider(sampler=ALWAYS_OFF).get_tracer("dropping")
record_only = TracerProvider(sampler=RecordOnly()).get_tracer("record only")
without_sdk = trace.NoOpTracerProvider().get_tracer("no SDK")
# As a propagator leaves it: the span of the process that has sent the request.
producer = trace.SpanContext(
    trace_id=0xABC << 96 | 0xDEF,
    span_id=0x1234567890ABCDEF,
    is_remote=True,
    trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
)


def in_dropped() -> None:
    """Work in a span that the sampler has dropped."""
    workload.burn(SECONDS / TURNS)


def in_child_of_dropped() -> None:
    """Work in a recorded span below one that the sampler has dropped."""
    workload.burn(SECONDS / TURNS)


def in_remote_parent() -> None:
    """Work in a message's context, before a span of this process begins."""
    workload.burn(SECONDS / TURNS)


def in_consumer() -> None:
    """Work in the span of this process below it."""
    workload.burn(SECONDS / TURNS)


def in_no_sdk() -> None:
    """Work in a span of the API alone, which has no ids."""
    workload.burn(SECONDS / TURNS)


def in_record_only() -> None:
    """Work in a span that is recorded and that exporters leave out."""
    workload.burn(SECONDS / TURNS)


def in_none() -> None:
    """Work in no span."""
    workload.burn(SECONDS / TURNS)


def turn() -> None:
    """Work once in each."""
    with dropping.start_as_current_span("dropped"):
        in_dropped()
        with tracer.start_as_current_span("child of dropped"):
            in_child_of_dropped()
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(producer)))
    in_remote_parent()
    with tracer.start_as_current_span("consumer"):
        in_consumer()
    context.detach(token)
    with without_sdk.start_as_current_span("no SDK"):
        in_no_sdk()
    with record_only.start_as_current_span("record only"):
        in_record_only()
    in_none()


def main() -> None:
    """Take turns, or drop every span for ever."""
    workload.wait_for_start()
    if sys.argv[1:] == ["dropped"]:
        while True:
            with dropping.start_as_current_span("dropped"):
                in_dropped()
    for _ in range(TURNS):
        turn()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
