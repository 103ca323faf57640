"""A small shop: four routes of different CPU cost, traced with OpenTelemetry.

Run it with ``gunicorn app:app``; ``traffic.py`` sends the requests.
"""

import hashlib
import os
import re
import sys

from flask import Flask, abort, jsonify
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

try:
    import spanprof
except ImportError:
    # The shop works without it: the agent then reads spans only from the context.
    spanprof = None

CATALOGUE = [
    {"id": number, "name": f"{colour} {thing}", "price": 100 + number * 7 % 900}
    for number, (colour, thing) in enumerate(
        (colour, thing)
        for colour in ("red", "green", "blue", "black", "white", "yellow")
        for thing in ("chair", "table", "lamp", "shelf", "stool", "desk", "sofa", "rug")
    )
]


def set_up_tracing() -> None:
    """Register the tracer provider, with the hook that tells spanprof of every span."""
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "shop")})
    provider = TracerProvider(resource=resource)
    if spanprof is None:
        print("shop: spanprof is not installed, spans stay unknown to it", file=sys.stderr)
    else:
        provider.add_span_processor(spanprof.SpanProcessor())
    trace.set_tracer_provider(provider)


def price_cart(cart: list[dict]) -> int:
    """Sum the cart under every voucher and take the best price."""
    best = sum(item["price"] for item in cart)
    for voucher in range(1, 400):
        total = 0
        for item in cart:
            total += item["price"] - (item["price"] * voucher) % 17
        best = min(best, total)
    return best


def render_receipt(cart: list[dict], total: int) -> str:
    """Write the receipt, line by line, and sign it."""
    lines = [f"{item['name']:<30}{item['price'] / 100:>10.2f}" for item in cart for _ in range(40)]
    lines.append(f"{'total':<30}{total / 100:>10.2f}")
    receipt = "\n".join(lines)
    return receipt + sign(receipt)


def sign(receipt: str) -> str:
    """Sign the receipt: many short digests in a row."""
    digest = receipt.encode()
    for _ in range(600):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


def similarity(query: str, name: str) -> float:
    """Tell how alike two texts are, by the letter pairs they share."""
    pairs = {query[place : place + 2] for place in range(len(query) - 1)}
    others = {name[place : place + 2] for place in range(len(name) - 1)}
    return len(pairs & others) / max(len(pairs | others), 1)


def rank_results(query: str) -> list[dict]:
    """Rank the catalogue: the most expensive thing the shop does."""
    ranked = []
    for item in CATALOGUE:
        score = sum(similarity(query[: length + 2], item["name"]) for length in range(60))
        ranked.append((score, item["id"], item))
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2], reverse=True)]


def describe_product(product: dict) -> str:
    """Fill the product page's template, without a template engine."""
    text = "{name} costs {price}. " * 60
    return re.sub(r"\{(\w+)\}", lambda match: str(product[match[1]]), text)


set_up_tracing()
tracer = trace.get_tracer("shop")
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app, excluded_urls="health")


@app.get("/search/<query>")
def search(query: str):
    """Find products: one span, all of its CPU in one function."""
    return jsonify(rank_results(query)[:10])


@app.get("/checkout/<int:customer>")
def checkout(customer: int):
    """Buy a cart: a span with two child spans, both with their own CPU use."""
    cart = [CATALOGUE[(customer * 5 + step) % len(CATALOGUE)] for step in range(20)]
    with tracer.start_as_current_span("price cart") as span:
        total = price_cart(cart)
        span.set_attribute("shop.cart.total", total)
    with tracer.start_as_current_span("render receipt"):
        receipt = render_receipt(cart, total)
    return receipt, {"Content-Type": "text/plain; charset=utf-8"}


@app.get("/product/<int:number>")
def product(number: int):
    """Show a product: a cheap route."""
    if number >= len(CATALOGUE):
        abort(404)
    return describe_product(CATALOGUE[number])


@app.get("/health")
def health():
    """Answer the load balancer: not traced."""
    return "ok"
