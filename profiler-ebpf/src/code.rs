//! Shipping code objects: each crosses the ring once, read while its thread is stopped under it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::{
    code::{CodeKey, KnownCode},
    counter::Counter,
    event::{CodeRecord, Header, PythonFrame, code_flags, kind},
    limits::{
        CODE_PART, MAX_CODE_FILE, MAX_CODE_NAME, MAX_LINE_TABLE, MAX_LINE_TABLE_PARTS,
        MAX_PYTHON_FRAMES,
    },
    python::{Process, PythonLayout},
    walk::{ReadUser as _, characters, checksum, in_part},
};

use crate::{
    count::bump,
    emit,
    kernel::Kernel,
    maps::{CODE_SCRATCH, CODES},
    scratch::{CodeScratch, KnownCodes, SampleScratch},
    user::CurrentProcess,
    verifier::{masked, repeat},
};

/// What shipping the code objects of one sample shares: pointers only, so that every step looks
/// the same to the verifier.
struct Shipping {
    layout: *const PythonLayout,
    process: *const Process,
    sample: *mut SampleScratch,
    code: *mut CodeScratch,
    known: *mut KnownCodes,
}

/// Ships the code objects of the sample's Python frames that have not been shipped yet; `sample.unknown_codes` is 0
/// afterwards if all were.
#[inline(always)]
pub(crate) fn ship_new<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    sample: &mut SampleScratch,
    known: &mut KnownCodes,
) {
    if sample.unknown_codes == 0 {
        return;
    }
    let Some(code) = CODE_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    sample.unknown_codes = 0;
    let count = sample.walk.count;
    let mut shipping = Shipping {
        layout,
        process,
        sample,
        code,
        known,
    };
    // SAFETY: the body gets the `Shipping` it expects.
    unsafe {
        repeat::<K, { MAX_PYTHON_FRAMES as u32 }, 1>(
            count,
            ship_frame::<K>,
            (&raw mut shipping).cast(),
        );
    }
}

/// Ships the code object of one frame if that is new; always 0, to go on, as `bpf_loop` has it.
extern "C" fn ship_frame<K: Kernel>(index: u64, shipping: *mut c_void) -> i64 {
    // SAFETY: the caller passes its `Shipping`, whose pointers are valid for the program's run and
    // point apart: the scratches are this CPU's, and the sampling interrupt does not nest.
    let (layout, process, sample, code, known) = unsafe {
        let shipping = &*shipping.cast::<Shipping>();
        (
            &*shipping.layout,
            &*shipping.process,
            &mut *shipping.sample,
            &mut *shipping.code,
            &mut *shipping.known,
        )
    };
    // SAFETY: the slot is in the scratch.
    let frame = unsafe { *sample.python_frame(index as u32) };
    let key = CodeKey {
        code: frame.code,
        process_start: process.start_time,
        tgid: sample.record.header.tgid,
        generation: process.generation,
        checksum: frame.checksum,
        reserved: 0,
    };
    if known.lacks(&frame, process, key.tgid) == 0 {
        return 0;
    }
    if CODES.get_ptr(&key).is_none() {
        if !ship::<K>(layout, process, &frame, sample, code) {
            sample.unknown_codes = 1;
            return 0;
        }
        // If the kernel refuses the update, the code object is shipped once more.
        let _ = CODES.insert(&key, &1, 0);
    }
    let version = sample.walk.code_version;
    known.insert(KnownCode::new(&frame, process, key.tgid, version));
    0
}

/// Ships one code object; false if it should be tried again. It is long because it fills in every field of the record.
#[inline(always)]
fn ship<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    frame: &PythonFrame,
    sample: &mut SampleScratch,
    scratch: &mut CodeScratch,
) -> bool {
    let code = &mut sample.walk.code;
    let part = frame.code.wrapping_add(u64::from(layout.code_start));
    if !CurrentProcess.read(part, u32::from(CODE_PART), code) || checksum(code) != frame.checksum {
        bump(Counter::CodeUnreadable);
        return false;
    }
    let name = code.u64_at(in_part(layout, layout.code_name));
    let name = read_string::<MAX_CODE_NAME>(layout, name, 0, scratch);
    let name_size = masked::<MAX_CODE_NAME>(name.size as usize);
    let file = code.u64_at(in_part(layout, layout.code_file));
    let file = read_string::<MAX_CODE_FILE>(layout, file, name_size, scratch);
    if name.kind == 0 || file.kind == 0 {
        bump(Counter::CodeUnreadable);
        return false;
    }
    let offset = name_size + masked::<MAX_CODE_FILE>(file.size as usize);
    let table_address = code.u64_at(in_part(layout, layout.code_line_table));
    let table = read_bytes(layout, table_address, offset, scratch);
    let table_size = masked::<MAX_LINE_TABLE>(table.size as usize);
    let size = (size_of::<CodeRecord>() + offset + table_size) as u32;
    scratch.record = CodeRecord {
        header: Header {
            kind: kind::CODE,
            size,
            ..sample.record.header
        },
        process_start: process.start_time,
        code: frame.code,
        checksum: frame.checksum,
        first_line: code
            .u32_at(in_part(layout, layout.code_first_line))
            .cast_signed(),
        name_size: name_size as u16,
        file_size: (offset - name_size) as u16,
        table_size: table_size as u32,
        name_kind: name.kind,
        file_kind: file.kind,
        flags: table.flags
            | (u8::from(name.cut) * code_flags::NAME_CUT)
            | (u8::from(file.cut) * code_flags::FILE_CUT),
        line_table_format: layout.line_table_format,
        table_offset: 0,
    };
    let is_shipped = put(scratch, size);
    if K::HAS_LOOP && is_shipped && table.flags & code_flags::TABLE_CUT != 0 {
        ship_rest::<K>(layout, table_address, scratch);
    }
    is_shipped
}

/// Ships the record in the scratch; false if the ring is full.
#[inline(always)]
fn put(scratch: &CodeScratch, size: u32) -> bool {
    // SAFETY: the record and its tail are adjacent in the scratch, and hold at least `size` bytes: the size is masked where
    // it is made.
    unsafe {
        emit::copy(
            (&raw const *scratch).cast(),
            size,
            emit::QUIET,
            Counter::CodeRingFull,
        )
    }
}

/// A line table whose first part was shipped.
struct Rest {
    scratch: *mut CodeScratch,
    /// Where its bytes are, and how many.
    data: u64,
    length: u64,
}

/// Ships the parts of a line table behind the first. If one cannot be read, or has no room in the ring, the table remains
/// cut: the agent counts the lines that it lacks.
#[inline(always)]
fn ship_rest<K: Kernel>(layout: &PythonLayout, address: u64, scratch: &mut CodeScratch) {
    const PARTS: u32 = MAX_LINE_TABLE_PARTS - 1;
    let Some(length) = CurrentProcess.read_u64(address + u64::from(layout.bytes_size)) else {
        return;
    };
    scratch.record.name_size = 0;
    scratch.record.file_size = 0;
    let mut rest = Rest {
        scratch,
        data: address.wrapping_add(u64::from(layout.bytes_data)),
        length,
    };
    // SAFETY: the body gets the `Rest` it expects.
    unsafe { repeat::<K, PARTS, 1>(PARTS, ship_part, (&raw mut rest).cast()) };
}

/// Ships one part: 0 to go on, 1 to stop.
extern "C" fn ship_part(index: u64, rest: *mut c_void) -> i64 {
    const PART: u64 = most::<MAX_LINE_TABLE>();
    // SAFETY: the caller passes its `Rest`, whose scratch is this CPU's, and the sampling interrupt does not nest.
    let (rest, scratch) = unsafe {
        let rest = &*rest.cast::<Rest>();
        (rest, &mut *rest.scratch)
    };
    let offset = (index + 1).wrapping_mul(PART);
    if offset >= rest.length {
        return 1;
    }
    let left = rest.length - offset;
    let size = if left < PART { left } else { PART };
    if !copy_tail::<MAX_LINE_TABLE>(scratch, 0, rest.data.wrapping_add(offset), size) {
        return 1;
    }
    let size = masked::<MAX_LINE_TABLE>(size as usize);
    let all = (size_of::<CodeRecord>() + size) as u32;
    let is_cut = left > PART;
    let is_last = !is_cut || index + 2 == u64::from(MAX_LINE_TABLE_PARTS);
    scratch.record.header.size = all;
    scratch.record.table_size = size as u32;
    scratch.record.table_offset = offset as u32;
    scratch.record.flags =
        (u8::from(is_cut) * code_flags::TABLE_CUT) | (u8::from(is_last) * code_flags::LAST_PART);
    i64::from(!put(scratch, all))
}

/// A string copied to the tail: its size in bytes, bytes a character (0: unreadable), and whether
/// its end is missing.
struct Text {
    size: u32,
    kind: u8,
    cut: bool,
}

const UNREADABLE: Text = Text {
    size: 0,
    kind: 0,
    cut: false,
};

/// Copies a string's characters, fewer than `LIMIT` bytes of them, to `tail[offset..]`.
#[inline(always)]
fn read_string<const LIMIT: usize>(
    layout: &PythonLayout,
    address: u64,
    offset: usize,
    scratch: &mut CodeScratch,
) -> Text {
    let Some(characters) = characters(&CurrentProcess, layout, address, &mut scratch.object) else {
        return UNREADABLE;
    };
    let (size, cut) = characters.size_within(most::<LIMIT>());
    if !copy_tail::<LIMIT>(scratch, offset, characters.address, size) {
        return UNREADABLE;
    }
    Text {
        size: size as u32,
        kind: characters.kind as u8,
        cut,
    }
}

/// A `bytes` object copied to the tail: its size, and flags of [`code_flags`].
struct Table {
    size: u32,
    flags: u8,
}

/// Copies a `bytes` object to `tail[offset..]`.
#[inline(always)]
fn read_bytes(
    layout: &PythonLayout,
    address: u64,
    offset: usize,
    scratch: &mut CodeScratch,
) -> Table {
    let unreadable = Table {
        size: 0,
        flags: code_flags::TABLE_UNREADABLE,
    };
    let Some(length) = CurrentProcess.read_u64(address + u64::from(layout.bytes_size)) else {
        return unreadable;
    };
    let cut = length > most::<MAX_LINE_TABLE>();
    let size = if cut {
        most::<MAX_LINE_TABLE>()
    } else {
        length
    };
    let data = address + u64::from(layout.bytes_data);
    if !copy_tail::<MAX_LINE_TABLE>(scratch, offset, data, size) {
        return unreadable;
    }
    Table {
        size: size as u32,
        flags: u8::from(cut) * code_flags::TABLE_CUT,
    }
}

/// The most bytes copied under a limit: whole characters, and below the limit itself, so that a
/// mask of the limit less one bounds every size for the verifier.
const fn most<const LIMIT: usize>() -> u64 {
    LIMIT as u64 - 4
}

/// Copies `size` (below `LIMIT`) bytes of the process to `tail[offset..]`.
#[inline(always)]
fn copy_tail<const LIMIT: usize>(
    scratch: &mut CodeScratch,
    offset: usize,
    address: u64,
    size: u64,
) -> bool {
    let offset = masked::<{ 2 * MAX_CODE_FILE }>(offset);
    let size = masked::<LIMIT>(size as usize) as u32;
    // SAFETY: the helper checks the source; offset and size, at their largest, are inside the tail
    // (see `CodeScratch::tail`).
    unsafe {
        let into = scratch.tail.as_mut_ptr().add(offset);
        bpf_probe_read_user(into.cast(), size, address as *const _) == 0
    }
}

const _: () = assert!(MAX_CODE_NAME + MAX_CODE_FILE <= 2 * MAX_CODE_FILE);
