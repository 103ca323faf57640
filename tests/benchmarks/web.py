"""A Flask service under gunicorn, instrumented with OpenTelemetry: each request is 2 ms of CPU.

For every line on stdin: answers with the port, as JSON. Ends when stdin is closed.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import in_process
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider

WORK_SECONDS = 0.002
provider = TracerProvider()
application = Flask("web")
FlaskInstrumentor().instrument_app(application, tracer_provider=provider)


def work(frames: int) -> None:
    """Burn CPU below this many frames."""
    if frames > 1:
        return work(frames - 1)
    end = time.thread_time() + WORK_SECONDS
    while time.thread_time() < end:
        for _ in range(100):
            pass
    return None


def post_worker_init(_worker: object) -> None:
    """Start the in-process pair in the worker, if it is asked for: gunicorn calls this by its name."""
    in_process.start(provider)


@application.get("/")
def index() -> str:
    """Serve a request."""
    work(10)
    return "done"


def is_listening(port: int) -> bool:
    """Whether a server answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    """Serve until stdin is closed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    command += ["--config", "python:web", "web:application"]
    with subprocess.Popen(
        [*command, "--log-level", "error"], cwd=Path(__file__).parent, stdin=subprocess.DEVNULL
    ) as server:
        while not is_listening(port):
            time.sleep(0.05)
        print("ready", flush=True)
        for _ in sys.stdin:
            print(json.dumps(port), flush=True)
        server.terminate()


if __name__ == "__main__":
    main()
