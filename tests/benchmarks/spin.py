"""Burns CPU below a stack of the depth asked for, until stdin is closed.

A second argument says in what: ``idle`` with OpenTelemetry in use and no span, ``span`` in a span,
``threads`` in four threads that take turns, ``interpreters`` in the main one of four interpreters.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

import in_process
import until_closed

THREADS = 4


def spin(stop: threading.Event) -> None:
    """Compute something, as the leaf."""
    number = 0
    while not stop.is_set():
        for _ in range(1000):
            number = (number * 31 + 7) % 1_000_003


def stack(frames: int) -> Callable[[threading.Event], None]:
    """Build this many functions, each calling the next: no two frames share a code object."""
    source = "".join(
        f"def frame_{number}(stop):\n    frame_{number + 1}(stop)\n" for number in range(frames)
    )
    functions = {f"frame_{frames}": spin}
    exec(compile(source, "stack.py", "exec"), functions)  # noqa: S102 (our own source)
    return functions["frame_0"]


def main() -> None:
    """Read the depth, say that all is set up, spin."""
    depth = int(sys.argv[1])
    in_process.start()
    sys.setrecursionlimit(depth + 1000)
    stop = until_closed.ready()
    # The frames besides: the module's, this one, the leaf.
    if sys.argv[2:] == ["threads"]:
        # Here they are three of the thread's, and the leaf.
        run = stack(depth - 4)
        threads = [threading.Thread(target=run, args=(stop,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elif sys.argv[2:] == ["interpreters"]:
        with other_interpreters(THREADS - 1):
            stack(depth - 3)(stop)
    elif sys.argv[2:]:
        in_opentelemetry(sys.argv[2], stack(depth - 5), stop)
    else:
        stack(depth - 3)(stop)


@contextlib.contextmanager
def other_interpreters(count: int) -> Iterator[None]:
    """Have this many interpreters beside this one."""
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    made = [interpreters.create() for _ in range(count)]
    yield
    for interpreter in made:
        interpreters.destroy(interpreter)


def in_opentelemetry(place: str, run: Callable[[threading.Event], None], stop: object) -> None:
    """Run with OpenTelemetry in use, in a span or in none."""
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("spin")
    with tracer.start_as_current_span("first"):
        pass
    if place == "span":
        # Two frames more: this one and a context manager's need none while the body runs.
        with tracer.start_as_current_span("spin"):
            run(stop)
    else:
        run(stop)


if __name__ == "__main__":
    main()
