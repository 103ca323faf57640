"""Does nothing, with the package's hook in it: whether it has had spans is the argument."""

import sys

import workload
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider


def main(case: str) -> None:
    """Become such a process."""
    provider = TracerProvider()
    tracer = provider.get_tracer("idle")
    if case == "before_the_package":
        with tracer.start_as_current_span("before"), tracer.start_as_current_span("below"):
            pass
    import spanprof

    provider.add_span_processor(spanprof.SpanProcessor())
    trace.set_tracer_provider(provider)
    if case == "with_the_package":
        with tracer.start_as_current_span("with"), tracer.start_as_current_span("below"):
            pass
    workload.wait_for_start()


if __name__ == "__main__":
    main(sys.argv[1])
