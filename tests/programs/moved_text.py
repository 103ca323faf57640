"""Moves the code of its interpreter to memory of its own while it runs, and then imports modules that are libraries."""

import ctypes
import os

import workload

tracer = workload.set_up_tracing(service_name="moved-text")


def in_span() -> None:
    workload.burn(0.3)


def in_none() -> None:
    workload.burn(0.3)


def main() -> None:
    """Move it and serve a request."""
    library = ctypes.CDLL(os.environ["MOVING_LIBRARY"])
    with tracer.start_as_current_span("first"):
        pass
    workload.wait_for_start()
    workload.burn(0.1)
    moved = library.move_text()
    import _elementtree  # noqa: F401
    import _lsprof  # noqa: F401

    with tracer.start_as_current_span("span"):
        in_span()
    in_none()
    workload.say(done=True, moved=moved)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
