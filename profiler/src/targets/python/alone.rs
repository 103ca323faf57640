//! Is CPython alone in its file, or is it linked into another program? Answered from the code alone: the
//! `main` of CPython (`Programs/python.c`) does nothing but call `Py_BytesMain`, since 3.8.

use crate::targets::elf::Elf;

/// Bytes of the start of a program in which `main` is named: glibc's `_start` has 38, `Scrt1.o` the same.
const START_SIZE: u64 = 64;
/// Bytes of a `main` that are looked at: without optimisation, CPython's has 38.
const MAIN_SIZE: u64 = 48;
/// The instructions that a compiler puts before a call which hands on a function's own arguments: a landing
/// pad, a frame, and the arguments' way through it. The second number is how many bytes of operand follow.
const BEFORE_CALL: [(&[u8], usize); 11] = [
    (b"\xf3\x0f\x1e\xfa", 0), // endbr64
    (b"\x50", 0),             // push %rax
    (b"\x55", 0),             // push %rbp
    (b"\x48\x89\xe5", 0),     // mov %rsp, %rbp
    (b"\x48\x83\xec", 1),     // sub $…, %rsp
    (b"\x89\x7d", 1),         // mov %edi, …(%rbp)
    (b"\x48\x89\x75", 1),     // mov %rsi, …(%rbp)
    (b"\x48\x8b\x55", 1),     // mov …(%rbp), %rdx
    (b"\x8b\x45", 1),         // mov …(%rbp), %eax
    (b"\x48\x89\xd6", 0),     // mov %rdx, %rsi
    (b"\x89\xc7", 0),         // mov %eax, %edi
];

/// Whether a file holds CPython and nothing else: a library that has what a `main` calls, or a
/// program whose `main` calls just that. `false` if it cannot be told.
pub(super) fn is_alone(elf: &Elf<'_>) -> bool {
    let Ok([Some(bytes_main)]) = elf.symbols(["Py_BytesMain"]) else {
        return false;
    };
    let Some(entry) = elf.entry() else {
        return true;
    };
    let main = elf
        .bytes(entry, START_SIZE)
        .and_then(|code| main_of_start(entry, code));
    main.and_then(|main| Some((main, elf.bytes(main, MAIN_SIZE)?)))
        .is_some_and(|(main, code)| hands_over(main, code, bytes_main.address))
}

/// The `main` that the code at the start of a program hands to the C library as its first argument:
/// `mov $main, %rdi` or `lea main(%rip), %rdi`.
fn main_of_start(start: u64, code: &[u8]) -> Option<u64> {
    windows(code).find_map(|(at, window)| match window {
        [0x48, 0xc7, 0xc7, operand @ ..] => Some(u64::from(u32::from_le_bytes(*operand))),
        [0x48, 0x8d, 0x3d, operand @ ..] => Some(relative(start, at + 7, *operand)),
        _ => None,
    })
}

/// Whether a function does nothing before it calls, or jumps to, an address with its own arguments.
fn hands_over(start: u64, code: &[u8], target: u64) -> bool {
    let mut rest = code;
    while let Some(after) = skip_before_call(rest) {
        rest = after;
    }
    let at = u64::try_from(code.len() - rest.len()).unwrap_or(0);
    match rest {
        [0xe8 | 0xe9, a, b, c, d, ..] => relative(start, at + 5, [*a, *b, *c, *d]) == target,
        // A jump to what is next to it.
        [0xeb, near, ..] => {
            let distance = i64::from(near.cast_signed());
            start.wrapping_add(at + 2).wrapping_add_signed(distance) == target
        }
        _ => false,
    }
}

fn skip_before_call(code: &[u8]) -> Option<&[u8]> {
    BEFORE_CALL.iter().find_map(|&(opcode, operand)| {
        let rest = code.strip_prefix(opcode)?;
        rest.get(operand..)
    })
}

/// Every seven bytes in a row, and where they begin.
fn windows(code: &[u8]) -> impl Iterator<Item = (u64, &[u8; 7])> {
    let windows = code.windows(7).filter_map(|window| window.try_into().ok());
    (0..).zip(windows)
}

/// The address that an instruction means which ends so many bytes behind the start.
fn relative(start: u64, end: u64, operand: [u8; 4]) -> u64 {
    let distance = i64::from(i32::from_le_bytes(operand));
    start.wrapping_add(end).wrapping_add_signed(distance)
}

#[cfg(test)]
mod tests {
    use super::{hands_over, main_of_start};

    /// `_start` as the linker has it in programs that are loaded at a fixed address, and in others.
    #[test]
    fn main_is_found() {
        let fixed = b"\xf3\x0f\x1e\xfa\x31\xed\x49\x89\xd1\x5e\x48\x89\xe2\x48\x83\xe4\xf0\x50\x54\x45\x31\xc0\x31\xc9\x48\xc7\xc7\xe0\x0f\x42\x00\xff\x15\x3b\x2c\x10\x00\xf4";
        assert_eq!(main_of_start(0x42_1000, fixed), Some(0x42_0fe0));
        let anywhere = b"\x31\xed\x49\x89\xd1\x5e\x48\x89\xe2\x48\x83\xe4\xf0\x50\x54\x45\x31\xc0\x31\xc9\x48\x8d\x3d\xe5\xff\xff\xff\xff\x15\x3b\x2c\x10\x00\xf4";
        assert_eq!(main_of_start(0x1050, anywhere), Some(0x1050));
        assert_eq!(main_of_start(0, &[0x90; 64]), None);
    }

    /// A `main` that does nothing but hand over is known: by a call, by a jump, and compiled without
    /// optimisation. One that does something else before is not CPython's.
    #[test]
    fn a_main_hands_over() {
        let call = b"\x48\x83\xec\x08\xe8\x07\x00\x00\x00\x48\x83\xc4\x08\xc3";
        assert!(hands_over(0x1000, call, 0x1010));
        assert!(!hands_over(0x1000, call, 0x1011));
        let jump = b"\xf3\x0f\x1e\xfa\xe9\xf7\xff\xff\xff";
        assert!(hands_over(0x1000, jump, 0x1000));
        assert!(hands_over(0x1000, b"\xf3\x0f\x1e\xfa\xeb\x0a", 0x1010));
        let plain = b"\x55\x48\x89\xe5\x48\x83\xec\x10\x89\x7d\xfc\x48\x89\x75\xf0\x48\x8b\x55\xf0\x8b\x45\xfc\x48\x89\xd6\x89\xc7\xe8\x00\x00\x00\x00\xc9\xc3";
        assert!(hands_over(0x1000, plain, 0x1020));
        // `PyImport_AppendInittab` first, as programs do that embed Python.
        let another = b"\x48\x83\xec\x08\xe8\x09\x00\x00\x00\xe8\x02\x00\x00\x00\xc3";
        assert!(!hands_over(0x1000, another, 0x1010));
        // `if (count < 2) return 2;`
        let condition = b"\x83\xff\x01\x7e\x05\xe9\x06\x00\x00\x00\xc3";
        assert!(!hands_over(0x1000, condition, 0x1010));
        assert!(!hands_over(0x1000, b"\x48\x83\xec", 0x1000));
    }
}
