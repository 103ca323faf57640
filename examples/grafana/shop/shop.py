"""The shop: it prices orders, and asks the warehouse what is in stock.

Run it by ``opentelemetry-instrument uvicorn shop:app``. There is no word about tracing or profiling in it.
"""

import asyncio
import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request

VOUCHERS = 2000


@asynccontextmanager
async def warehouse(app: FastAPI):
    """Keep connections to the warehouse open as long as the shop is."""
    address = os.environ.get("WAREHOUSE_URL", "http://127.0.0.1:8001")
    async with httpx.AsyncClient(base_url=address) as client:
        app.state.warehouse = client
        yield


app = FastAPI(lifespan=warehouse)


@app.get("/order/{customer}")
async def order(customer: int, request: Request) -> dict:
    """Sell three things: ask for all of them at once, and price what is there."""
    items = [(customer * 7 + place * 13) % 48 for place in range(3)]
    client = request.app.state.warehouse
    answers = await asyncio.gather(*(client.get(f"/stock/{item}") for item in items))
    cart = [answer.json() for answer in answers]
    return {"customer": customer, "total": price_cart(cart)}


@app.get("/search/{words}")
async def search(words: str) -> list[str]:
    """Find things by the letters they share with what was typed."""
    return rank(words)


@app.get("/health")
async def health() -> dict:
    """Say that the shop is there."""
    return {"status": "ok"}


def price_cart(cart: list[dict]) -> int:
    """Take the voucher that makes the cart cheapest."""
    best = sum(item["price"] for item in cart)
    for voucher in range(1, VOUCHERS):
        total = 0
        for item in cart:
            for piece in range(30):
                total += item["price"] - (item["price"] * voucher * piece) % 17
        best = min(best, total)
    return best


def rank(words: str) -> list[str]:
    """Sort the catalogue by how alike each name is to the words."""
    names = [
        f"{colour} {thing}"
        for colour in ("red", "green", "blue")
        for thing in ("chair", "table", "lamp")
    ]
    return sorted(names * 20, key=lambda name: -similarity(words, name))[:5]


def similarity(one: str, other: str) -> float:
    """Tell how alike two texts are, by the pairs of letters that they share."""
    pairs = {one[place : place + 2] for place in range(len(one) - 1)}
    others = {other[place : place + 2] for place in range(len(other) - 1)}
    return len(pairs & others) / max(len(pairs | others), 1)
