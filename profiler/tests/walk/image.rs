//! Memory made up of pages.

use std::collections::BTreeMap;

use profiler_common::walk::{Block, ReadUser};

/// Bytes of a page.
pub(crate) const PAGE: u64 = PAGE_BYTES as u64;
const PAGE_BYTES: usize = 4096;

/// Memory in which a page can be read only after something was put in it.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pages: BTreeMap<u64, [u8; PAGE_BYTES]>,
}

impl Image {
    /// Puts bytes at an address.
    pub(crate) fn put(&mut self, address: u64, bytes: &[u8]) {
        for (index, byte) in (0..).zip(bytes) {
            let at = address.wrapping_add(index);
            let page = self.pages.entry(at / PAGE).or_insert([0; PAGE_BYTES]);
            page[usize::try_from(at % PAGE).unwrap()] = *byte;
        }
    }

    /// Puts a word at an address.
    pub(crate) fn put_word(&mut self, address: u64, word: u64) {
        self.put(address, &word.to_le_bytes());
    }

    /// Makes the page of an address unreadable.
    pub(crate) fn forget(&mut self, address: u64) {
        self.pages.remove(&(address / PAGE));
    }

    /// Whether some bytes can be read.
    pub(crate) fn has(&self, address: u64, size: u64) -> bool {
        (address / PAGE..=(address + size - 1) / PAGE).all(|page| self.pages.contains_key(&page))
    }

    fn copy(&self, address: u64, mut bytes: &mut [u8]) -> Option<()> {
        let mut at = address;
        while !bytes.is_empty() {
            let page = &self.pages.get(&(at / PAGE))?[usize::try_from(at % PAGE).ok()?..];
            let (here, behind) = bytes.split_at_mut(bytes.len().min(page.len()));
            here.copy_from_slice(&page[..here.len()]);
            at = at.wrapping_add(here.len() as u64);
            bytes = behind;
        }
        Some(())
    }
}

impl ReadUser for Image {
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        let bytes = &mut block.bytes_mut()[..size as usize];
        let read = self.copy(address, bytes).is_some();
        if !read {
            // A block that could not be filled holds anything.
            bytes.fill(0xa5);
        }
        read
    }

    fn read_u64(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.copy(address, &mut word)?;
        Some(u64::from_le_bytes(word))
    }
}
