"""Spans in greenlets: fifty at a time on one thread, all patched."""

from gevent import monkey

monkey.patch_all()

import gevent
import oracle

tracer = oracle.set_up("gevent")


def request(number: int) -> None:
    """Serve a request with a child, giving way within both."""
    with tracer.start_as_current_span(f"GET /{number}"):
        for _ in range(4):
            oracle.work(0.001)
            gevent.sleep(0)
        with tracer.start_as_current_span("child"):
            for _ in range(3):
                oracle.work(0.001)
                gevent.sleep(0.001 * (number % 3))
        oracle.work(0.001)


def without() -> None:
    """Work in no span."""
    for _ in range(10):
        oracle.work(0.001)
        gevent.sleep(0)


def fifty_requests() -> None:
    """Serve fifty requests at a time, some greenlets without any."""
    for _ in range(3):
        running = [gevent.spawn(request, number) for number in range(50)]
        running += [gevent.spawn(without) for _ in range(5)]
        gevent.joinall(running, raise_error=True)


if __name__ == "__main__":
    oracle.run({"fifty_requests": fifty_requests})
