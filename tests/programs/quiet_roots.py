"""Requests whose CPU is all in a child: their roots are seldom hit by a sample, or never."""

import os
import time

import odd_spans
import spanprof
import workload
from opentelemetry import trace

REQUESTS = 150
tracer = odd_spans.tracer


def in_child() -> None:
    """Do what the request is about."""
    workload.burn(0.01)


def request() -> "tuple[str, str]":
    """Serve one; return the ids of the child and the root."""
    with tracer.start_as_current_span("request") as root:
        time.sleep(0.0005)
        with tracer.start_as_current_span("child") as child:
            in_child()
        return odd_spans.span_id(child), odd_spans.span_id(root)


def main() -> None:
    """Serve them all."""
    with tracer.start_as_current_span("first"), tracer.start_as_current_span("second"):
        pass
    workload.wait_for_start()
    # Until the agent has taken its probes off, if it is to; the test fails if it never does.
    wanted = "PROBES_STAY" in os.environ
    deadline = time.monotonic() + 60
    while spanprof.stats()["probed"] != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    if wanted:
        # Longer than the agent keeps probes that no process needs: 2 s.
        time.sleep(3)
    roots = dict(request() for _ in range(REQUESTS))
    assert trace.get_current_span() is trace.INVALID_SPAN
    workload.say(roots=roots, probed=spanprof.stats()["probed"])
    workload.wait_for_end()


if __name__ == "__main__":
    main()
