"""Threads with known stacks: prints them to stdout, then waits until stdin closes.

Each line is JSON: a thread's name, its `pthread_self()`, and its frames, leaf first, as pairs of
a name and the offset of the last instruction.
"""

import dis
import json
import os
import sys
import threading
import time
import types

gate = threading.Lock()
gate.acquire()


def hold():
    gate.acquire()


# Offsets in `hold` of the instructions that make up its one call.
CALLS = {it.offset for it in dis.get_instructions(hold) if "CALL" in it.opname}


def recursion(wait, depth=40):
    if depth:
        recursion(wait, depth - 1)
    else:
        wait()


def deep_recursion(wait):
    recursion(wait, 400)


def generator(wait):
    def numbers():
        yield 1
        wait()
        yield 2

    for _ in numbers():
        pass


def delegating_generator(wait):
    def inner():
        yield from (wait() for _ in "a")

    for _ in inner():
        pass


def coroutine(wait):
    async def inner():
        wait()

    async def outer():
        await inner()

    try:
        outer().send(None)
    except StopIteration:
        pass


class Outer:
    class Inner:
        def method(self, wait):
            wait()

        @classmethod
        def class_method(cls, wait):
            cls().method(wait)


def method(wait):
    Outer.Inner.class_method(wait)


def nested(wait):
    def frère():
        for call in [lambda: wait()]:
            call()

    frère()


def sort_key(wait):
    sorted([1], key=lambda _: wait())


def sort_recursion(wait, depth=12):
    if depth:
        sorted([depth], key=lambda it: sort_recursion(wait, it - 1))
    else:
        wait()


def comprehension(wait):
    return [[wait() for _ in "a"] for _ in "b"]


class Made:
    def __init__(self, wait):
        wait()


def construction(wait):
    Made(wait)


class Attributes:
    def __init__(self, wait):
        self.wait = wait

    @property
    def value(self):
        self.wait()

    def __getitem__(self, key):
        return self.value

    def __add__(self, other):
        return self[other]


def operators(wait):
    Attributes(wait) + 1


def context_manager(wait):
    class Manager:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            wait()

    with Manager():
        pass


def class_body(wait):
    class Body:
        wait()


def evaluation(wait):
    module = compile("wait()", "<made up>", "exec")
    types.FunctionType(module, {"wait": wait})()


SCENARIOS = [
    recursion,
    deep_recursion,
    generator,
    delegating_generator,
    coroutine,
    method,
    nested,
    sort_key,
    sort_recursion,
    comprehension,
    construction,
    operators,
    context_manager,
    class_body,
    evaluation,
]


def repeated(scenario):
    """Runs it often enough that its bytecode is specialised, then stays in it."""
    for _ in range(64):
        scenario(int)
    scenario(hold)


def frames(frame):
    while frame:
        code = frame.f_code
        yield getattr(code, "co_qualname", code.co_name), frame.f_lasti
        frame = frame.f_back


def settled(frame):
    # The gate never opens: a thread inside the call stays there.
    return frame.f_code is hold.__code__ and frame.f_lasti in CALLS


def report():
    me = threading.get_ident()
    while True:
        stacks = {id: frame for id, frame in sys._current_frames().items() if id != me}
        if len(stacks) == threading.active_count() - 1 and all(map(settled, stacks.values())):
            break
        del stacks
        time.sleep(0.01)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for id, frame in stacks.items():
        print(json.dumps([names[id], id, list(frames(frame))]))
    print(flush=True)
    sys.stdin.read()
    os._exit(0)


for scenario in SCENARIOS:
    name = scenario.__name__
    threading.Thread(target=scenario, args=(hold,), name=name).start()
    threading.Thread(target=repeated, args=(scenario,), name=f"repeated {name}").start()
threading.Thread(target=report).start()
hold()
