"""Burns CPU below ten thousand stacks that all differ, a short while below each.

Runs until stdin is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import until_closed

DEPTH = 30
STACKS = 10_000
TURN = 0.001
# Ten ways down from each function: which one is taken in the first four tells the stacks apart.
SOURCE = "def frame_{number}(stack):\n    way = stack % 10\n" + "".join(
    f"    if way == {way}:\n        return frame_{{next}}(stack // 10)\n" for way in range(10)
)


def leaf(_stack: int) -> None:
    """Compute something."""
    end = time.monotonic() + TURN
    number = 0
    while time.monotonic() < end:
        for _ in range(100):
            number = (number * 31 + 7) % 1_000_003


def stack() -> Callable[[int], None]:
    """Build the functions, each calling the next."""
    names: dict[str, object] = {f"frame_{DEPTH}": leaf}
    source = "".join(SOURCE.format(number=number, next=number + 1) for number in range(DEPTH))
    exec(compile(source, "stacks_frames.py", "exec"), names)  # noqa: S102 (our own source)
    return names["frame_0"]  # type: ignore[return-value]


def main() -> None:
    """Burn."""
    run = stack()
    stop = until_closed.ready()
    number = 0
    while not stop.is_set():
        # 7 919 is prime: every stack has its turn.
        number = (number + 7_919) % STACKS
        run(number)


if __name__ == "__main__":
    main()
