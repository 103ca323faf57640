//! Samples that wait for the symbols of a file.
//!
//! They wait here, and not as addresses until the window ends, for two reasons: their Python frames must be named at
//! once, because code objects and processes go away; and once they are named they are like all others, so that no later
//! stage has to handle missing names. Most wait for one turn of the data thread.

use std::sync::Arc;

use super::{
    Frame, NamedSample,
    native::{NativeFrames, Place, loss},
};
use crate::{
    health::{Health, Loss},
    time::BootNanos,
};

/// Most samples that wait at once, and most frames of them: some 20 MB. Samples beyond are shown without names.
const MAX_SAMPLES: usize = 16_384;
const MAX_FRAMES: usize = 262_144;

/// One frame of a stack, which may wait.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// It has its name, or never will.
    Ready(Arc<Frame>),
    /// It waits.
    Waits(Place),
}

/// A sample that waits, without its stack.
#[derive(Debug)]
struct Held {
    sample: NamedSample,
    slots: Vec<Slot>,
    flaws: Vec<Loss>,
}

/// All that wait.
#[derive(Debug)]
pub(super) struct Waiting {
    held: Vec<Held>,
    frames: usize,
    health: Health,
}

impl Waiting {
    pub(super) fn new(health: Health) -> Self {
        Self {
            held: Vec::new(),
            frames: 0,
            health,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Makes a sample wait; returns it without its names if too many wait already.
    pub(super) fn hold(
        &mut self,
        sample: NamedSample,
        slots: Vec<Slot>,
        flaws: Vec<Loss>,
    ) -> Option<NamedSample> {
        let held = Held {
            sample,
            slots,
            flaws,
        };
        let frames = self.frames + held.slots.len();
        if self.held.len() >= MAX_SAMPLES || frames > MAX_FRAMES {
            return Some(self.over(held));
        }
        self.frames = frames;
        self.held.push(held);
        None
    }

    /// Names what can be named by now; returns the samples that need not wait longer.
    pub(super) fn take(&mut self, native: &mut NativeFrames, now: BootNanos) -> Vec<NamedSample> {
        let mut over = Vec::new();
        for mut held in std::mem::take(&mut self.held) {
            if held.resolve(native, now) {
                self.frames -= held.slots.len();
                over.push(self.over(held));
            } else {
                self.held.push(held);
            }
        }
        over
    }

    /// Counts what a sample lacks and gives it its stack.
    fn over(&self, held: Held) -> NamedSample {
        let Held {
            mut sample,
            slots,
            flaws,
        } = held;
        // Only of a sample that does not wait: of the others each frame is ready, or late itself.
        let mut late = 0;
        let frames = slots.into_iter().map(|slot| match slot {
            Slot::Ready(frame) => frame,
            Slot::Waits(place) => {
                late += 1;
                place.late()
            }
        });
        sample.stack = frames.collect();
        for flaw in flaws {
            self.health.count(flaw);
        }
        self.health.add(Loss::NativeNotAwaited, late);
        sample
    }
}

impl Held {
    /// Whether every frame is ready now.
    fn resolve(&mut self, native: &mut NativeFrames, now: BootNanos) -> bool {
        let mut is_over = true;
        for slot in &mut self.slots {
            let Slot::Waits(place) = slot else {
                continue;
            };
            match native.resolve(place, now) {
                Some((frame, reason)) => {
                    *slot = Slot::Ready(frame);
                    self.flaws.extend(reason.map(loss));
                }
                None => is_over = false,
            }
        }
        is_over
    }
}
