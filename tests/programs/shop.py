"""A Flask app for gunicorn, traced as users do it: each worker sets the provider up at import.

Two views, one with a child span; the name of each view says which span it belongs to.
"""

import os

import workload
from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor

tracer = workload.set_up_tracing(service_name=os.environ["SHOP_NAME"])
app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.get("/search/<query>")
def search_view(query: str) -> str:
    """All of its CPU in the request's own span."""
    workload.burn(0.02)
    return query


@app.get("/checkout")
def checkout_view() -> str:
    """Some of its CPU in a child span."""
    workload.burn(0.01)
    with tracer.start_as_current_span("price cart"):
        price_cart()
    return "paid"


def price_cart() -> None:
    """Belong to the child span."""
    workload.burn(0.015)


@app.get("/pid")
def pid_view() -> str:
    """Say which worker answers."""
    return str(os.getpid())
