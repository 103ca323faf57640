"""native_threads.py LIBRARY: a span's CPU, and three times as much of a thread that runs no Python."""

import ctypes
import sys
import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

MILLISECONDS = 600


def burn():
    end = time.thread_time() + MILLISECONDS / 1000
    while time.thread_time() < end:
        sum(range(200))


def main():
    trace.set_tracer_provider(TracerProvider())
    tracer = trace.get_tracer("native_threads")
    library = ctypes.CDLL(sys.argv[1])
    # The first instance of its class teaches the agent what a span is.
    with tracer.start_as_current_span("before"):
        burn()
    thread = ctypes.c_ulong()
    library.start(ctypes.c_long(3 * MILLISECONDS), ctypes.byref(thread))
    with tracer.start_as_current_span("work"):
        burn()
    library.wait_for(thread)


main()
