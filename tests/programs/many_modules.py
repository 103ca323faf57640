"""Has very many modules before it imports OpenTelemetry: `many_modules.py HOW_MANY`."""

import sys
import types

for number in range(int(sys.argv[1])):
    name = f"generated.module_{number}"
    sys.modules[name] = types.ModuleType(name)

import workload

tracer = workload.set_up_tracing(service_name="many")
SECONDS = 4.0
TURNS = 20


def in_span() -> None:
    """Work in a span."""
    workload.burn(SECONDS / TURNS)


def main() -> None:
    """Work in one span after the other."""
    workload.wait_for_start()
    for _ in range(TURNS):
        with tracer.start_as_current_span("request"):
            in_span()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
