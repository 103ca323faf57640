//! Pieces of text that tables have in common.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{
    events::ContextFailure,
    join::{Reason, Unseen},
};

/// A reason in a few words.
pub(super) fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::NotNested => "spans not nested",
        Reason::Ended => "span has ended",
        Reason::EndedInParent => "span has ended in the parent process",
        Reason::EndedOnOtherThread => "span has ended on another thread",
        Reason::Forgotten => "open span forgotten",
        Reason::TooDeep => "too many open spans",
        Reason::EventLoop => "event loop",
        Reason::Context(ContextFailure::Unreadable) => "context not resident",
        Reason::Context(ContextFailure::Unexpected) => "context not as expected",
        Reason::Context(ContextFailure::ClassUnknown(_)) => "span of a new class",
        Reason::Context(ContextFailure::TooLarge) => "context too large",
        Reason::Context(ContextFailure::ThreadStateUnknown) => "thread state unknown",
        Reason::Context(ContextFailure::InterpreterUnknown) => "interpreter not known yet",
        Reason::Unseen(Unseen::Pending) => "process just found",
        Reason::Unseen(Unseen::Hidden) => "context cannot be read",
        Reason::Unseen(Unseen::Class) => "span of a class that cannot be read",
    }
}

/// A share in percent, to a tenth.
pub(super) fn share(part: u64, total: u64) -> String {
    let tenths = (u128::from(part) * 1_000 + u128::from(total / 2)) / u128::from(total.max(1));
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Columns a text takes in a terminal: East Asian wide characters and emoji take two.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// The text, with spaces behind it up to a width.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}

/// The start of a text that fits, marked if it was cut.
pub(super) fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let head = text.chars().take_while(|&character| {
        used += character.width().unwrap_or(0);
        used <= width
    });
    head.chain(['…']).collect()
}
