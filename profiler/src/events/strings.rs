//! Strings as stored → text fit to show and to send. Pure.
//!
//! What a name may hold that would break a line of output is escaped here and nowhere else ([`push`]).

use std::{borrow::Cow, fmt::Write as _};

use super::PythonString;

/// What is shown for a span whose name is empty.
const EMPTY: &str = "(empty)";

/// The text without what would break its line, move a cursor, turn the text around it, or make an SVG no XML: such
/// characters are escaped. What was made printable before stays as it is.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(disturbs) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        push(&mut shown, character);
    }
    Cow::Owned(shown)
}

/// A span's name as it is shown: printable, and never empty.
pub(super) fn span_name(name: &str) -> Box<str> {
    if name.is_empty() {
        return EMPTY.into();
    }
    printable(name).into()
}

/// Whether a character disturbs the line that it is in.
fn disturbs(character: char) -> bool {
    let is_line_end = matches!(character, '\u{2028}' | '\u{2029}');
    // Unicode Standard Annex 9: they change the direction of what follows.
    let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // XML 1.0, production 2: no document may have them.
    let is_no_xml = matches!(character, '\u{fffe}' | '\u{ffff}');
    character.is_control() || is_line_end || turns || is_no_xml
}

/// Appends a character, escaped if it disturbs.
fn push(text: &mut String, character: char) {
    if disturbs(character) {
        text.extend(character.escape_default());
    } else {
        text.push(character);
    }
}

impl PythonString {
    /// Its text; `None` if it could not be read. Bytes that Python could not decode
    /// (surrogate-escaped, as in file names) become `\xNN`, other code points that are no character
    /// U+FFFD, characters that would break a line are escaped, and a string whose end is missing ends in `…`.
    pub fn to_text(&self) -> Option<String> {
        self.text(|text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        })
    }

    /// The same of a span's name, which is no file name: every lone surrogate is U+FFFD, as in what the tracer sends.
    pub(super) fn to_span_name(&self) -> Option<Box<str>> {
        let text = self.text(|text, _| text.push(char::REPLACEMENT_CHARACTER))?;
        Some(span_name(&text))
    }

    /// `hidden` appends a byte that is not of the encoding, hidden in a lone surrogate (PEP 383).
    fn text(&self, hidden: impl Fn(&mut String, u32)) -> Option<String> {
        let Self { kind, bytes, cut } = self;
        let points: Box<dyn Iterator<Item = u32>> = match kind {
            1 => Box::new(bytes.iter().map(|&byte| u32::from(byte))),
            2 => Box::new(units(bytes).map(|unit| u32::from(u16::from_ne_bytes(unit)))),
            4 => Box::new(units(bytes).map(u32::from_ne_bytes)),
            _ => return None,
        };
        let mut text = String::with_capacity(bytes.len());
        for point in points {
            match (point, char::from_u32(point)) {
                (_, Some(character)) => push(&mut text, character),
                (0xdc80..=0xdcff, None) => hidden(&mut text, point - 0xdc00),
                (_, None) => text.push(char::REPLACEMENT_CHARACTER),
            }
        }
        if *cut {
            text.push('…');
        }
        Some(text)
    }
}

fn units<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::{printable, span_name};
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

    /// Whatever would break a line or turn its text round is escaped, once; all other text stays as it is.
    #[test]
    fn nothing_breaks_a_line() {
        for (text, shown) in [
            ("tab\there\nand\0there", "tab\\there\\nand\\u{0}there"),
            ("\x1b[2J\u{85}", "\\u{1b}[2J\\u{85}"),
            (
                "a\u{2028}b\u{202e}c\u{ffff}",
                "a\\u{2028}b\\u{202e}c\\u{ffff}",
            ),
            ("naïve Ω 😀 \\n 'x'", "naïve Ω 😀 \\n 'x'"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(shown), shown);
        }
    }

    /// A span has a name if that is empty, too; a lone surrogate in it is no character, whichever it is.
    #[test]
    fn odd_span_names() {
        assert_eq!(&*span_name(""), "(empty)");
        let name = |string: &PythonString| string.to_span_name().unwrap();
        assert_eq!(&*name(&string(1, b"")), "(empty)");
        let surrogates: Vec<u8> = [0x2f, 0xdce9, 0xd800]
            .iter()
            .flat_map(|it: &u16| it.to_ne_bytes())
            .collect();
        assert_eq!(&*name(&string(2, &surrogates)), "/\u{fffd}\u{fffd}");
        assert_eq!(&*name(&string(1, b"a\nb")), "a\\nb");
    }
}
