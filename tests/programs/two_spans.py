"""Two requests with a span inside each, one after the other, each in its own function."""

import threading

import workload

tracer = workload.set_up_tracing(service_name="two-spans")


def in_root() -> None:
    workload.burn(0.3)


def in_child() -> None:
    workload.burn(0.3)


def in_another() -> None:
    workload.burn(0.3)


def in_quiet() -> None:
    workload.burn(0.3)


def in_none() -> None:
    workload.burn(0.3)


def request() -> None:
    """A root with a child, one that does nothing but wait for its child, and work beside them."""
    with tracer.start_as_current_span("root"):
        in_root()
        with tracer.start_as_current_span("child"):
            in_child()
    with tracer.start_as_current_span("quiet"), tracer.start_as_current_span("inner"):
        in_quiet()
    in_none()


def other() -> None:
    """A root of another thread."""
    with tracer.start_as_current_span("another"):
        in_another()


def main() -> None:
    """Serve both at once."""
    with tracer.start_as_current_span("first"):
        pass
    workload.wait_for_start()
    thread = threading.Thread(target=other)
    thread.start()
    request()
    thread.join()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
