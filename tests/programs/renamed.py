"""A span that is renamed once its route is known, as those of web frameworks are, with a child before and after."""

import workload

SECONDS = 0.4

tracer = workload.set_up_tracing(service_name="renamed")


def in_first_name() -> None:
    """Work under the first name."""
    workload.burn(SECONDS)


def in_early_child() -> None:
    """Work in a child meanwhile."""
    workload.burn(SECONDS)


def in_last_name() -> None:
    """Work under the last name."""
    workload.burn(SECONDS)


def in_late_child() -> None:
    """Work in a child by then."""
    workload.burn(SECONDS)


def main() -> None:
    """Serve requests."""
    workload.wait_for_start()
    for number in range(4):
        with tracer.start_as_current_span("GET") as span:
            in_first_name()
            with tracer.start_as_current_span("early child"):
                in_early_child()
            span.update_name(f"GET /items/{number}")
            in_last_name()
            with tracer.start_as_current_span("late child"):
                in_late_child()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
