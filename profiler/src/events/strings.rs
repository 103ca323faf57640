//! Python strings as stored → text fit to show and to send. Pure.

use std::fmt::Write as _;

use super::PythonString;

impl PythonString {
    /// Its text; `None` if it could not be read. Bytes that Python could not decode
    /// (surrogate-escaped, as in file names) become `\xNN`, other code points that are no character
    /// U+FFFD, control characters are escaped, and a string whose end is missing ends in `…`.
    pub fn to_text(&self) -> Option<String> {
        let Self { kind, bytes, cut } = self;
        let points: Box<dyn Iterator<Item = u32>> = match kind {
            1 => Box::new(bytes.iter().map(|&byte| u32::from(byte))),
            2 => Box::new(units(bytes).map(|unit| u32::from(u16::from_ne_bytes(unit)))),
            4 => Box::new(units(bytes).map(u32::from_ne_bytes)),
            _ => return None,
        };
        let mut text = String::with_capacity(bytes.len());
        points.for_each(|point| push(&mut text, point));
        if *cut {
            text.push('…');
        }
        Some(text)
    }
}

fn units<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

fn push(text: &mut String, point: u32) {
    // Writing to a string cannot fail.
    match (point, char::from_u32(point)) {
        (_, Some(character)) if character.is_control() => {
            let _ = write!(text, "{}", character.escape_default());
        }
        (_, Some(character)) => text.push(character),
        // PEP 383: a byte that is not of the encoding, hidden in a lone surrogate.
        (0xdc80..=0xdcff, None) => {
            let _ = write!(text, "\\x{:02x}", point - 0xdc00);
        }
        (_, None) => text.push(char::REPLACEMENT_CHARACTER),
    }
}

#[cfg(test)]
mod tests {
    use crate::events::PythonString;

    fn text(string: &PythonString) -> Option<String> {
        string.to_text()
    }

    fn string(kind: u8, bytes: &[u8]) -> PythonString {
        PythonString {
            kind,
            bytes: bytes.to_vec(),
            cut: false,
        }
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_ne_bytes).collect()
    }

    /// Strings of every kind come out as they are.
    #[test]
    fn every_kind_is_read() {
        assert_eq!(text(&string(1, b"caf\xe9")).as_deref(), Some("café"));
        assert_eq!(
            text(&string(2, &wide("naïve Ω"))).as_deref(),
            Some("naïve Ω")
        );
        let four: Vec<u8> = "x😀"
            .chars()
            .flat_map(|it| u32::from(it).to_ne_bytes())
            .collect();
        assert_eq!(text(&string(4, &four)).as_deref(), Some("x😀"));
        assert_eq!(text(&string(1, b"")).as_deref(), Some(""));
        assert_eq!(text(&string(0, b"abc")), None);
        assert_eq!(text(&string(7, b"abc")), None);
    }

    /// What is no character, or would disturb a line, is made visible.
    #[test]
    fn what_is_no_text_is_escaped() {
        let escaped: Vec<u8> = [0x2f, 0xdcff, 0xd800]
            .iter()
            .flat_map(|it: &u16| it.to_ne_bytes())
            .collect();
        assert_eq!(
            text(&string(2, &escaped)).as_deref(),
            Some("/\\xff\u{fffd}")
        );
        assert_eq!(text(&string(1, b"a\n\x00")).as_deref(), Some("a\\n\\u{0}"));
        assert_eq!(
            text(&string(4, &0x11_0000_u32.to_ne_bytes())).as_deref(),
            Some("\u{fffd}")
        );
    }

    /// A cut string says so, and bytes that make no whole character are left out.
    #[test]
    fn cut_strings_say_so() {
        let cut = PythonString {
            kind: 2,
            bytes: vec![b'a', 0, b'b'],
            cut: true,
        };
        assert_eq!(text(&cut).as_deref(), Some("a…"));
    }
}
