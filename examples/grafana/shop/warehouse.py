"""The warehouse: it knows what is in stock, and guesses what will be asked for.

Run it by ``opentelemetry-instrument uvicorn warehouse:app --port 8001``.
"""

import math

from fastapi import FastAPI

app = FastAPI()

DAYS = 3650
WEIGHTS = [0.02, 0.05, 0.1, 0.2, 0.3]


@app.get("/stock/{item}")
async def stock(item: int) -> dict:
    """Say how many pieces are left, and what one costs."""
    return {"item": item, "price": 100 + item * 7 % 900, "left": forecast(item)}


@app.get("/health")
async def health() -> dict:
    """Say that the warehouse is there."""
    return {"status": "ok"}


def forecast(item: int) -> int:
    """Say what will be left, by the weight that would have guessed the last ten years best."""
    sold = [40 + 10 * math.sin(day / 7 + item) for day in range(DAYS)]
    return int(min(smooth(sold, weight) for weight in WEIGHTS)[1])


def smooth(sold: list[float], weight: float) -> tuple[float, float]:
    """Guess each day from those before it: how wrong that was, and the guess for tomorrow."""
    level, wrong = sold[0], 0.0
    for pieces in sold:
        wrong += abs(pieces - level)
        level += weight * (pieces - level)
    return wrong, level
