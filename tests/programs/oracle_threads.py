"""Spans in threads and generators, attached and detached in every way, and contexts of every shape."""

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import oracle
from opentelemetry import context, trace

tracer = oracle.set_up("threads")
cases = {}
# Detaching in wrong order is logged as an error: here it is what is wanted.
logging.getLogger("opentelemetry.context").setLevel(logging.CRITICAL)


def case(function: Callable[[], None]) -> Callable[[], None]:
    """Make a function a case, run in a context of its own."""
    cases[function.__name__] = lambda: contextvars.copy_context().run(function)
    return function


@case
def pool() -> None:
    """Work in a pool's threads: with a copied context, with none, and in spans of their own."""

    def own(number: int) -> None:
        with tracer.start_as_current_span(f"own {number}"):
            oracle.work(0.01)

    # The parent ends last: a stretch in which it ends has no one truth.
    with tracer.start_as_current_span("parent"), ThreadPoolExecutor(4) as executor:
        for number in range(10):
            executor.submit(contextvars.copy_context().run, oracle.work, 0.01)
            executor.submit(oracle.work, 0.01)
            executor.submit(own, number)
            executor.submit(contextvars.copy_context().run, own, number)
        oracle.work(0.05)


@case
def ended_elsewhere() -> None:
    """End a span on another thread while it is current here."""
    for _ in range(10):
        span = tracer.start_span("travels")
        token = context.attach(trace.set_span_in_context(span))
        oracle.work(0.01)
        thread = threading.Thread(target=span.end)
        thread.start()
        thread.join()
        oracle.work(0.01)
        context.detach(token)
        oracle.work(0.01)


@case
def generators() -> None:
    """Hold spans across the yields of interleaved generators."""

    def generator(name: str) -> Iterator[None]:
        with tracer.start_as_current_span(name):
            while True:
                oracle.work()
                yield

    running = [generator(f"generator {number}") for number in range(3)]
    for _ in range(20):
        for each in running:
            next(each)
            oracle.work()
    # Closed in the order in which they were opened, not in the reverse.
    for each in running:
        each.close()
        oracle.work(0.01)


@case
def detached_in_wrong_order() -> None:
    """Attach and detach by hand, first in first out."""
    for _ in range(10):
        spans = [tracer.start_span(f"span {number}") for number in range(3)]
        tokens = [context.attach(trace.set_span_in_context(span)) for span in spans]
        oracle.work(0.01)
        for span, token in zip(spans, tokens):
            context.detach(token)
            oracle.work(0.005)
            span.end()
            oracle.work(0.005)


@case
def many_variables() -> None:
    """Fill the context with enough variables that its nodes are arrays."""
    variables = [contextvars.ContextVar(f"variable {number}") for number in range(200)]
    with tracer.start_as_current_span("with few"):
        for number, variable in enumerate(variables):
            variable.set(number)
            oracle.work(0.001)
        with tracer.start_as_current_span("with many"):
            oracle.work(0.05)
        oracle.work(0.05)


@case
def colliding_variables() -> None:
    """Fill the context with variables of the same hash as OpenTelemetry's."""
    runtime = context._RUNTIME_CONTEXT
    target = hash(getattr(runtime, "_current_context", contextvars.ContextVar("any")))
    for count, bits in ((1, 64), (3, 64), (1, 20), (1, 10)):
        variables = [collision(target, bits) for _ in range(count)]
        for variable in variables:
            variable.set(None)
        with tracer.start_as_current_span(f"{count} collisions of {bits} bits"):
            oracle.work(0.05)
            with tracer.start_as_current_span("child"):
                oracle.work(0.05)
        oracle.work(0.02)


class Name(str):
    """A name whose hash can be chosen."""

    chosen = 0

    def __hash__(self) -> int:
        """Return what was chosen."""
        return self.chosen


def collision(target: int, bits: int) -> contextvars.ContextVar:
    """Make a variable whose folded hash has this many lowest bits of the target's."""
    flipped = 0 if bits == 64 else 1 << bits
    while True:
        # A variable's hash is its name's and its address's together: learn the address with a first one,
        # and hope that the second one gets it too.
        probe = contextvars.ContextVar(Name("colliding"))
        address = hash(probe)
        del probe
        name = Name("colliding")
        name.chosen = address ^ target ^ flipped
        variable = contextvars.ContextVar(name)
        if hash(variable) == target ^ flipped:
            return variable


@case
def not_sampled() -> None:
    """Work in spans that no processor hears of, within and around others."""
    for _ in range(5):
        with oracle.unsampled.start_as_current_span("unsampled"):
            oracle.work(0.01)
            with tracer.start_as_current_span("sampled child"):
                oracle.work(0.01)
        with trace.use_span(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)):
            oracle.work(0.01)


@case
def context_with_more_in_it() -> None:
    """Have other values beside the span in OpenTelemetry's context."""
    with tracer.start_as_current_span("parent"):
        tokens = []
        for number in range(12):
            tokens.append(context.attach(context.set_value(f"key {number}", number)))
            oracle.work(0.005)
            with tracer.start_as_current_span(f"span {number}"):
                oracle.work(0.005)
        for token in reversed(tokens):
            context.detach(token)
            oracle.work(0.002)


if __name__ == "__main__":
    oracle.run(cases)
