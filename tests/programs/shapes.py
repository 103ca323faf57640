"""Burns CPU time under stacks of every shape, and says what each of them was.

``burn`` writes down the stack it was called from, as the interpreter itself sees it, before it uses
any CPU time worth a sample: so every sample in it can be held against what was written down.
"""

# The point here is code that should not be written like this.
# ruff: noqa: B035, C400, C417, PLC3002, S102

import asyncio
import functools
import re
import sys
import threading
import time
import types

import workload

try:
    import ctypes
except ImportError:  # A build without libffi.
    ctypes = None

# What a file system's name cannot decode.
ESCAPED = re.compile("[\udc80-\udcff]")
SECONDS = 0.12
BRIEF = 0.012
recorded = set()


def plain(text: str) -> str:
    """Show the bytes that no UTF-8 can hold."""
    return ESCAPED.sub(lambda it: f"\\x{ord(it[0]) - 0xDC00:02x}", text)


def burn(seconds: float = SECONDS) -> None:
    """Write down the callers, then use CPU time."""
    frame = sys._getframe(1)
    stack = []
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        stack.append((plain(name), plain(code.co_filename), frame.f_lineno))
        frame = frame.f_back
    recorded.add(tuple(stack))
    spin(seconds)


def spin(seconds: float) -> None:
    """Use CPU time in this thread, in lines that are its own."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def recursion(depth: int) -> None:
    if depth:
        recursion(depth - 1)
    else:
        burn()


def generators() -> None:
    def inner() -> types.GeneratorType:
        burn()
        yield 1

    def outer() -> types.GeneratorType:
        yield from inner()

    next(outer())
    list(burn() for _ in (1,))


def coroutines() -> None:
    async def inner() -> None:
        burn()

    async def numbers() -> types.AsyncGeneratorType:
        burn()
        yield 1

    async def outer() -> None:
        await inner()
        async for _ in numbers():
            pass
        await asyncio.gather(inner())

    asyncio.run(outer())


def comprehensions() -> None:
    [burn() for _ in (1,)]
    {burn() for _ in (1,)}
    {1: burn() for _ in (1,)}


def functions() -> None:
    def decorator(function: types.FunctionType) -> types.FunctionType:
        @functools.wraps(function)
        def wrapper() -> None:
            function()

        return wrapper

    @decorator
    def decorated() -> None:
        burn()

    class Thing:
        burn()

        def __init__(self) -> None:
            burn()

        @property
        def attribute(self) -> None:
            burn()

        @staticmethod
        def alone() -> None:
            burn()

        @classmethod
        def of_class(cls) -> None:
            burn()

        def __call__(self) -> None:
            burn()

    decorated()
    thing = Thing()
    _ = thing.attribute
    Thing.alone()
    Thing.of_class()
    thing()
    (lambda: burn())()
    burn(
        # The line of a call is its first one.
        SECONDS
    )


def callbacks() -> None:
    sorted([1], key=lambda _: burn())
    list(map(lambda _: burn(), [1]))
    re.sub("a", lambda _: (burn(), "")[1], "a")
    functools.reduce(lambda _a, _b: burn(), [1, 2])
    eval("burn()")
    if ctypes is not None:
        ctypes.CFUNCTYPE(None)(burn)()


def exceptions() -> None:
    class Manager:
        def __enter__(self) -> None:
            burn()

        def __exit__(self, *_: object) -> bool:
            burn()
            return True

    with Manager():
        try:
            raise ValueError
        except ValueError:
            burn()
            raise
        finally:
            burn()


def names() -> None:
    for name in (
        "na\u00efve",
        "\u0444\u0443\u043d\u043a\u0446\u0438\u044f",
        "\U00010330\U00010331",
    ):
        scope = {"burn": burn}
        exec(compile(f"def {name}():\n    burn()", f"/{name}.py", "exec"), scope)
        scope[name]()
    lone = b"/\xff\xfe.py".decode("utf-8", "surrogateescape")
    exec(compile("burn()", lone, "exec"), {"burn": burn})


def redefinitions() -> None:
    def make(number: int) -> types.FunctionType:
        scope = {"burn": burn}
        source = "\n" * number + f"def again{number:02}(): burn({BRIEF})"
        exec(compile(source, "<again>", "exec"), scope)
        return scope[f"again{number:02}"]

    def once(number: int) -> None:
        # Gone with its run: the next one mostly takes over its address at once.
        source = "\n" * number + f"burn({BRIEF})"
        exec(compile(source, f"/once{number:02}.py", "exec"), {"burn": burn})

    # One line for each: a name that is not its own shows beside the line of its call.
    for call in ("make({})()", "once({})"):
        calls = "\n".join(call.format(number) for number in range(60))
        exec(compile(calls, "<calls>", "exec"), {"make": make, "once": once})


def main() -> None:
    """Take all shapes in turn, each of them in a thread, too."""
    workload.wait_for_start()
    shapes = [
        generators,
        coroutines,
        comprehensions,
        functions,
        callbacks,
        exceptions,
        names,
        redefinitions,
    ]
    for shape in shapes:
        shape()
    thread = threading.Thread(target=functions)
    thread.start()
    thread.join()
    recursion(300)
    workload.say(stacks=sorted(recorded), ctypes=ctypes is not None)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
