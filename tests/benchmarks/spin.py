"""Burns CPU below a stack of the depth asked for, until stdin is closed."""

from __future__ import annotations

import sys
import threading


def spin(stop: threading.Event) -> None:
    """Compute something, as the leaf."""
    number = 0
    while not stop.is_set():
        for _ in range(1000):
            number = (number * 31 + 7) % 1_000_003


def deeper(frames: int, stop: threading.Event) -> None:
    """Call itself until so many frames are left to make."""
    if frames > 1:
        deeper(frames - 1, stop)
    else:
        spin(stop)


def main() -> None:
    """Read the depth, tell that all is set, spin."""
    depth = int(sys.argv[1])
    stop = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    print("ready", flush=True)
    # The frames besides: the module's, this one, the leaf.
    deeper(depth - 3, stop)


if __name__ == "__main__":
    main()
