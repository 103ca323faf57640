"""A FastAPI service on uvicorn with the real instrumentation: it prints its port first."""

import asyncio
import socket
import threading

import oracle
import uvicorn
import workload
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

tracer = oracle.set_up("fastapi")
app = FastAPI()


@app.get("/async/{number}")
async def asynchronous(number: int) -> int:
    """Work on the event loop, giving way."""
    for _ in range(3):
        oracle.work(0.001)
        await asyncio.sleep(0)
    with tracer.start_as_current_span("child"):
        oracle.work(0.001)
        await asyncio.sleep(0.001)
        oracle.work(0.001)
    return number


@app.get("/sync/{number}")
def synchronous(number: int) -> int:
    """Work in a thread of the pool."""
    oracle.work(0.003)
    with tracer.start_as_current_span("child"):
        oracle.work(0.002)
    return number


FastAPIInstrumentor.instrument_app(app)


def main() -> None:
    """Serve until the test no longer needs the process."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    threading.Thread(target=server.run, args=([listener],), daemon=True).start()
    while not server.started:
        threading.Event().wait(0.01)
    workload.say(ready=True, port=listener.getsockname()[1])
    workload.wait_for_end()


if __name__ == "__main__":
    main()
