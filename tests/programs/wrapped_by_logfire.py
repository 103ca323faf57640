"""Spans that Pydantic Logfire makes, which wraps those of OpenTelemetry's SDK."""

import os

import logfire
import workload

SECONDS = 5.0
TURNS = 50


def set_up() -> None:
    """Configure Logfire, with the package unless WITHOUT_PACKAGE is set; it sends nothing."""
    processors = []
    if "WITHOUT_PACKAGE" not in os.environ:
        import spanprof

        processors.append(spanprof.SpanProcessor())
    logfire.configure(
        send_to_logfire=False,
        console=False,
        service_name="logfire",
        additional_span_processors=processors,
    )


def burn_a() -> None:
    """Work in a span."""
    workload.burn(SECONDS / TURNS)


def burn_b() -> None:
    """Work in a function that is a span."""
    workload.burn(SECONDS / TURNS)


def burn_none() -> None:
    """Work in no span."""
    workload.burn(0.5 / TURNS)


@logfire.instrument("decorated B", extract_args=False)
def decorated() -> None:
    """Be a span."""
    burn_b()


def main() -> None:
    """Work in each in turn."""
    set_up()
    with logfire.span("first of its class"):
        pass
    workload.wait_for_start()
    for _ in range(TURNS):
        with logfire.span("checkout A"):
            burn_a()
        decorated()
        burn_none()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
