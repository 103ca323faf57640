"""Spends its CPU time where Python code spends it: in the interpreter's machinery, in a library, in the
kernel; each function in one of them.
"""

import os
import time

import workload

try:
    import hashlib
    import zlib
except ImportError:  # A build without the libraries they need.
    hashlib = zlib = None

SECONDS = 0.4


def make_objects() -> None:
    """Allocate and free."""
    for _ in range(200):
        [{} for _ in range(20)]


def divide(number: int = 3**4000) -> None:
    """Use arithmetic of C functions that are not exported."""
    for _ in range(10):
        number // 7**500


def make_text(words: "tuple[str, ...]" = ("one", "two", "three") * 300) -> None:
    """Join and split."""
    for _ in range(20):
        " ".join(words).split()


def compress_words(data: bytes = b"one two three " * 5000) -> None:
    """Call a library."""
    zlib.crc32(zlib.compress(data, 1))


def digest_zeros(data: bytes = bytes(100_000)) -> None:
    """Call an extension module, or what it calls."""
    hashlib.sha256(data).digest()


def read_zeros(file: int = os.open("/dev/zero", os.O_RDONLY)) -> None:
    """Call the kernel."""
    os.read(file, 1 << 20)


def main() -> None:
    """Do each of them for a while."""
    workload.wait_for_start()
    works = [make_objects, divide, make_text, read_zeros]
    if zlib is not None:
        works += [compress_words, digest_zeros]
    used = 0.0
    for work in works:
        start = time.thread_time()
        while time.thread_time() < start + SECONDS:
            work()
        used += time.thread_time() - start
    workload.say(used=used)
    workload.wait_for_end()


if __name__ == "__main__":
    main()
