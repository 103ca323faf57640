"""A function of so many lines that works in its last one: prints the number of that line."""

# ruff: noqa: S102

import sys

import workload

tracer = workload.set_up_tracing()


def main() -> None:
    """Make the function, and call it for so many seconds of CPU time."""
    lines, seconds = int(sys.argv[1]), float(sys.argv[2])
    body = "".join(f"    number = number + {line % 100}\n" for line in range(lines))
    source = f"def long_function(number):\n{body}    return burn({seconds})\n"
    made = {"burn": workload.burn}
    exec(compile(source, "long_function.py", "exec"), made)
    workload.wait_for_start()
    with tracer.start_as_current_span("long"):
        made["long_function"](0)
    workload.say(line=lines + 2)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
