"""A process that keeps whoever reads its memory waiting, for as long as it likes.

A page that a file system in user space (FUSE) does not deliver holds a name in sys.modules, which is read to find
OpenTelemetry. Works for so many seconds of CPU time while it blocks, then lets go, and works for as long in a span.
"""

import ctypes
import gc
import os
import signal
import struct
import sys
import tempfile
import types

# Nothing looks at the name of a module that nobody imports, but for a collection. It comes before all that is looked
# for.
gc.disable()
NAME = "blocked_" + "x" * (16 << 20)
sys.modules[NAME] = types.ModuleType("blocked")

import workload

PAGE = 4096
MAP_PRIVATE_FIXED = 0x12
MNT_DETACH = 2
# Of linux/fuse.h.
LOOKUP, GETATTR, OPEN, READ, INIT = 1, 3, 14, 15, 26
DIRECTORY, FILE = 0o40755, 0o100644
ENOSYS = 38
NOT_ANSWERED = (READ,)

tracer = workload.set_up_tracing(service_name="blocked")
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


def check(result: int) -> int:
    """Fail as the system call did."""
    if result in {-1, ctypes.c_void_p(-1).value}:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def attributes(mode: int) -> bytes:
    """`struct fuse_attr` of the folder or of the one file in it."""
    node = 1 if mode == DIRECTORY else 2
    return struct.pack("6Q10I", node, PAGE, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)


def answer(opcode: int, node: int) -> "bytes | None":
    """What the file system says; None where it cannot."""
    mode = DIRECTORY if node == 1 else FILE
    if opcode == INIT:
        return struct.pack("4I2H2I2HI28x", 7, 31, PAGE, 0, 8, 8, PAGE, 1, 1, 0, 0)
    if opcode == LOOKUP:
        return struct.pack("4Q2I", 2, 0, 1000, 1000, 0, 0) + attributes(FILE)
    if opcode == GETATTR:
        return struct.pack("Q2I", 1000, 0, 0) + attributes(mode)
    if opcode == OPEN:
        return struct.pack("Q2I", 1, 0, 0)
    return None


def serve(device: int) -> None:
    """Be a file system with one file that is never read."""
    while True:
        request = os.read(device, 1 << 20)
        _, opcode, unique, node = struct.unpack_from("2I2Q", request)
        if opcode in NOT_ANSWERED:
            continue
        body = answer(opcode, node)
        error = 0 if body is not None else -ENOSYS
        body = body or b""
        os.write(device, struct.pack("IiQ", 16 + len(body), error, unique) + body)


def block(address: int) -> int:
    """Put a page that never comes in the place of that of an address; return the process that would deliver it."""
    device = os.open("/dev/fuse", os.O_RDWR)
    server = os.fork()
    if not server:
        try:
            serve(device)
        finally:
            os._exit(0)
    folder = tempfile.mkdtemp()
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    check(libc.mount(b"blocked", folder.encode(), b"fuse", 0, options))
    file = os.open(os.path.join(folder, "file"), os.O_RDONLY)
    check(libc.umount2(folder.encode(), MNT_DETACH))
    os.rmdir(folder)
    # From now on the server alone keeps the file system alive.
    os.close(device)
    check(libc.mmap(address & -PAGE, PAGE, 1 | 2, MAP_PRIVATE_FIXED, file, 0))
    return server


def main() -> None:
    """Block, work, let go, work, and end without touching the page."""
    seconds = float(sys.argv[1])
    server = block(id(NAME))
    workload.wait_for_start()
    used = workload.burn(seconds)
    os.kill(server, signal.SIGKILL)
    with tracer.start_as_current_span("let go"):
        let_go = workload.burn(seconds)
    workload.say(used=used + let_go, let_go=let_go)
    sys.stdin.readline()
    os._exit(0)


if __name__ == "__main__":
    main()
