//! What is known of the general registers of a thread.

use iced_x86::Register;

use crate::targets::python::thread_local::value::Value;

/// General registers, numbered as the processor does.
const REGISTERS: usize = 16;
/// Those that a function may use as it likes, by the psABI: rax, rcx, rdx, rsi, rdi, r8 to r11.
const SCRATCH: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/// The registers.
pub(super) struct Registers([Value; REGISTERS]);

impl Default for Registers {
    fn default() -> Self {
        Self([Value::Unknown; REGISTERS])
    }
}

impl Registers {
    /// What a register holds; of the lower half, only a number is known.
    pub(super) fn get(&self, register: Register) -> Option<Value> {
        let (number, is_whole) = general(register)?;
        let value = *self.0.get(number)?;
        Some(if is_whole { value } else { lower_half(value) })
    }

    /// Writes a register; a write to the lower half clears the upper one.
    pub(super) fn set(&mut self, register: Register, value: Value) -> Option<()> {
        let (number, is_whole) = general(register)?;
        let slot = self.0.get_mut(number)?;
        *slot = if is_whole { value } else { lower_half(value) };
        Some(())
    }

    /// A function was called that may have used those it likes.
    pub(super) fn forget_scratch(&mut self) {
        for register in SCRATCH {
            if let Some(slot) = self.0.get_mut(register) {
                *slot = Value::Unknown;
            }
        }
    }
}

/// The number of a general register, and whether this is all of it or its lower half. Smaller parts are
/// not followed.
fn general(register: Register) -> Option<(usize, bool)> {
    let number = |first: Register| (register as usize).checked_sub(first as usize);
    let whole = number(Register::RAX).filter(|number| *number < REGISTERS);
    let half = number(Register::EAX).filter(|number| *number < REGISTERS);
    whole
        .map(|number| (number, true))
        .or_else(|| half.map(|number| (number, false)))
}

fn lower_half(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(number & 0xffff_ffff),
        _ => Value::Unknown,
    }
}
