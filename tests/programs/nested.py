"""A root span with two children, one of them a parent too: prints the CPU time of each alone."""

import collections
import os
import sys

import workload

# Named in code, unless the environment is to name the service.
resource = {} if "NAMED_BY_ENVIRONMENT" in os.environ else {"service_name": "nested"}
tracer = workload.set_up_tracing(**resource)
cpu = collections.Counter()


def request() -> None:
    """Work in the root span, in its children and between them."""
    with tracer.start_as_current_span("root"):
        cpu["root"] += workload.burn(0.06)
        with tracer.start_as_current_span("child"):
            cpu["child"] += workload.burn(0.1)
            with tracer.start_as_current_span("grandchild"):
                cpu["grandchild"] += workload.burn(0.12)
            cpu["child"] += workload.burn(0.04)
        cpu["root"] += workload.burn(0.06)
        with tracer.start_as_current_span("second child"):
            cpu["second child"] += workload.burn(0.08)


def main() -> None:
    """Serve requests until they have used so much CPU time, with some outside of them."""
    seconds = float(sys.argv[1])
    workload.wait_for_start()
    while sum(cpu.values()) < seconds:
        request()
        cpu["none"] += workload.burn(0.04)
    workload.say(cpu=cpu)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
