"""Worlds in which what was learnt of a process no longer holds: one case a run, by the first argument.

Between the stretches of a broken world are such of a whole one, which must not suffer.
"""

import contextvars
import ctypes
import gc
import importlib
import logging
import mmap
import sys
import threading
import time

import oracle
from opentelemetry import context, trace

tracer = oracle.set_up("broken")
# The token of a reloaded module cannot be given back, which is logged as an error.
logging.getLogger("opentelemetry.context").setLevel(logging.CRITICAL)
cases = {}
WHOLE, BROKEN = 0.3, 0.4


def case(function: object) -> object:
    """Make a function a case."""
    cases[function.__name__] = function
    return function


def whole() -> None:
    """Work in a span as it should be."""
    with tracer.start_as_current_span("whole"):
        oracle.work(WHOLE)


def word(address: int) -> ctypes.c_uint64:
    """Lay a hand on a word of memory."""
    return ctypes.c_uint64.from_address(address)


@case
def reloaded() -> None:
    """Reload the module that owns the context variable, while the old one holds a span."""
    whole()
    with tracer.start_as_current_span("before the reload"):
        oracle.work(WHOLE)
        importlib.reload(context)
        # The old variable still holds the span, but is no longer used.
        oracle.work(BROKEN)
        whole()
        oracle.work(WHOLE)


@case
def upgraded() -> None:
    """Import all of OpenTelemetry anew, as a deployment does that replaces it under a running process."""
    whole()
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        del sys.modules[name]
    new_trace = importlib.import_module("opentelemetry.trace")
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    new_tracer = sdk.TracerProvider().get_tracer("new")
    oracle.trace = new_trace
    with new_tracer.start_as_current_span("first of the new"):
        oracle.work(BROKEN)
    # Until the agent has seen that there are new modules.
    time.sleep(6)
    for _ in range(4):
        with new_tracer.start_as_current_span("new"):
            oracle.work(WHOLE)


class Recorded(trace.NonRecordingSpan):
    """A span of the application's own that says that it is recorded."""

    def is_recording(self) -> bool:
        """Say so."""
        return True


@case
def subclassed() -> None:
    """Make spans current that are of classes of the application's own."""

    class Labelled(Recorded):
        """Keeps its context as its base does."""

        def __init__(self, span: trace.Span, label: str) -> None:
            self.label = label
            super().__init__(span.get_span_context())

    for _ in range(5):
        with trace.use_span(Labelled(tracer.start_span("labelled"), "mine")):
            oracle.work(WHOLE)


@case
def liar() -> None:
    """Make spans current that keep another context than they return."""

    class Liar(Recorded):
        """Returns another context than its base class keeps."""

        def __init__(self, kept: trace.Span, told: trace.Span) -> None:
            super().__init__(kept.get_span_context())
            self.told = told

        def get_span_context(self) -> trace.SpanContext:
            return self.told.get_span_context()

    whole()
    with trace.use_span(Liar(tracer.start_span("kept"), tracer.start_span("told"))):
        oracle.work(BROKEN)
    whole()


@case
def slotted() -> None:
    """Make a span current that keeps its context in a slot."""

    class Slotted(Recorded):
        __slots__ = ("_context",)

    whole()
    with trace.use_span(Slotted(tracer.start_span("slotted").get_span_context())):
        oracle.work(BROKEN)
    whole()


@case
def unreadable() -> None:
    """Let a span's id lie in memory that cannot be read."""
    whole()
    with tracer.start_as_current_span("unreadable") as span:
        # The second item of a tuple.
        place = id(span.get_span_context()) + 32
        hole = mmap.mmap(-1, mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(hole))
        libc = ctypes.CDLL(None)
        protect = libc.mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert protect(address, mmap.PAGESIZE, 0) == 0
        broken(place, address)
        protect(address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)
    whole()


@case
def cyclic() -> None:
    """Let a node of the context lead back to itself."""
    whole()
    # A thread of its own, so that nothing else is in its context.
    thread = threading.Thread(target=contextvars.Context().run, args=(in_a_cycle,))
    thread.start()
    thread.join()
    whole()


def in_a_cycle() -> None:
    """Work in a context whose root is every child of its own."""
    for number in range(100):
        contextvars.ContextVar(f"variable {number}").set(number)
    with tracer.start_as_current_span("cyclic"):
        # `PyContext.ctx_vars`, which `copy_context` shares; `PyHamtObject.h_root`; the children of a
        # `PyHamtNode_Array`.
        shared = contextvars.copy_context()
        root = word(word(id(shared) + 24).value + 16).value
        children = [word(root + 16 + 8 * index) for index in range(32)]
        kept = [child.value for child in children]
        gc.disable()
        stretch = oracle.started()
        for child in children:
            child.value = root
        spin(BROKEN)
        for child, value in zip(children, kept):
            child.value = value
        oracle.ended(stretch)
        gc.enable()


def broken(place: int, value: int) -> None:
    """Work while a word of memory has another value."""
    kept = word(place).value
    gc.disable()
    stretch = oracle.started()
    word(place).value = value
    spin(BROKEN)
    word(place).value = kept
    oracle.ended(stretch)
    gc.enable()


def spin(seconds: float) -> None:
    """Use CPU time, and ask nothing."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        for _ in range(100):
            pass


if __name__ == "__main__":
    oracle.run({sys.argv[1]: cases[sys.argv[1]]})
