"""Customers of the shop: a few threads that send requests until they are stopped."""

import argparse
import itertools
import threading
import time
import urllib.error
import urllib.request

PATHS = (
    "/search/yellow%20table%20for%20the%20kitchen",
    "/checkout/{number}",
    "/product/7",
    "/checkout/{number}",
    "/product/13",
    "/search/black%20lamp",
)


def shop(url: str, customer: int) -> None:
    """Send one request after the other."""
    for number in itertools.count(customer):
        path = PATHS[number % len(PATHS)].format(number=number)
        try:
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                answer.read()
        except (urllib.error.URLError, OSError):
            # The shop starts, stops or is busy: customers come back.
            time.sleep(0.2)


def main() -> None:
    """Start the customers and wait for the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the shop listens")
    parser.add_argument("--customers", type=int, default=4, help="how many ask at a time")
    arguments = parser.parse_args()
    for customer in range(arguments.customers):
        threading.Thread(target=shop, args=(arguments.url, customer), daemon=True).start()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
