"""Spans in an event loop: of asyncio, or of uvloop if the first argument says so."""

import asyncio
import sys

import oracle
from opentelemetry import trace

tracer = oracle.set_up("asyncio")
cases = {}


def case(function: object) -> object:
    """Make a coroutine function a case, run in an event loop of its own."""
    cases[function.__name__] = lambda: asyncio.run(function())
    return function


async def request(name: str, rounds: int = 60) -> None:
    """Work in a span, giving way in between."""
    with tracer.start_as_current_span(name):
        for _ in range(rounds):
            oracle.work()
            await asyncio.sleep(0)


@case
async def two_requests() -> None:
    """Serve two requests that take turns."""
    await asyncio.gather(request("alpha"), request("beta"))


@case
async def two_hundred_requests() -> None:
    """Serve many requests at once, with children."""

    async def one(number: int) -> None:
        with tracer.start_as_current_span(f"GET /{number}"):
            oracle.work(0.0005)
            await asyncio.sleep(0.001 * (number % 7))
            with tracer.start_as_current_span("child"):
                oracle.work(0.0005)
                await asyncio.sleep(0)
                oracle.work(0.0005)
            await asyncio.sleep(0)
            oracle.work(0.0005)

    await asyncio.gather(*map(one, range(200)))


@case
async def in_no_span() -> None:
    """Work in a task that has no span beside one that has."""

    async def without() -> None:
        for _ in range(60):
            oracle.work()
            await asyncio.sleep(0)

    await asyncio.gather(request("with"), without())


@case
async def nested_and_gathered() -> None:
    """Gather children within a parent, and work in the parent between them."""
    with tracer.start_as_current_span("parent"):
        for _ in range(5):
            oracle.work(0.005)
            await asyncio.gather(*(request(f"child {number}", 4) for number in range(5)))
        oracle.work(0.005)


@case
async def task_group() -> None:
    """Run children in a task group (since 3.11)."""
    if sys.version_info < (3, 11):
        return
    with tracer.start_as_current_span("parent"):
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(request(f"child {number}", 5))
            oracle.work(0.01)


@case
async def outlives_its_parent() -> None:
    """Go on in a task whose context holds a span that has ended meanwhile."""
    parent_ended = asyncio.Event()

    async def task() -> None:
        await parent_ended.wait()
        for _ in range(30):
            oracle.work()
            await asyncio.sleep(0)
        await request("own", 20)

    with tracer.start_as_current_span("parent"):
        running = asyncio.create_task(task())
        oracle.work(0.02)
        await asyncio.sleep(0)
    parent_ended.set()
    await asyncio.gather(running, request("meanwhile", 30))


@case
async def other_threads() -> None:
    """Work in threads with the task's context, and in threads without."""
    with tracer.start_as_current_span("parent"):
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(asyncio.to_thread(oracle.work, 0.02) for _ in range(5)),
            *(loop.run_in_executor(None, oracle.work, 0.02) for _ in range(5)),
            request("beside", 20),
        )


@case
async def asynchronous_generators() -> None:
    """Hold a span across the yields of a generator: the consumer sees it too."""

    async def generator(name: str) -> object:
        with tracer.start_as_current_span(name):
            for number in range(10):
                oracle.work()
                yield number
                await asyncio.sleep(0)

    async def consumer(name: str) -> None:
        with tracer.start_as_current_span(name):
            async for _ in generator(f"generator of {name}"):
                oracle.work()
            oracle.work()

    await asyncio.gather(*(consumer(f"consumer {number}") for number in range(4)))


@case
async def cancelled() -> None:
    """Cancel tasks within their spans, and work while they are torn down."""

    async def doomed(number: int) -> None:
        with tracer.start_as_current_span(f"doomed {number}"):
            try:
                oracle.work()
                await asyncio.sleep(60)
            finally:
                oracle.work(0.004)
                await asyncio.sleep(0)
                oracle.work(0.004)

    tasks = [asyncio.create_task(doomed(number)) for number in range(20)]
    await request("beside", 10)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@case
async def not_sampled() -> None:
    """Work in spans that no processor hears of."""

    async def one(number: int) -> None:
        with oracle.unsampled.start_as_current_span("unsampled"):
            for _ in range(10):
                oracle.work()
                await asyncio.sleep(0)
        with tracer.start_as_current_span(f"sampled {number}"):
            oracle.work()

    await asyncio.gather(*map(one, range(5)))


def main() -> None:
    """Run all cases."""
    if sys.argv[1:] == ["uvloop"]:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    assert not trace.get_current_span().get_span_context().is_valid
    oracle.run(cases)


if __name__ == "__main__":
    main()
