//! A stack while its frames get their names.

use std::sync::Arc;

use super::{Frame, stacks::Named, waiting::Slot};
use crate::health::Loss;

/// A stack that is being named.
#[derive(Default)]
pub(super) struct Naming {
    /// Its frames, leaf first.
    pub(super) slots: Vec<Slot>,
    /// What is wrong with them.
    pub(super) flaws: Vec<Loss>,
}

impl Naming {
    /// Adds a frame.
    pub(super) fn push(&mut self, frame: Arc<Frame>) {
        self.slots.push(Slot::Ready(frame));
    }

    /// The stack with its names, unless some of them are still to come.
    pub(super) fn ready(self) -> Result<Named, Self> {
        let ready = |slot: &Slot| match slot {
            Slot::Ready(frame) => Some(Arc::clone(frame)),
            Slot::Waits(_) => None,
        };
        match self.slots.iter().map(ready).collect::<Option<Arc<_>>>() {
            Some(frames) => Ok(Named {
                frames,
                flaws: self.flaws.into(),
            }),
            None => Err(self),
        }
    }
}
