"""The in-process pair, `pyroscope-io` and `pyroscope-otel`, in a workload whose environment asks for it.

`PEER_URL` is the server to push to, `PEER_SAMPLER` one of its samplers (`PySpy` or `Stack`), and
`PEER_RATE` the number of samples a second.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


def start(provider: TracerProvider | None = None) -> None:
    """Start the profiler and add its processor to a provider, if the environment asks for it."""
    url = os.environ.get("PEER_URL")
    if url is None:
        return
    import pyroscope
    from pyroscope.otel import PyroscopeSpanProcessor

    sampler, rate = os.environ["PEER_SAMPLER"], int(os.environ["PEER_RATE"])
    if sampler == "Stack":
        pyroscope.configure_experimental_stack_profiler(cpu_timer_interval_ms=max(1000 // rate, 1))
    started = pyroscope.configure(
        application_name="benchmark",
        server_address=url,
        sample_rate=rate,
        cpu_implementation=getattr(pyroscope.ProfilerImplementation, sampler),
    )
    if not started:
        raise SystemExit("pyroscope-io does not start")
    if provider is not None:
        provider.add_span_processor(PyroscopeSpanProcessor())


def stop() -> None:
    """Push what was sampled last."""
    if "PEER_URL" in os.environ:
        import pyroscope

        pyroscope.shutdown()
