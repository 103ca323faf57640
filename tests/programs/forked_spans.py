"""Forks inside a span: `forked_spans.py SECONDS WAY`.

The parent burns CPU in the span ``request`` and then has children do the same in it, in ``task`` and in ``step``, which
they begin themselves. WAY is how they come to be: ``fork``, ``multiprocessing``, ``pool`` (``ProcessPoolExecutor``),
``gunicorn`` (with ``--preload``), or ``detached``: the parent ends ``request`` while its child goes on in it, and the child begins no span.
"""

import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import workload

tracer = workload.set_up_tracing(service_name="forked spans")


def burn_inherited(seconds: float) -> None:
    """Use CPU time in the span of the parent."""
    workload.burn(seconds)


def burn_task(seconds: float) -> None:
    """Use CPU time in the span that the child begins."""
    workload.burn(seconds)


def burn_step(seconds: float) -> None:
    """Use CPU time in a span below that."""
    workload.burn(seconds)


def burn_detached(seconds: float) -> None:
    """Use CPU time after the parent has ended its span."""
    workload.burn(seconds)


def child(seconds: float) -> None:
    """Work as a child."""
    burn_inherited(seconds)
    with tracer.start_as_current_span("task"):
        burn_task(seconds)
        with tracer.start_as_current_span("step"):
            burn_step(seconds)


def fork(seconds: float) -> None:
    """Fork as the system does."""
    pid = os.fork()
    if pid == 0:
        child(seconds)
        os._exit(0)
    os.waitpid(pid, 0)


def multiprocess(seconds: float) -> None:
    """Fork as `multiprocessing` does."""
    process = multiprocessing.get_context("fork").Process(target=child, args=(seconds,))
    process.start()
    process.join()


def pool(seconds: float) -> None:
    """Fork as pools do: one worker has both tasks."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as workers:
        list(workers.map(child, [seconds / 2] * 2))


def serve(seconds: float) -> None:
    """Fork as a server does that has loaded its application before."""
    from gunicorn.app.base import BaseApplication

    def work(worker: object) -> None:
        child(seconds)
        os.kill(os.getppid(), signal.SIGTERM)

    class Preloaded(BaseApplication):
        def load_config(self) -> None:
            settings = {"bind": "127.0.0.1:0", "preload_app": True, "post_worker_init": work}
            for name, value in settings.items():
                self.cfg.set(name, value)

        def load(self) -> object:
            return lambda environ, start_response: []

    try:
        Preloaded().run()
    except SystemExit:
        pass


def detach(seconds: float) -> None:
    """Go on in a span that the parent ends."""
    reader, writer = os.pipe()
    with tracer.start_as_current_span("request"):
        pid = os.fork()
        if pid == 0:
            burn_inherited(seconds)
            os.write(writer, b"?")
            # Until the parent has ended its span, and the agent has heard of that.
            time.sleep(0.5)
            burn_detached(seconds)
            os._exit(0)
        os.read(reader, 1)
    os.waitpid(pid, 0)


WAYS = {"fork": fork, "multiprocessing": multiprocess, "pool": pool, "gunicorn": serve}


def main() -> None:
    """Fork."""
    seconds, way = float(sys.argv[1]), sys.argv[2]
    workload.wait_for_start()
    if way == "detached":
        # The package's probes are on by then.
        time.sleep(2)
        detach(seconds)
    else:
        with tracer.start_as_current_span("request"):
            workload.burn(seconds)
            WAYS[way](seconds)
    workload.say(done=True)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
