"""A request that came from elsewhere: a span with a remote parent, and its child."""

import workload
from opentelemetry import context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

tracer = workload.set_up_tracing(service_name="remote-parent")

PARENT = {"traceparent": "00-00000000000000000000000000000007-0000000000000007-01"}


def in_server() -> None:
    workload.burn(0.2)


def in_child() -> None:
    workload.burn(0.2)


def in_none() -> None:
    workload.burn(0.2)


def main() -> None:
    """Serve one request."""
    with tracer.start_as_current_span("first"):
        pass
    workload.wait_for_start()
    token = context.attach(TraceContextTextMapPropagator().extract(PARENT))
    with tracer.start_as_current_span("server"):
        in_server()
        with tracer.start_as_current_span("child"):
            in_child()
    context.detach(token)
    in_none()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
