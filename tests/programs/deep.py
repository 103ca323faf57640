"""Two handlers, each in a span of its own, that call themselves so often: prints the CPU time of each."""

import collections
import sys

import workload

tracer = workload.set_up_tracing()
cpu = collections.Counter()


def walk(depth: int) -> float:
    """Work at the bottom of the recursion."""
    return workload.burn(0.05) if depth == 0 else walk(depth - 1)


def handler_x(depth: int) -> None:
    """Recurse in a span."""
    with tracer.start_as_current_span("x"):
        cpu["x"] += walk(depth)


def handler_y(depth: int) -> None:
    """Recurse in another span."""
    with tracer.start_as_current_span("y"):
        cpu["y"] += walk(depth)


def main() -> None:
    """Take both in turn, for so many seconds of CPU time."""
    depth, seconds = int(sys.argv[1]), float(sys.argv[2])
    sys.setrecursionlimit(depth + 1000)
    workload.wait_for_start()
    while sum(cpu.values()) < seconds:
        handler_x(depth)
        handler_y(depth)
    workload.say(cpu=cpu)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
