"""Runs for some seconds before it imports OpenTelemetry, then works in one span."""

import sys
import time


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def in_none() -> None:
    burn(2.5)


def in_span() -> None:
    burn(4)


def main() -> None:
    """Work without tracing, then with it."""
    print('{"ready": true}', flush=True)
    sys.stdin.readline()
    in_none()
    import workload

    tracer = workload.set_up_tracing(service_name="late")
    with tracer.start_as_current_span("late"):
        in_span()
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
