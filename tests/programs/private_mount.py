"""A program on a file system that belongs to another user: root may not open its files (FUSE without `allow_other`), as
it is with an AppImage and with rootless containers.

`private_mount.py FOLDER PROGRAM ARGUMENT...` mounts the files of a folder for user 1000 and becomes a program of it.
"""

import ctypes
import os
import struct
import sys
import tempfile

USER = 1000
# Of linux/fuse.h.
LOOKUP, FORGET, GETATTR, OPEN, READ = 1, 2, 3, 14, 15
RELEASE, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 18, 25, 26, 36, 42
ENOENT, ENOSYS = 2, 38
ROOT, FIRST = 1, 2
HEADER = 40
PAGE = 4096
KEPT = 1000

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    """Fail as the system call did."""
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Files:
    """The files of a folder, by the numbers of their nodes."""

    def __init__(self, folder: str) -> None:
        """Read them all."""
        self.names = sorted(os.listdir(folder))
        self.contents = []
        for name in self.names:
            with open(os.path.join(folder, name), "rb") as file:
                self.contents.append(file.read())

    def attributes(self, node: int) -> bytes:
        """`struct fuse_attr`."""
        size, mode = PAGE, 0o40755
        if node != ROOT:
            size, mode = len(self.contents[node - FIRST]), 0o100755
        blocks = (size + 511) // 512
        return struct.pack("6Q10I", node, size, blocks, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)

    def answer(self, opcode: int, node: int, body: bytes) -> "bytes | int":
        """What the file system says, or the error."""
        if opcode == INIT:
            return struct.pack("4I2H2I2HI28x", 7, 31, 1 << 17, 0, 8, 8, PAGE, 1, 1, 0, 0)
        if opcode == LOOKUP:
            name = body.rstrip(b"\0").decode()
            if name not in self.names:
                return ENOENT
            found = FIRST + self.names.index(name)
            return struct.pack("4Q2I", found, 0, KEPT, KEPT, 0, 0) + self.attributes(found)
        if opcode == GETATTR:
            return struct.pack("Q2I", KEPT, 0, 0) + self.attributes(node)
        if opcode == OPEN:
            return struct.pack("Q2I", 1, 0, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("2QI", body)
            return self.contents[node - FIRST][offset : offset + size]
        return b"" if opcode in {RELEASE, FLUSH} else ENOSYS


def serve(device: int, files: Files) -> None:
    """Be the file system."""
    while True:
        request = os.read(device, 1 << 20)
        _, opcode, unique, node = struct.unpack_from("2I2Q", request)
        if opcode in {FORGET, BATCH_FORGET, INTERRUPT}:
            continue
        answer = files.answer(opcode, node, request[HEADER:])
        error, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
        os.write(device, struct.pack("IiQ", 16 + len(body), error, unique) + body)


def main() -> None:
    """Mount the files and become the program."""
    folder, program, *arguments = sys.argv[1:]
    files = Files(folder)
    device = os.open("/dev/fuse", os.O_RDWR)
    # The mount goes with the mount namespace of the program.
    place = tempfile.mkdtemp()
    os.chmod(place, 0o755)
    options = f"fd={device},rootmode=40000,user_id={USER},group_id={USER}".encode()
    check(libc.mount(b"private", place.encode(), b"fuse", 0, options))
    # Not before it is mounted: until then there is nothing to read from the device.
    if not os.fork():
        try:
            serve(device, files)
        finally:
            os._exit(0)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    path = os.path.join(place, program)
    os.execv(path, [path, *arguments])


if __name__ == "__main__":
    main()
