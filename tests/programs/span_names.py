"""Spans whose names are no plain strings, or are odd ones: each in a function of its own."""

import enum

import workload

SECONDS = 0.6
TURNS = 10


class Operation(str, enum.Enum):
    """Names that an application keeps in one place."""

    CHECKOUT = "checkout"


class Safe(str):
    """A subclass, as those of template engines are."""

    __slots__ = ()


class Kept(str):
    """A subclass whose instances have attributes, too."""


class NoText:
    """No string, though it says that it is one."""

    __class__ = str

    def __init__(self) -> None:
        """Look like a string's memory: small numbers where lengths are."""
        self.values = [64] * 64


tracer = workload.set_up_tracing(service_name="names")


def in_enumeration() -> None:
    """Work in a span that is named by a member of an enumeration."""
    workload.burn(SECONDS / TURNS)


def in_subclass() -> None:
    """Work in a span that is named by an instance of a subclass."""
    workload.burn(SECONDS / TURNS)


def in_wide_subclass() -> None:
    """Work in a span whose name has characters of four bytes."""
    workload.burn(SECONDS / TURNS)


def in_surrogate() -> None:
    """Work in a span whose name has a lone surrogate."""
    workload.burn(SECONDS / TURNS)


def in_empty() -> None:
    """Work in a span with the empty name."""
    workload.burn(SECONDS / TURNS)


def in_number() -> None:
    """Work in a span that is named by a number."""
    workload.burn(SECONDS / TURNS)


def in_none() -> None:
    """Work in a span that is named by None."""
    workload.burn(SECONDS / TURNS)


def in_bytes() -> None:
    """Work in a span that is named by bytes."""
    workload.burn(SECONDS / TURNS)


def in_tuple() -> None:
    """Work in a span that is named by a tuple."""
    workload.burn(SECONDS / TURNS)


def in_no_text() -> None:
    """Work in a span that is named by an object that lies."""
    workload.burn(SECONDS / TURNS)


CASES = [
    (Operation.CHECKOUT, in_enumeration),
    (Safe("safe name"), in_subclass),
    (Kept("größer 🐍"), in_wide_subclass),
    ("/caf\udce9", in_surrogate),
    ("", in_empty),
    (123, in_number),
    (None, in_none),
    (b"bytes name", in_bytes),
    (("one", "two", "three"), in_tuple),
    (NoText(), in_no_text),
]


def main() -> None:
    """Work in each in turn."""
    workload.wait_for_start()
    for _ in range(TURNS):
        for name, work in CASES:
            with tracer.start_as_current_span(name):
                work()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
