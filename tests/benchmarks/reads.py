"""Measures what bare reads of user memory cost in a BPF program that does nothing else.

    reads.py READSxBYTES...

Loads a BPF program, written by hand, with these calls of `bpf_probe_read_user`, and runs it on a
software clock while this process spins. For every line on stdin (for how many seconds): answers
with the nanoseconds of a run, as JSON: the median of the means of slices of 50 ms, by the kernel's
statistics, which must be switched on. Needs root.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
import struct
import sys
import time
from fcntl import ioctl
from pathlib import Path

FREQUENCY = 999
SLICE_SECONDS = 0.05
# System calls: include/uapi/asm-generic/unistd.h, arch/x86/entry/syscalls/syscall_64.tbl.
BPF, PERF_EVENT_OPEN = {"x86_64": (321, 298), "aarch64": (280, 241)}[platform.machine()]
# include/uapi/linux/bpf.h
BPF_MAP_CREATE = 0
BPF_PROG_LOAD = 5
BPF_MAP_TYPE_ARRAY = 2
BPF_PROG_TYPE_PERF_EVENT = 7
BPF_PSEUDO_MAP_VALUE = 2
PROBE_READ_USER = 112
# include/uapi/linux/perf_event.h
PERF_TYPE_SOFTWARE = 1
PERF_COUNT_SW_CPU_CLOCK = 0
BY_FREQUENCY = 1 << 10
IOC_ENABLE = 0x2400
IOC_SET_BPF = 0x40042408

libc = ctypes.CDLL(None, use_errno=True)


def instruction(opcode: int, destination: int = 0, source: int = 0, value: int = 0) -> bytes:
    """Encode one instruction of a BPF program."""
    return struct.pack("<BBhi", opcode, source << 4 | destination, 0, value)


def bare_reads(address: int, sizes: list[int], room: int) -> bytes:
    """Write the program: a read of each size, one after the other, to different places in a map."""
    program = b""
    for size in sizes:
        low, high = struct.unpack("<ii", struct.pack("<Q", address))
        # r1 = the room
        program += instruction(0x18, 1, BPF_PSEUDO_MAP_VALUE, room) + instruction(0)
        program += instruction(0xB7, 2, value=size)  # r2 = size
        program += instruction(0x18, 3, value=low) + instruction(0, value=high)  # r3 = address
        program += instruction(0x85, value=PROBE_READ_USER)
        address += size
    return program + instruction(0xB7) + instruction(0x95)


def system_call(number: int, *arguments: object) -> int:
    """Make a system call that answers with a file descriptor."""
    result = libc.syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def map_of(size: int) -> int:
    """Make an array of one value of this many bytes; its file descriptor."""
    attributes = struct.pack("<IIII", BPF_MAP_TYPE_ARRAY, 4, size, 1).ljust(128, b"\0")
    return system_call(BPF, BPF_MAP_CREATE, attributes, len(attributes))


def load(program: bytes) -> int:
    """Load the program; its file descriptor."""
    code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "<IIQQ",
        BPF_PROG_TYPE_PERF_EVENT,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
    ).ljust(128, b"\0")
    return system_call(BPF, BPF_PROG_LOAD, attributes, len(attributes))


def run_on_clock(program: int) -> None:
    """Run the program at every tick of a clock of this process's CPU time."""
    kind = struct.pack("<IIQQ", PERF_TYPE_SOFTWARE, 112, PERF_COUNT_SW_CPU_CLOCK, FREQUENCY)
    attributes = (kind + bytes(16) + struct.pack("<Q", BY_FREQUENCY)).ljust(112, b"\0")
    clock = system_call(PERF_EVENT_OPEN, attributes, 0, -1, -1, 0)
    ioctl(clock, IOC_SET_BPF, program)
    ioctl(clock, IOC_ENABLE, 0)


def runs(program: int) -> tuple[int, int]:
    """How often the program ran, and the nanoseconds of it."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{program}").read_text().splitlines()
    )
    return int(fields["run_cnt"]), int(fields["run_time_ns"])


def main() -> None:
    """Answer until stdin is closed."""
    sizes = []
    for argument in sys.argv[1:]:
        count, size = map(int, argument.split("x"))
        sizes += count * [size]
    memory = ctypes.create_string_buffer(b"\1" * sum(sizes))
    room = map_of(max(sizes))
    program = load(bare_reads(ctypes.addressof(memory), sizes, room))
    run_on_clock(program)
    print("ready", flush=True)
    for line in sys.stdin:
        end = time.monotonic() + int(line)
        means = []
        while (now := time.monotonic()) < end:
            count_before, nanoseconds_before = runs(program)
            while time.monotonic() < now + SLICE_SECONDS:
                pass
            count_after, nanoseconds_after = runs(program)
            if count_after > count_before:
                of_slice = nanoseconds_after - nanoseconds_before
                means.append(of_slice / (count_after - count_before))
        if not means:
            raise SystemExit("the program has not run: is kernel.bpf_stats_enabled 1?")
        print(json.dumps(statistics.median(means)), flush=True)


if __name__ == "__main__":
    main()
