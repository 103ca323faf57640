//! What a function of a file returns, by its instructions: followed one by one, with what is known of
//! registers and stack. Only the value in `%rax` counts; what is not understood ends it.
//!
//! Which bytes a compiler and a linker make of an access to a thread-local is in the psABI's "Thread-Local
//! Storage Support". None of these sequences is looked for as such: their effects add up to the address.
//! That a word is one which the loader fills for a thread-local is told by its relocation.

mod instructions;
mod registers;
mod stack;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::elf::{R_X86_64_DTPMOD64, R_X86_64_TLSDESC, R_X86_64_TPOFF64};

use self::{
    instructions::{branch, is_wide, is_wide_memory},
    registers::Registers,
    stack::Stack,
};
use super::{ThreadLocal, block, value::Value};
use crate::targets::elf::Elf;

/// Instructions followed: without any optimisation, `PyThreadState_Get` takes some 40.
const MAX_STEPS: usize = 128;
/// Bytes of the longest instruction.
const LONGEST: u64 = 15;

/// The thread-local whose value a function returns, if that is not null; `None` if it is not
/// understood.
pub(super) fn returned(elf: &Elf<'_>, function: u64) -> Option<ThreadLocal> {
    let mut machine = Machine::new(elf, function);
    for _ in 0..MAX_STEPS {
        if let Step::Returned(value) = machine.step()? {
            let Value::Content(thread_local) = value else {
                return None;
            };
            return match thread_local {
                ThreadLocal::Offset(offset) => block::is_in_program(elf, offset),
                _ => true,
            }
            .then_some(thread_local);
        }
    }
    None
}

/// What an instruction leads to.
enum Step {
    /// The next one.
    Next,
    /// The caller of the function, with its value.
    Returned(Value),
}

/// A thread in the function.
struct Machine<'elf, 'data> {
    elf: &'elf Elf<'data>,
    registers: Registers,
    stack: Stack,
    /// Whether the last comparison was of a thread-local's value with null, which it is not.
    is_not_zero: bool,
    /// Address of the next instruction.
    next: u64,
}

impl<'elf, 'data> Machine<'elf, 'data> {
    fn new(elf: &'elf Elf<'data>, function: u64) -> Self {
        let mut machine = Self {
            elf,
            registers: Registers::default(),
            stack: Stack::default(),
            is_not_zero: false,
            next: function,
        };
        machine.registers.set(Register::RSP, Value::Stack(0));
        machine
    }

    /// Follows one instruction; `None` if it is not understood. It is long because it has an arm for each kind of them.
    fn step(&mut self) -> Option<Step> {
        let code = self.elf.code(self.next, LONGEST)?;
        let mut decoder = Decoder::with_ip(64, code, self.next, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        self.next = instruction.next_ip();
        match instruction.mnemonic() {
            Mnemonic::Endbr64 | Mnemonic::Nop => {}
            Mnemonic::Mov => {
                let value = self.operand(&instruction, 1)?;
                self.write(&instruction, value)?;
            }
            Mnemonic::Lea => {
                let value = self.effective(&instruction);
                self.write(&instruction, value)?;
            }
            Mnemonic::Add | Mnemonic::Sub | Mnemonic::Xor => self.compute(&instruction)?,
            Mnemonic::Test | Mnemonic::Cmp => self.compare(&instruction)?,
            Mnemonic::Push => {
                let value = self.operand(&instruction, 0)?;
                is_wide(&instruction).then(|| self.push(value))??;
            }
            Mnemonic::Pop if is_wide(&instruction) => {
                let value = self.pop()?;
                self.registers.set(instruction.op0_register(), value)?;
            }
            Mnemonic::Leave if instruction.code() == Code::Leaveq => {
                let frame = self.registers.get(Register::RBP)?;
                self.registers.set(Register::RSP, frame)?;
                let value = self.pop()?;
                self.registers.set(Register::RBP, value)?;
            }
            // The value is not null: a branch on null is not taken.
            Mnemonic::Je if self.is_not_zero => {}
            Mnemonic::Jne if self.is_not_zero => self.next = branch(&instruction)?,
            Mnemonic::Jmp => self.next = branch(&instruction)?,
            Mnemonic::Call => self.call(&instruction)?,
            Mnemonic::Ret if instruction.code() == Code::Retnq => return self.leave(),
            _ => return None,
        }
        Some(Step::Next)
    }

    /// Adds, subtracts, or clears.
    fn compute(&mut self, instruction: &Instruction) -> Option<()> {
        let left = self.operand(instruction, 0)?;
        let right = self.operand(instruction, 1)?;
        let is_same = instruction.op1_kind() == OpKind::Register
            && instruction.op0_register() == instruction.op1_register();
        let value = match (instruction.mnemonic(), right) {
            (Mnemonic::Add, _) => left.plus(right),
            (Mnemonic::Sub, Value::Number(number)) => {
                left.plus(Value::Number(number.wrapping_neg()))
            }
            (Mnemonic::Xor, _) if is_same => Value::Number(0),
            _ => Value::Unknown,
        };
        self.is_not_zero = false;
        self.write(instruction, value)
    }

    /// Compares: only whether a thread-local's value is null is understood.
    fn compare(&mut self, instruction: &Instruction) -> Option<()> {
        let left = self.operand(instruction, 0)?;
        let right = self.operand(instruction, 1)?;
        let zero = match instruction.mnemonic() {
            Mnemonic::Test => left,
            _ => Value::Number(0),
        };
        self.is_not_zero = matches!(left, Value::Content(_)) && right == zero;
        Some(())
    }

    /// Calls what gives an address of a thread-local, or follows a function of the file.
    fn call(&mut self, instruction: &Instruction) -> Option<()> {
        let near = matches!(instruction.code(), Code::Call_rel32_64 | Code::Call_rm64);
        if !near {
            return None;
        }
        // The resolver of a descriptor takes its address and gives an offset, both in `%rax`, and
        // keeps all else.
        let rax = self.registers.get(Register::RAX)?;
        if instruction.op0_kind() == OpKind::Memory
            && self.effective(instruction) == rax
            && let Some(pair) = rax.filled(self.elf, R_X86_64_TLSDESC)
        {
            self.is_not_zero = false;
            let more = 0;
            let descriptor = ThreadLocal::Descriptor { pair, more };
            return self
                .registers
                .set(Register::RAX, Value::Distance(descriptor));
        }
        // A pair of module id and offset is made for the call of `__tls_get_addr` alone.
        let rdi = self.registers.get(Register::RDI)?;
        if let Some(pair) = rdi.filled(self.elf, R_X86_64_DTPMOD64) {
            self.registers.forget_scratch();
            self.is_not_zero = false;
            let module = ThreadLocal::Module { pair, more: 0 };
            return self.registers.set(Register::RAX, Value::Location(module));
        }
        let target = branch(instruction)?;
        self.push(Value::Address(self.next))?;
        self.next = target;
        Some(())
    }

    /// Returns: to the function that was left by a call, or to the caller of all.
    fn leave(&mut self) -> Option<Step> {
        if self.registers.get(Register::RSP)? == Value::Stack(0) {
            return Some(Step::Returned(self.registers.get(Register::RAX)?));
        }
        let Value::Address(address) = self.pop()? else {
            return None;
        };
        self.next = address;
        Some(Step::Next)
    }

    /// What an operand holds.
    fn operand(&self, instruction: &Instruction, operand: u32) -> Option<Value> {
        match instruction.op_kind(operand) {
            OpKind::Register => self.registers.get(instruction.op_register(operand)),
            OpKind::Memory if is_wide_memory(instruction) => {
                Some(self.load(self.effective(instruction)))
            }
            OpKind::Memory => Some(Value::Unknown),
            _ => {
                let number = instruction.try_immediate(operand).ok()?;
                Some(Value::Number(number.cast_signed()))
            }
        }
    }

    /// Writes to the first operand.
    fn write(&mut self, instruction: &Instruction, value: Value) -> Option<()> {
        match instruction.op0_kind() {
            OpKind::Register => self.registers.set(instruction.op0_register(), value),
            OpKind::Memory => {
                let is_wide = is_wide_memory(instruction);
                let value = if is_wide { value } else { Value::Unknown };
                self.store(self.effective(instruction), value)
            }
            _ => None,
        }
    }

    /// The address of the operand in memory, which may be in the thread's segment.
    fn effective(&self, instruction: &Instruction) -> Value {
        let register = |register| match register {
            Register::None => Some(Value::Number(0)),
            other => self.registers.get(other),
        };
        let displacement = Value::Number(instruction.memory_displacement64().cast_signed());
        let address = match instruction.memory_base() {
            // The displacement is the address already.
            Register::RIP => Some(Value::Address(instruction.memory_displacement64())),
            base => register(base).map(|base| base.plus(displacement)),
        };
        let index = match (instruction.memory_index(), instruction.memory_index_scale()) {
            (Register::None, _) => Some(Value::Number(0)),
            (index, 1) => register(index),
            _ => None,
        };
        let (Some(address), Some(index)) = (address, index) else {
            return Value::Unknown;
        };
        let address = address.plus(index);
        // `lea` knows no segments.
        match (instruction.mnemonic(), instruction.segment_prefix()) {
            (_, Register::None) | (Mnemonic::Lea, _) => address,
            (_, Register::FS) => match address {
                Value::Number(offset) => Value::Location(ThreadLocal::Offset(offset)),
                distance => distance.plus(Value::THREAD_POINTER),
            },
            _ => Value::Unknown,
        }
    }

    /// The word at an address.
    fn load(&self, address: Value) -> Value {
        match address {
            // It is there for that, by the psABI.
            Value::THREAD_POINTER => Value::THREAD_POINTER,
            Value::Location(thread_local) => Value::Content(thread_local),
            Value::Address(_) => match address.filled(self.elf, R_X86_64_TPOFF64) {
                Some(at) => Value::Distance(ThreadLocal::OffsetAt(at)),
                None => Value::Unknown,
            },
            Value::Stack(offset) => self.stack.word(offset),
            _ => Value::Unknown,
        }
    }

    /// Writes a word to the stack. To write elsewhere is more than these functions do.
    fn store(&mut self, address: Value, value: Value) -> Option<()> {
        let Value::Stack(offset @ ..0) = address else {
            return None;
        };
        self.stack.set(offset, value);
        Some(())
    }

    fn push(&mut self, value: Value) -> Option<()> {
        let top = self.registers.get(Register::RSP)?.plus(Value::Number(-8));
        self.registers.set(Register::RSP, top)?;
        self.store(top, value)
    }

    fn pop(&mut self) -> Option<Value> {
        let top = self.registers.get(Register::RSP)?;
        let value = self.load(top);
        self.registers
            .set(Register::RSP, top.plus(Value::Number(8)))?;
        Some(value)
    }
}
