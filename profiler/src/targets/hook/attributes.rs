//! The process attributes that a hook has left in its process, as `python/ABI.md` lays them out.

use std::collections::BTreeMap;

use crate::targets::look::memory::Memory;

/// Bytes of entries that are read at most: what the ABI allows.
const MAX_SIZE: usize = 2_044;

/// What they say; `None` if they cannot be read.
pub(super) fn read(memory: &Memory, address: u64) -> Option<BTreeMap<String, String>> {
    let mut size = [0; 4];
    if !memory.fill(address, &mut size) {
        return None;
    }
    let size = usize::try_from(u32::from_le_bytes(size)).ok()?;
    let mut entries = [0; MAX_SIZE];
    let entries = entries.get_mut(..size)?;
    memory
        .fill(address.wrapping_add(4), entries)
        .then(|| parse(entries))
}

/// The entries up to the first that is cut or not UTF-8.
fn parse(mut entries: &[u8]) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    while let Some((key, value, rest)) = split_entry(entries) {
        if !value.is_empty() {
            attributes.insert(key.to_owned(), value.to_owned());
        }
        entries = rest;
    }
    attributes
}

/// The first entry, key and value, and the entries behind it.
fn split_entry(entries: &[u8]) -> Option<(&str, &str, &[u8])> {
    let (&[key_low, key_high, value_low, value_high], rest) = entries.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(u16::from_le_bytes([key_low, key_high]).into())?;
    let (value, rest) =
        rest.split_at_checked(u16::from_le_bytes([value_low, value_high]).into())?;
    let [key, value] = [key, value].map(std::str::from_utf8);
    Some((key.ok()?, value.ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::parse;

    fn entry(key: &str, value: &str) -> Vec<u8> {
        let size = |text: &str| u16::try_from(text.len()).unwrap().to_le_bytes();
        [&size(key), &size(value), key.as_bytes(), value.as_bytes()].concat()
    }

    /// Each entry is read, whatever its key is; an empty one says nothing; a cut one ends them.
    #[test]
    fn entries() {
        let bytes = [
            entry("service.version", "1.2"),
            entry("empty", ""),
            entry("later.attribute", "é"),
        ]
        .concat();
        let found = parse(&bytes);
        assert_eq!(found["service.version"], "1.2");
        assert_eq!(found["later.attribute"], "é");
        assert_eq!(found.len(), 2);
        assert_eq!(parse(&bytes[..bytes.len() - 1]).len(), 1);
        assert!(parse(&[]).is_empty());
    }

    proptest! {
        /// A hostile process gets an answer, never a panic, and one that is bounded.
        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..2_044)) {
            let found = parse(&bytes);
            let size: usize = found.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert!(size <= bytes.len());
        }
    }
}
