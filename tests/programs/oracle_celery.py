"""Celery with the real instrumentation: `worker` preforks, `send FROM TO` gives it tasks of these numbers.

The broker is a folder, named by BROKER_FOLDER: no server is needed.
"""

import os
import sys

from celery import Celery
from celery.signals import worker_process_init
from opentelemetry.instrumentation.celery import CeleryInstrumentor

folder = os.environ["BROKER_FOLDER"]
# A worker ends if it reads a half-written message: so messages are written in another folder.
outbox = f"{folder}-outbox"
app = Celery("oracle", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": folder,
        "data_folder_out": outbox,
        "control_folder": os.path.join(folder, "control"),
        "polling_interval": 0.01,
    },
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
)


@worker_process_init.connect(weak=False)
def trace_worker(**_: object) -> None:
    """Set tracing up in each child, as OpenTelemetry's documentation says."""
    import oracle

    oracle.set_up("celery")
    CeleryInstrumentor().instrument()
    print(f"worker {os.getpid()}", flush=True)


@app.task(name="compute")
def compute(number: int) -> None:
    """Work in the task's span and in one of its own."""
    import oracle
    from opentelemetry import trace

    oracle.work(0.01)
    with trace.get_tracer("tasks").start_as_current_span(f"part of {number}"):
        oracle.work(0.01)
    print(f"done {number}.", flush=True)


def main() -> None:
    """Run a worker, or give it work."""
    if sys.argv[1] == "send":
        for number in range(*map(int, sys.argv[2:])):
            compute.delay(number)
            for message in os.listdir(outbox):
                os.rename(os.path.join(outbox, message), os.path.join(folder, message))
        return
    app.worker_main(["worker", "--pool=prefork", "--concurrency=2", "--loglevel=warning", "-Ofair"])


if __name__ == "__main__":
    main()
