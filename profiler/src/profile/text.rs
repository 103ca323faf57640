//! Pieces of text that tables have in common.

use crate::{
    events::ContextFailure,
    join::{Reason, Unseen},
};

/// A reason in a few words.
pub(super) fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::NotNested => "spans not nested",
        Reason::Ended => "span ended elsewhere",
        Reason::TooDeep => "too many open spans",
        Reason::EventLoop => "event loop",
        Reason::Context(ContextFailure::Unreadable) => "context not resident",
        Reason::Context(ContextFailure::Unexpected) => "context not as expected",
        Reason::Context(ContextFailure::ClassUnknown(_)) => "span of an unknown class",
        Reason::Context(ContextFailure::TooLarge) => "context too large",
        Reason::Context(ContextFailure::ThreadStateUnknown) => "thread state unknown",
        Reason::Context(ContextFailure::InterpreterUnknown) => "interpreter not known yet",
        Reason::Unseen(Unseen::Pending) => "process just found",
        Reason::Unseen(Unseen::Hidden) => "context cannot be read",
    }
}

/// A share in percent, to a tenth.
pub(super) fn share(part: u64, total: u64) -> String {
    let tenths = (u128::from(part) * 1_000 + u128::from(total / 2)) / u128::from(total.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Columns a text takes in a terminal, roughly: East Asian wide characters and emoji take two.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(character_columns).sum()
}

fn character_columns(character: char) -> usize {
    match u32::from(character) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0x1_f300..=0x1_faff
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

/// The start of a text that fits, marked if it was cut.
pub(super) fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let head = text.chars().take_while(|&character| {
        used += character_columns(character);
        used <= width
    });
    head.chain(['…']).collect()
}
