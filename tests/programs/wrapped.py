"""Spans in wrappers, which are current instead of them: each kind in a function of its own."""

import abc
import dataclasses
import sys

import workload
from opentelemetry import trace

SECONDS = 1.0
TURNS = 20

tracer = workload.set_up_tracing(service_name="wrapped")


class Forwarding(trace.Span):
    """Forwards what the interface has to the span inside, whatever attribute that is in."""

    @abc.abstractmethod
    def inner(self) -> trace.Span:
        """Return the span inside."""

    def end(self, end_time: "int | None" = None) -> None:
        self.inner().end(end_time)

    def get_span_context(self) -> trace.SpanContext:
        return self.inner().get_span_context()

    def set_attributes(self, attributes: dict) -> None:
        self.inner().set_attributes(attributes)

    def set_attribute(self, key: str, value: object) -> None:
        self.inner().set_attribute(key, value)

    def add_event(self, name: str, attributes: object = None, timestamp: object = None) -> None:
        self.inner().add_event(name, attributes, timestamp)

    def add_link(self, context: trace.SpanContext, attributes: object = None) -> None:
        self.inner().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self.inner().update_name(name)

    def is_recording(self) -> bool:
        return self.inner().is_recording()

    def set_status(self, status: object, description: object = None) -> None:
        self.inner().set_status(status, description)

    def record_exception(self, *arguments: object, **keywords: object) -> None:
        self.inner().record_exception(*arguments, **keywords)


@dataclasses.dataclass(eq=False)
class Wrapper(Forwarding):
    """Keeps the span beside other attributes."""

    label: str
    span: trace.Span

    def inner(self) -> trace.Span:
        return self.span


class Plain(Forwarding):
    """Keeps the span under another name."""

    def __init__(self, span: trace.Span) -> None:
        self._wrapped = span

    def inner(self) -> trace.Span:
        return self._wrapped


class Two(Forwarding):
    """Keeps two spans, and tells the second: nothing outside its code says which one it is."""

    def __init__(self, first: trace.Span, second: trace.Span) -> None:
        self.span = first
        self._span = second

    def inner(self) -> trace.Span:
        return self._span


def in_wrapper() -> None:
    """Work in a wrapped span."""
    workload.burn(SECONDS / TURNS)


def in_plain() -> None:
    """Work in a span in the other wrapper."""
    workload.burn(SECONDS / TURNS)


def in_inner() -> None:
    """Work in a plain span below the wrapped one."""
    workload.burn(SECONDS / TURNS)


def in_twice() -> None:
    """Work in a span in two wrappers."""
    workload.burn(SECONDS / TURNS)


def in_two() -> None:
    """Work in one of two spans."""
    workload.burn(SECONDS / TURNS)


def in_dropped() -> None:
    """Work in a wrapped span that is not recorded."""
    workload.burn(SECONDS / TURNS)


def main() -> None:
    """Work in each in turn, or for ever in a class that cannot be read."""
    workload.wait_for_start()
    while sys.argv[1:] == ["two"]:
        with trace.use_span(Two(tracer.start_span("first"), tracer.start_span("second"))):
            in_two()
    for _ in range(TURNS):
        with trace.use_span(Wrapper("any", tracer.start_span("wrapped")), end_on_exit=True):
            in_wrapper()
            with tracer.start_as_current_span("inner"):
                in_inner()
        with trace.use_span(Plain(tracer.start_span("plain")), end_on_exit=True):
            in_plain()
        with trace.use_span(Plain(Plain(tracer.start_span("twice"))), end_on_exit=True):
            in_twice()
        with trace.use_span(Two(tracer.start_span("first"), tracer.start_span("second"))):
            in_two()
        with trace.use_span(Plain(trace.NonRecordingSpan(trace.SpanContext(1, 2, True)))):
            in_dropped()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
