//! The ring's reading end.

use aya::maps::{MapData, RingBuf};

/// Where records come out, in the order in which the kernel programs reserved them.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl Ring {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Hands each waiting record to `each`, at most `limit`; returns how many there were.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(record) = self.ring.next()
        {
            each(&record);
            count += 1;
        }
        count
    }
}
