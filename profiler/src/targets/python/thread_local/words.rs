//! Memory made up of words, for tests.

use std::collections::HashMap;

use profiler_common::walk::{Block, ReadUser};

/// Words by their address; nothing else can be read.
pub(super) struct Words(pub(super) HashMap<u64, u64>);

impl ReadUser for Words {
    fn read<const N: usize>(&self, _: u64, _: u32, _: &mut Block<N>) -> bool {
        false
    }

    fn read_u64(&self, address: u64) -> Option<u64> {
        self.0.get(&address).copied()
    }
}
