"""Ties the CPU profile of a Python service to its OpenTelemetry spans.

Register the processor once and spanprof's agent sees every span of the process::

    from spanprof import SpanProcessor

    tracer_provider.add_span_processor(SpanProcessor())

Under ``opentelemetry-instrument`` not even that line is needed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry.sdk import trace as _sdk

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["PyroscopeSpanProcessor", "SpanProcessor", "stats"]

_logger = logging.getLogger("spanprof")

try:
    from spanprof._hook import NativeSpanProcessor, stats
except ImportError as _error:
    # A missing profiler must never keep a service from starting.
    _logger.warning("the native module cannot be loaded, spans are not reported: %s", _error)

    class NativeSpanProcessor:  # type: ignore[no-redef]
        """What the native module provides, doing nothing."""

        def _set_label_active_span(self, label_active_span: bool) -> None:
            pass

        def on_start(self, span: _sdk.Span, parent_context: Context | None = None) -> None:
            """Do nothing when a span starts."""

        def on_end(self, span: _sdk.ReadableSpan) -> None:
            """Do nothing when a span ends."""

    def stats() -> dict[str, int]:
        """Count nothing: the native module cannot be loaded."""
        return {"spans_started": 0, "spans_ended": 0, "failures": 0}


_LABEL_ACTIVE_SPAN = {"local-root": False, "active": True}


# The native class comes first in the method resolution order, so the SDK calls its hooks directly,
# without a Python frame in between.
class SpanProcessor(NativeSpanProcessor, _sdk.SpanProcessor):
    """Reports the start and end of every span to spanprof's agent, if one runs on the host.

    It exports nothing, keeps nothing and starts no thread. With no agent it costs the process a
    fraction of a microsecond a span.

    Args:
        span_label: Which spans get the attribute ``pyroscope.profile.id``, the id by which Grafana
            finds a span's profile. ``"local-root"``, the default: the topmost span of each request
            in this process, whose profile includes the spans below. ``"active"``: every span its
            own; choose it if the agent labels samples with the active span.

    Raises:
        ValueError: ``span_label`` is neither.

    """

    def __init__(self, *, span_label: str = "local-root") -> None:
        """Choose the spans that get a profile id."""
        super().__init__()
        try:
            label_active_span = _LABEL_ACTIVE_SPAN[span_label]
        except KeyError:
            choices = " or ".join(repr(choice) for choice in _LABEL_ACTIVE_SPAN)
            raise ValueError(f"span_label is {choices}, not {span_label!r}") from None
        self._set_label_active_span(label_active_span)

    def shutdown(self) -> None:
        """Do nothing: there is nothing to stop."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002
        """Say that all is flushed: nothing is kept."""
        # Without this, the base class of SDK 1.20 would answer None, which counts as a failure.
        return True


PyroscopeSpanProcessor = SpanProcessor
"""The same class under the name that pyroscope-otel gives it: to migrate, change the import."""
