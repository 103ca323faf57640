"""How a workload that answers nothing learns that it is to end."""

from __future__ import annotations

import sys
import threading


def ready() -> threading.Event:
    """Say that all is set; the event comes when stdin is closed."""
    stop = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    print("ready", flush=True)
    return stop
