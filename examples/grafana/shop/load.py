"""Customers of the shop: they order and search until they are stopped.

Usage: ``python load.py [URL]``
"""

import sys
import threading
import time
import urllib.request

CUSTOMERS = 4
PATHS = ["/order/{}", "/order/{}", "/search/lamp"]
PAUSE_SECONDS = 0.05


def shop(address: str, customer: int) -> None:
    """Buy and search, one request after the other."""
    visit = 0
    while True:
        path = PATHS[visit % len(PATHS)].format(customer * 100 + visit)
        try:
            with urllib.request.urlopen(address + path, timeout=10) as answer:
                answer.read()
        except OSError as error:
            print(f"load: {address}{path}: {error}", file=sys.stderr)
            time.sleep(1)
        visit += 1
        time.sleep(PAUSE_SECONDS)


address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
threads = [
    threading.Thread(target=shop, args=(address, customer), daemon=True)
    for customer in range(CUSTOMERS)
]
for thread in threads:
    thread.start()
try:
    for thread in threads:
        thread.join()
except KeyboardInterrupt:
    pass
