"""Processes that do next to nothing, as workers of a prefork server at night do.

Argument: how many. In an environment that asks for it the in-process pair profiles each of them. For every
line on stdin: answers with their pids as JSON. Ends when stdin is closed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import in_process
from opentelemetry.sdk.trace import TracerProvider

PERIOD = 0.5


def doze() -> None:
    """Wake up twice a second, and do nothing."""
    in_process.start()
    while True:
        time.sleep(PERIOD)


def main() -> None:
    """Answer until stdin is closed."""
    count = int(sys.argv[1])
    with TracerProvider().get_tracer("idle").start_as_current_span("first"):
        pass
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.close(0)
            doze()
        children.append(child)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(children), flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
