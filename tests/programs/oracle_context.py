"""Runtime contexts of an application's own, for OTEL_PYTHON_CONTEXT."""

import contextvars
import threading

from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext


class DerivedContext(ContextVarsRuntimeContext):
    """Derives from OpenTelemetry's, and keeps the context where that does."""


class ForeignContext(ContextVarsRuntimeContext):
    """Keeps the context in a place of the thread's own, which nobody outside knows of."""

    def __init__(self) -> None:
        """Make the place."""
        self._local = threading.local()

    def attach(self, context: Context) -> contextvars.Token:
        """Make a context current."""
        before = self.get_current()
        self._local.current = context
        return before  # type: ignore[return-value]

    def get_current(self) -> Context:
        """Return the current context."""
        return getattr(self._local, "current", Context())

    def detach(self, token: contextvars.Token) -> None:
        """Make the context before current again."""
        self._local.current = token
