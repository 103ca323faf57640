"""Two requests take turns on an event loop for 12 s of CPU time; with a server's URL, under the in-process peer.

Says the span ids of both, whose work is in functions of their own: what a profiler says can be judged by
function, whatever times it keeps.
"""

import asyncio
import json
import sys
import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

SECONDS = 12.0
provider = TracerProvider()
if len(sys.argv) > 1:
    import pyroscope
    from pyroscope.otel import PyroscopeSpanProcessor

    pyroscope.configure(application_name="peer", server_address=sys.argv[1], sample_rate=100)
    provider.add_span_processor(PyroscopeSpanProcessor())
tracer = provider.get_tracer("two requests")
spans = {}


def burn() -> None:
    """Use CPU time."""
    until = time.thread_time() + 0.002
    while time.thread_time() < until:
        for _ in range(100):
            pass


def in_alpha() -> None:
    """Work for the first request."""
    burn()


def in_beta() -> None:
    """Work for the second request."""
    burn()


async def request(name: str, work: object, until: float) -> None:
    """Serve one request in a span of its own, giving way in between."""
    with tracer.start_as_current_span(name) as span:
        spans[name] = trace.format_span_id(span.get_span_context().span_id)
        while time.thread_time() < until:
            work()
            await asyncio.sleep(0)


async def main() -> None:
    """Serve both."""
    until = time.thread_time() + SECONDS
    await asyncio.gather(
        request("alpha", in_alpha, until),
        request("beta", in_beta, until),
    )


if __name__ == "__main__":
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    asyncio.run(main())
    if len(sys.argv) > 1:
        pyroscope.shutdown()
    print(json.dumps(spans), flush=True)
    sys.stdin.read()
