"""The built module keeps the contract of ABI.md with the agent."""

import io
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from spanprof import _hook

capstone = pytest.importorskip("capstone")
elffile = pytest.importorskip("elftools.elf.elffile")

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64",
    reason="the test reads the sites of x86-64",
)

NOP = bytes.fromhex("90")
# Nops that kernels turn into calls: from 6.18, and from July 2026. A forked child may crash there.
CALLED = (bytes.fromhex("0f1f440000"), bytes.fromhex("662e0f1f840000000000"))
ARGUMENTS = {
    "span_start": "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9 8@%r10 8@%r12 8@%r13",
    "span_end": "8@%rdi 8@%rsi 8@%rdx",
}


@pytest.fixture(scope="module")
def elf():
    return elffile.ELFFile(io.BytesIO(Path(_hook.__file__).read_bytes()))


@pytest.fixture(scope="module")
def notes(elf):
    notes = []
    for note in elf.get_section_by_name(".note.stapsdt").iter_notes():
        assert note["n_name"] == "stapsdt"
        # elftools gives type 3 the name that it has in GNU's own notes.
        assert note["n_type"] in (3, "NT_STAPSDT", "NT_GNU_BUILD_ID")
        description = note["n_descdata"]
        address, base, semaphore = (
            int.from_bytes(description[at : at + 8], "little") for at in (0, 8, 16)
        )
        provider, name, arguments, *_ = description[24:].split(b"\0")
        notes.append(
            (provider.decode(), name.decode(), arguments.decode(), address, base, semaphore)
        )
    return notes


def read(elf, address, size):
    (offset,) = elf.address_offsets(address, size)
    elf.stream.seek(offset)
    return elf.stream.read(size)


def test_one_site_per_probe(notes):
    assert sorted(note[1] for note in notes) == ["span_end", "span_start"]


def test_notes(elf, notes):
    for provider, name, arguments, _, base, semaphore in notes:
        assert provider == "spanprof"
        assert arguments == ARGUMENTS[name]
        assert base == elf.get_section_by_name(".stapsdt.base")["sh_addr"]
        assert semaphore == 0


def test_no_kernel_turns_the_sites_into_calls(elf, notes):
    for _, name, _, address, _, _ in notes:
        assert read(elf, address, 1) == NOP, name
        # If one of those follows, libbpf puts the probe on it.
        assert not read(elf, address + 1, 10).startswith(CALLED), name


def function_around(elf, address):
    # The module is stripped, but the unwind table has the bounds of functions.
    for entry in elf.get_dwarf_info().EH_CFI_entries():
        header = entry.header
        start = header.get("initial_location")
        if start is not None and start <= address < start + header["address_range"]:
            return start, header["address_range"]
    raise AssertionError(f"no function around {address:#x}")


def test_sites_are_separate_instructions(elf, notes):
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for _, _, _, site, _, _ in notes:
        start, size = function_around(elf, site)
        instructions = list(disassembler.disasm(read(elf, start, size), start))
        assert sum(instruction.size for instruction in instructions) == size
        assert site in [instruction.address for instruction in instructions]


def test_marks_its_version(elf):
    (symbol,) = elf.get_section_by_name(".dynsym").get_symbol_by_name("spanprof_abi_v1")
    assert symbol["st_info"]["type"] == "STT_OBJECT"
    assert symbol["st_info"]["bind"] == "STB_GLOBAL"
    assert symbol["st_size"] == 4
    assert read(elf, symbol["st_value"], 4) == (1).to_bytes(4, "little")


def test_exports_what_the_process_tells(elf):
    symbols = elf.get_section_by_name(".dynsym")
    for name, size in (("spanprof_process_block", 8), ("spanprof_process_attributes", 2048)):
        (symbol,) = symbols.get_symbol_by_name(name)
        assert symbol["st_info"]["type"] == "STT_OBJECT"
        assert symbol["st_size"] == size


def test_needs_libc_only(elf):
    needed = {
        tag.needed
        for tag in elf.get_section_by_name(".dynamic").iter_tags()
        if tag.entry.d_tag == "DT_NEEDED"
    }
    assert {name.split(".")[0] for name in needed} <= {"libc", "libgcc_s", "ld-linux-x86-64"}


REPLACE_THE_NOP = """
import ctypes, sys
import spanprof
from spanprof import _hook
from opentelemetry.sdk.trace import TracerProvider

provider = TracerProvider()
provider.add_span_processor(spanprof.SpanProcessor())
tracer = provider.get_tracer("x")

def failures():
    # The hook reads the name only if the probe fires, and this name is no text.
    before = spanprof.stats()["failures"]
    tracer.start_span(7).end()
    return spanprof.stats()["failures"] - before

print(failures())
with open("/proc/self/maps") as maps:
    base = min(int(line.split("-")[0], 16) for line in maps if "_hook" in line)
site = base + int(sys.argv[1])
page = site & -4096
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mprotect(ctypes.c_void_p(page), 4096, 7) == 0
# An instruction of one byte that changes nothing either: `cld`.
ctypes.memmove(site, bytes.fromhex("fc"), 1)
print(failures())
ctypes.memmove(site, bytes.fromhex("90"), 1)
print(failures())
"""


def test_a_probe_is_noticed(notes):
    (site,) = (note[3] for note in notes if note[1] == "span_start")
    result = subprocess.run(
        [sys.executable, "-c", REPLACE_THE_NOP, str(site)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["0", "1", "0"]
