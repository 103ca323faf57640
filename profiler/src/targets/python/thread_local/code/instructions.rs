//! What an instruction says of itself.

use iced_x86::{Code, Instruction, MemorySize, OpKind};

/// Whether the operand in memory is a word of 8 bytes.
pub(super) fn is_wide_memory(instruction: &Instruction) -> bool {
    matches!(
        instruction.memory_size(),
        MemorySize::UInt64 | MemorySize::Int64
    )
}

/// Whether a `push` or `pop` is of a whole register or of a number, in 8 bytes.
pub(super) fn is_wide(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Push_r64 | Code::Pop_r64 | Code::Pushq_imm8 | Code::Pushq_imm32
    )
}

/// Where a jump or call leads that says so itself.
pub(super) fn branch(instruction: &Instruction) -> Option<u64> {
    (instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch_target())
}
