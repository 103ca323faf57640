//! Offsets of one CPython → the [`PythonLayout`] that the walker follows, checked once.

mod structure;

use profiler_common::{
    limits::{CODE_BLOCK, CODE_PART, FRAME_BLOCK},
    python::{PythonLayout, flags},
};

pub use self::structure::LayoutError;
use self::structure::{Structure, bit};
use super::offsets::Offsets;

/// Checks every offset against its structure and the walker's blocks, and narrows it.
pub fn validate(offsets: &Offsets) -> Result<PythonLayout, LayoutError> {
    check_sizes(offsets)?;
    let mut layout = objects(offsets)?;
    states(&mut layout, offsets)?;
    frames(&mut layout, offsets)?;
    layout.code_start = code_start(&layout)?;
    Ok(layout)
}

/// The part that describes the runtime, interpreters and thread states.
fn states(layout: &mut PythonLayout, offsets: &Offsets) -> Result<(), LayoutError> {
    let runtime = Structure::new(offsets.runtime_size);
    let interpreter = Structure::new(offsets.interpreter_size);
    // Of a state the walker reads one block.
    let thread = Structure::new(offsets.thread_size.min(CODE_BLOCK as u64));
    layout.runtime_interpreters =
        runtime.word("runtime.interpreters", offsets.runtime_interpreters)?;
    layout.interpreter_next = interpreter.word("interpreter.next", offsets.interpreter_next)?;
    layout.interpreter_threads =
        interpreter.word("interpreter.threads", offsets.interpreter_threads)?;
    layout.interpreter_id = interpreter.word("interpreter.id", offsets.interpreter_id)?;
    layout.runtime_current = runtime.word("runtime.current", offsets.runtime_current)?;
    layout.thread_next = thread.short_word("thread.next", offsets.thread_next)?;
    layout.thread_id = thread.short_word("thread.thread_id", offsets.thread_id)?;
    layout.thread_frame = thread.short_word("thread.frame", offsets.thread_frame)?;
    layout.thread_interpreter =
        thread.short_word("thread.interpreter", offsets.thread_interpreter)?;
    layout.thread_status = thread.half_word("thread.status", offsets.thread_status)?;
    layout.thread_cframe = thread.short_word("thread.cframe", offsets.thread_cframe)?;
    Ok(())
}

/// The part that describes frames.
fn frames(layout: &mut PythonLayout, offsets: &Offsets) -> Result<(), LayoutError> {
    // `_PyCFrame` is smaller than a frame in every version: 24 bytes (3.11), 16 (3.12).
    layout.cframe_frame = Structure::new(32).short_word("cframe.frame", offsets.cframe_frame)?;
    // The walker reads one block of each, so a field must end within structure and block.
    let frame = Structure::new(offsets.frame_size.min(FRAME_BLOCK as u64));
    layout.frame_code = frame.short_word("frame.code", offsets.frame_code)?;
    layout.frame_previous = frame.short_word("frame.previous", offsets.frame_previous)?;
    layout.frame_instruction = if offsets.flags & flags::INSTRUCTION_IS_INDEX == 0 {
        frame.short_word("frame.instruction", offsets.frame_instruction)?
    } else {
        frame.half_word("frame.instruction", offsets.frame_instruction)?
    };
    layout.frame_owner = frame.short("frame.owner", offsets.frame_owner, 1)?;
    // It reads a word at the offset: see FRAME_BLOCK.
    Structure::new(FRAME_BLOCK as u64).short("frame.owner", offsets.frame_owner, 8)?;
    layout.frame_bytecode = frame.half_word("frame.bytecode", offsets.frame_bytecode)?;
    layout.frame_size = end_of(&[
        (layout.frame_code, 8),
        (layout.frame_previous, 8),
        (layout.frame_instruction, 8),
        (layout.frame_owner, 1),
        (layout.frame_bytecode, 4),
    ]);
    Ok(())
}

/// Where the part of a code object starts that the walker reads: it has all the fields that name it.
fn code_start(layout: &PythonLayout) -> Result<u8, LayoutError> {
    let fields = [
        (layout.code_first_line, 4),
        (layout.code_file, 8),
        (layout.code_name, 8),
        (layout.code_line_table, 8),
    ];
    let end = end_of(&fields);
    let part = end.checked_sub(CODE_PART).filter(|start| {
        let is_inside = |(offset, _): &(u16, u16)| *offset >= u16::from(*start);
        fields.iter().all(is_inside)
    });
    // All of it is words, the last of which is a pointer.
    part.ok_or(LayoutError::Spread {
        end: u64::from(end),
    })
}

/// Where the last of some fields (offset and size in bytes) ends. Structures end at the end of
/// readable memory now and then, so no more of them is read than is used. Every field ends within
/// its block, which is what a `u8` can count.
fn end_of(fields: &[(u16, u16)]) -> u8 {
    let end = fields
        .iter()
        .map(|(offset, size)| offset + size)
        .max()
        .unwrap_or(0);
    u8::try_from(end).unwrap_or(u8::MAX)
}

/// The part that describes code objects, strings and bytes. It is long because it has a line for each of their fields.
fn objects(offsets: &Offsets) -> Result<PythonLayout, LayoutError> {
    let code = Structure::new(offsets.code_size.min(CODE_BLOCK as u64));
    let string = Structure::new(offsets.string_ascii_data);
    // `ob_sval` is the last field of a bytes object and has one byte at least.
    let bytes = Structure::new(64);
    let Offsets {
        string_kind_shift,
        string_compact_bit,
        string_ascii_bit,
        owner_trampoline,
        instruction_shift,
        line_table_format,
        flags,
        ..
    } = *offsets;
    Ok(PythonLayout {
        code_first_line: code.half_word("code.first_line", offsets.code_first_line)?,
        code_file: code.short_word("code.file", offsets.code_file)?,
        code_name: code.short_word("code.name", offsets.code_name)?,
        code_line_table: code.short_word("code.line_table", offsets.code_line_table)?,
        // Where the instructions start is the end of the fixed part; it is added, never read.
        code_instructions: Structure::new(offsets.code_size).short(
            "code.instructions",
            offsets.code_instructions,
            0,
        )?,
        code_bytecodes: Structure::new(offsets.code_size)
            .short_word("code.bytecodes", offsets.code_bytecodes)?,
        string_length: string.short_word("string.length", offsets.string_length)?,
        string_state: string.half_word("string.state", offsets.string_state)?,
        string_ascii_data: bytes.short("string.ascii_data", offsets.string_ascii_data, 0)?,
        string_compact_data: Structure::new(128).short(
            "string.compact_data",
            offsets.string_compact_data,
            0,
        )?,
        bytes_size: bytes.short_word("bytes.size", offsets.bytes_size)?,
        bytes_data: bytes.short("bytes.data", offsets.bytes_data, 1)?,
        object_type: bytes.short_word("object.type", offsets.object_type)?,
        owner_trampoline,
        instruction_shift,
        string_kind_shift: bit("string.kind", string_kind_shift)?,
        string_compact_bit: bit("string.compact", string_compact_bit)?,
        string_ascii_bit: bit("string.ascii", string_ascii_bit)?,
        line_table_format,
        flags,
        ..bytemuck::Zeroable::zeroed()
    })
}

fn check_sizes(offsets: &Offsets) -> Result<(), LayoutError> {
    let plausible = [
        ("_PyRuntimeState", offsets.runtime_size, 64..=16 << 20),
        (
            "PyInterpreterState",
            offsets.interpreter_size,
            64..=16 << 20,
        ),
        ("PyThreadState", offsets.thread_size, 64..=64 << 10),
        ("_PyInterpreterFrame", offsets.frame_size, 32..=1024),
        ("PyCodeObject", offsets.code_size, 64..=1024),
        ("PyASCIIObject", offsets.string_ascii_data, 24..=64),
        (
            "PyCompactUnicodeObject",
            offsets.string_compact_data,
            32..=128,
        ),
    ];
    plausible
        .into_iter()
        .find(|(_, size, range)| !range.contains(size))
        .map_or(Ok(()), |(structure, size, _)| {
            Err(LayoutError::Size { structure, size })
        })
}

#[cfg(test)]
mod tests {
    use super::{LayoutError, validate};
    use crate::targets::python::{flavour::Flavour, tables};

    /// Every version of the table passes the checks.
    #[test]
    fn the_table_is_valid() {
        for minor in 8..=12 {
            for debug in [false, true] {
                let flavour = Flavour {
                    free_threaded: false,
                    debug,
                };
                validate(tables::offsets(minor, flavour).unwrap()).unwrap();
            }
        }
    }

    /// An offset outside its structure, beyond the walker's block or odd is refused by name.
    #[test]
    fn bad_offsets_are_refused() {
        let good = tables::offsets(12, Flavour::default()).unwrap();
        let mut outside = good.clone();
        outside.thread_next = outside.thread_size - 4;
        assert!(matches!(
            validate(&outside),
            Err(LayoutError::Misaligned { .. })
        ));
        outside.thread_next = outside.thread_size;
        assert!(matches!(
            validate(&outside),
            Err(LayoutError::Outside {
                field: "thread.next",
                ..
            })
        ));
        let mut block = good.clone();
        block.frame_size = 1000;
        block.frame_previous = 128;
        assert!(matches!(
            validate(&block),
            Err(LayoutError::Outside {
                field: "frame.previous",
                ..
            })
        ));
        let mut size = good.clone();
        size.code_size = 0;
        assert!(matches!(validate(&size), Err(LayoutError::Size { .. })));
    }
}
