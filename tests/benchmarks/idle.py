"""Processes that do next to nothing, as workers of a prefork server at night do.

Arguments: how many, and perhaps a server's URL: then `pyroscope-io` profiles each of them and sends there.
For every line on stdin: answers with their pids as JSON. Ends when stdin is closed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from opentelemetry.sdk.trace import TracerProvider

PERIOD = 0.5


def doze(url: str | None) -> None:
    """Wake up twice a second, and do nothing."""
    if url is not None:
        import pyroscope

        pyroscope.configure(application_name="idle", server_address=url, sample_rate=100)
    while True:
        time.sleep(PERIOD)


def main() -> None:
    """Answer until stdin is closed."""
    count = int(sys.argv[1])
    url = sys.argv[2] if sys.argv[2:] else None
    with TracerProvider().get_tracer("idle").start_as_current_span("first"):
        pass
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.close(0)
            doze(url)
        children.append(child)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(children), flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
