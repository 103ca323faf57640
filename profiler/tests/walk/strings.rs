//! Made-up strings and keys of dictionaries: the kernel programs and the agent read them with the same code.

use profiler_common::{
    context::{KEYS_HEAD, KeysShape, dialect, keys_shape},
    python::PythonLayout,
    walk::{Block, Characters, NoCharacters, ReadUser as _, characters, characters_of_any},
};

use crate::{
    image::{Image, PAGE},
    layouts,
};

const STRING: u64 = 0x7f12_3456_7000;

/// Puts the head of a string, which ends where its page ends, and reads it.
fn read(layout: &PythonLayout, kind: u32, compact: u32, ascii: u32) -> Option<Characters> {
    let mut image = Image::default();
    let size = u64::from(layout.string_state) + 4;
    let at = STRING + PAGE - size.next_multiple_of(8);
    // Bits outside these fields are noise.
    let fields = 7 << layout.string_kind_shift
        | 1 << layout.string_compact_bit
        | 1 << layout.string_ascii_bit;
    let state = !fields
        | kind << layout.string_kind_shift
        | compact << layout.string_compact_bit
        | ascii << layout.string_ascii_bit;
    image.put_word(at + u64::from(layout.string_length), 9);
    image.put(at + u64::from(layout.string_state), &state.to_le_bytes());
    let mut block = Block::<64>::zeroed();
    let found = characters(&image, layout, at, &mut block)?;
    Some(Characters {
        address: found.address - at,
        ..found
    })
}

/// Characters lie behind the head of their kind of string; an object that is no such string has none.
#[test]
fn every_kind_of_string() {
    for layout in layouts() {
        let found = |address: u16, kind| {
            Some(Characters {
                address: address.into(),
                length: 9,
                kind,
            })
        };
        let ascii = found(layout.string_ascii_data, 1);
        assert_eq!(read(&layout, 1, 1, 1), ascii);
        for kind in [1, 2, 4] {
            let other = found(layout.string_compact_data, kind);
            assert_eq!(read(&layout, kind, 1, 0), other);
            assert_eq!(read(&layout, kind, 0, 0), None);
        }
        for kind in [0, 3, 5, 6, 7] {
            assert_eq!(read(&layout, kind, 1, 0), None);
        }
        let mut block = Block::<64>::zeroed();
        let nowhere = characters(&Image::default(), &layout, STRING, &mut block);
        assert_eq!(nowhere, None);
    }
}

/// What an object is its class says, whatever its memory looks like; a class that derives from `str` keeps its
/// characters elsewhere.
#[test]
fn objects_of_any_class() {
    const CLASS: u64 = 0x7f12_3456_0000;
    const ELSEWHERE: u64 = 0x7f12_0000_1234;
    for layout in layouts() {
        let read = |flags: Option<u64>, compact: u32, elsewhere: u64| {
            let mut image = Image::default();
            let state = 1 << layout.string_kind_shift
                | compact << layout.string_compact_bit
                | 1 << layout.string_ascii_bit;
            let at = |offset: u16| STRING + u64::from(offset);
            image.put_word(at(layout.object_type), CLASS);
            image.put_word(at(layout.string_length), 9);
            image.put(at(layout.string_state), &u32::to_le_bytes(state));
            image.put_word(at(layout.string_compact_data), elsewhere);
            if let Some(flags) = flags {
                // Behind `PyObject`, of which the class is the last word.
                image.put_word(CLASS + u64::from(layout.object_type) + 160, flags);
            }
            let mut block = Block::<64>::zeroed();
            let found = characters_of_any(&image, &layout, STRING, &mut block);
            found.map(|characters| (characters.address, characters.length))
        };
        let text = Some(1 << 28 | 1 << 10);
        let behind = STRING + u64::from(layout.string_ascii_data);
        assert_eq!(read(text, 1, ELSEWHERE), Ok((behind, 9)));
        assert_eq!(read(text, 0, ELSEWHERE), Ok((ELSEWHERE, 9)));
        assert_eq!(read(text, 0, 0), Err(NoCharacters::Unreadable));
        // `bytes` is the bit below.
        let bytes = Some(1 << 27 | 1 << 10);
        assert_eq!(read(bytes, 1, ELSEWHERE), Err(NoCharacters::NotText));
        assert_eq!(read(None, 1, ELSEWHERE), Err(NoCharacters::Unreadable));
    }
}

/// A string that does not fit is cut between two characters, whatever length it claims.
#[test]
fn whole_characters_fit() {
    let size = |kind, length, most| {
        let characters = Characters {
            address: STRING,
            length,
            kind,
        };
        characters.size_within(most)
    };
    for kind in [1, 2, 4] {
        let most = 508 / u64::from(kind);
        assert_eq!(size(kind, 0, 508), (0, false));
        assert_eq!(size(kind, most, 508), (most * u64::from(kind), false));
        assert_eq!(size(kind, most + 1, 508), (508, true));
        assert_eq!(size(kind, u64::MAX, 508), (508, true));
    }
}

fn shape(dialect: u8, words: [u64; 5]) -> Option<KeysShape> {
    let mut block = Block::<64>::zeroed();
    let mut image = Image::default();
    for (word, at) in words.into_iter().zip((STRING..).step_by(8)) {
        image.put_word(at, word);
    }
    assert!(image.read(STRING, KEYS_HEAD, &mut block));
    keys_shape(&block, dialect)
}

/// Entries lie behind the indices; each version encodes in its own way how many there are.
#[test]
fn every_kind_of_keys() {
    let found = |start, stride, count| {
        Some(KeysShape {
            start,
            stride,
            count,
        })
    };
    // Before 3.11: size at the second word, count at the fifth. An index has 1, 2 or 4 bytes.
    let plain = |size| shape(dialect::PLAIN_KEYS, [1, size, 0, 0, 5]);
    assert_eq!(plain(8), found(40 + 8, 24, 5));
    assert_eq!(plain(0x80), found(40 + 0x80, 24, 5));
    assert_eq!(plain(0x100), found(40 + 2 * 0x100, 24, 5));
    assert_eq!(plain(0x1_0000), found(40 + 4 * 0x1_0000, 24, 5));
    assert_eq!(plain(1 << 32), None);
    // Later: the logarithm of the indices' bytes, and whether entries have a hash.
    let newer = |log2: u64, kind: u64| shape(0, [1, log2 << 8 | kind << 16, 0, 5, 0]);
    assert_eq!(newer(3, 0), found(32 + 8, 24, 5));
    assert_eq!(newer(3, 1), found(32 + 8, 16, 5));
    assert_eq!(newer(17, 2), found(32 + (1 << 17), 16, 5));
}
