//! Budgets. Each is a bound the verifier or the memory of the agent relies on.

/// Code objects that a CPU remembers to have been shipped, a power of two: more than one deep stack contains.
pub const MAX_KNOWN_CODES: usize = 512;
/// Python frames in one sample: the [`INNERMOST_FRAMES`], and of a deeper stack the [`OUTERMOST_FRAMES`].
pub const MAX_PYTHON_FRAMES: usize = INNERMOST_FRAMES + OUTERMOST_FRAMES;
/// Innermost Python frames of a stack that is too deep for a sample: what the thread is doing.
pub const INNERMOST_FRAMES: usize = 192;
/// Outermost Python frames of such a stack: for whom. A power of two.
pub const OUTERMOST_FRAMES: usize = 64;
/// Python frames that may be walked, those left out included: more would keep an interrupt busy for too long. They fit
/// into 16 bits.
pub const MAX_PYTHON_DEPTH: usize = 16 * 1024;
/// Native (user) frames in one sample.
pub const MAX_NATIVE_FRAMES: usize = 64;
/// Kernel frames in one sample: what `bpf_get_stack` may fill.
pub const MAX_KERNEL_FRAMES: usize = 64;
/// Spans that one thread may have open at once; deeper ones are no longer told apart.
pub const MAX_SPAN_DEPTH: usize = 64;
/// Bytes of a span's name that cross the ring.
pub const MAX_SPAN_NAME: usize = 128;
/// Bytes of a service's name and of its namespace in the hook's process block (`python/ABI.md`).
pub const MAX_SERVICE_NAME: usize = 256;
/// Bytes of a code object's qualified name, as stored (1, 2 or 4 bytes a character).
pub const MAX_CODE_NAME: usize = 512;
/// Bytes of a code object's file name, as stored.
pub const MAX_CODE_FILE: usize = 1024;
/// Bytes of a code object's line table in one record. A longer one comes in parts.
pub const MAX_LINE_TABLE: usize = 16 * 1024;
/// Most parts of a line table, the first included: a longer one is cut, and lines past the cut are unknown.
pub const MAX_LINE_TABLE_PARTS: u32 = 65;
/// Most thread states, interpreters and frames that a search for the state of a detached thread reads. One interpreter
/// may have as many states as many interpreters together.
pub const MAX_SEARCH: usize = 2048;
/// Interpreters of one process, besides its main one, in which spans are read.
pub const MAX_SUBINTERPRETERS: usize = 256;
/// Frame layouts the agent may load: one per distinct interpreter layout on the host.
pub const MAX_LAYOUTS: u32 = 64;

/// Bytes of frame read at once; every frame offset must leave room for a `u64` below it.
pub const FRAME_BLOCK: usize = 128;
/// Bytes read with a frame if its callers lie below it.
pub const FRAME_WINDOW: usize = 4096;
/// Bytes of the native stack that are read at once, a power of two: frames that follow a frame pointer to
/// their callers.
pub const STACK_WINDOW: usize = 512;
/// Bytes of a code object that identify it. They end with its line table, and nothing in them changes while it exists
/// (`Include/cpython/code.h` of 3.8 to 3.15); from 3.12 on its number is among them (`co_version`), which no other code
/// object of the interpreter has had.
pub const CODE_PART: u8 = 88;
/// Bytes of code object read at once.
pub const CODE_BLOCK: usize = 256;
/// Bytes of a thread state that each sample reads on 3.10 and 3.11: what changes while a thread runs lies in them. Each
/// cache line that is read costs, and the thread itself uses these.
pub const STATE_PART: usize = 64;

const _: () = assert!(FRAME_BLOCK <= 255 && CODE_BLOCK <= 256 && CODE_PART as usize <= CODE_BLOCK);
const _: () = assert!(MAX_PYTHON_FRAMES.is_power_of_two() && OUTERMOST_FRAMES.is_power_of_two());
const _: () = assert!(MAX_PYTHON_DEPTH <= u16::MAX as usize);
const _: () = assert!(CODE_PART.is_multiple_of(8));
const _: () = assert!(FRAME_WINDOW.is_power_of_two() && CODE_BLOCK.is_power_of_two());
const _: () = assert!(STACK_WINDOW.is_power_of_two());
const _: () = assert!(FRAME_BLOCK <= FRAME_WINDOW && FRAME_BLOCK.is_multiple_of(8));
const _: () = assert!(MAX_LINE_TABLE.is_power_of_two());
