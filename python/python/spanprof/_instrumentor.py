"""What ``opentelemetry-instrument`` loads, so that users write no line at all."""

from __future__ import annotations

import functools
import logging
import os
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from spanprof import SpanProcessor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_logger = logging.getLogger("spanprof")


class SpanprofInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Registers the span processor on the SDK's tracer provider.

    A distribution sets the provider up before instrumentors are loaded, so as a rule it is there.
    Without one (``opentelemetry-distro`` is not installed), the program sets its own later: then
    the processor is registered at that moment.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Name no library: spans come from the SDK, which this package depends on."""
        return ()

    def _instrument(self, **_kwargs: Any) -> None:
        # An exception here would end the whole auto-instrumentation, not only this part.
        try:
            self._processor = SpanProcessor(
                span_label=os.environ.get("SPANPROF_SPAN_LABEL", "local-root")
            )
        except ValueError as error:
            _logger.warning("SPANPROF_SPAN_LABEL is ignored: %s", error)
            self._processor = SpanProcessor()
        if not self._register(trace.get_tracer_provider()):
            self._await_tracer_provider()

    def _uninstrument(self, **_kwargs: Any) -> None:
        # The SDK has no way to remove a processor; at least none is added any more.
        self._processor = None

    def _register(self, tracer_provider: object) -> bool:
        """Register the processor, and say whether the provider could take it."""
        add_span_processor = getattr(tracer_provider, "add_span_processor", None)
        if add_span_processor is None:
            return False
        if self._processor is not None and not _has_processor(tracer_provider):
            add_span_processor(self._processor)
        return True

    def _await_tracer_provider(self) -> None:
        set_tracer_provider: Callable[..., None] = trace.set_tracer_provider

        @functools.wraps(set_tracer_provider)
        def set_and_register(*args: Any, **kwargs: Any) -> None:
            set_tracer_provider(*args, **kwargs)
            try:
                # The provider that is now set: not the one passed if another was set before.
                self._register(trace.get_tracer_provider())
            except Exception:
                _logger.warning("the span processor cannot be registered", exc_info=True)

        trace.set_tracer_provider = set_and_register


def _has_processor(tracer_provider: object) -> bool:
    """Say whether the program has registered a processor itself."""
    active = getattr(tracer_provider, "_active_span_processor", None)
    processors = getattr(active, "_span_processors", ())
    return any(isinstance(processor, SpanProcessor) for processor in processors)
