"""Forks children that live for a short time: `short_lived.py SECONDS A_SECOND MILLISECONDS [spans]`.

Each child uses CPU time in a function, with `spans` in a span of its own, and exits. Children follow one another at the
rate, as well as the machine can. How much CPU time they have used, each says through a pipe.
"""

import os
import struct
import sys
import time

import workload


def burn_in_child(seconds: float) -> float:
    """Use CPU time."""
    return workload.burn(seconds)


def burn_in_span(seconds: float) -> float:
    """Use CPU time in a span."""
    from opentelemetry import trace

    with trace.get_tracer("short-lived").start_as_current_span("task"):
        return burn_in_child(seconds)


def reap() -> None:
    """Wait for those that have ended, and for no other."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


def main() -> None:
    """Fork them."""
    seconds, rate, milliseconds, *how = sys.argv[1:]
    work = burn_in_child
    if "spans" in how:
        workload.set_up_tracing(service_name="short-lived")
        work = burn_in_span
    reader, writer = os.pipe()
    workload.wait_for_start()
    start = time.monotonic()
    children = 0
    while (elapsed := time.monotonic() - start) < float(seconds):
        if children > elapsed * float(rate):
            time.sleep(0.001)
            continue
        children += 1
        if os.fork() == 0:
            used = work(float(milliseconds) / 1000)
            os.write(writer, struct.pack("d", used))
            os._exit(0)
        reap()
    os.close(writer)
    said = b""
    while part := os.read(reader, 65536):
        said += part
    used = sum(it for (it,) in struct.iter_unpack("d", said))
    workload.say(children=children, cpu=used)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
