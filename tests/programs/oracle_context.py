"""Runtime contexts of an application's own, for OTEL_PYTHON_CONTEXT."""

import contextvars
import threading

from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext


class DerivedContext(ContextVarsRuntimeContext):
    """Derives from OpenTelemetry's, and keeps the context in the same place."""


class ForeignContext(ContextVarsRuntimeContext):
    """Keeps the context in a thread-local that the agent does not know."""

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
