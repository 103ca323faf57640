//! Which version a file with a CPython is of.

use std::{collections::BTreeSet, ops::ControlFlow};

use crate::targets::elf::{Elf, Piece, Symbol};

/// Major, minor and micro.
pub type Version = (u8, u8, u8);

/// Where the version of a CPython was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionSource {
    /// `Py_Version`, since 3.11.
    Symbol,
    /// A version string in its read-only data.
    String,
}

impl VersionSource {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Symbol => "Py_Version",
            Self::String => "version string",
        }
    }
}

/// The version that the symbol `Py_Version` says, or else a string; `None` if nothing says it.
pub(super) fn find(elf: &Elf<'_>, symbol: Option<Symbol>) -> Option<(Version, VersionSource)> {
    if let Some(bytes) = symbol.and_then(|symbol| elf.bytes(symbol.address, 8))
        && let [_, micro, minor, major, ..] = *bytes
    {
        return Some(((major, minor, micro), VersionSource::Symbol));
    }
    let mut told = Told::default();
    elf.search_section(".rodata", OVERLAP, |piece| {
        told.take(&piece);
        ControlFlow::Continue(())
    })?;
    Some((told.version()?, VersionSource::String))
}

/// No string that tells a version is longer.
const OVERLAP: usize = 256;

/// What read-only data tells of a version before 3.11. `PY_VERSION` (`3.10.13`) alone is not enough, it could be that
/// of something else: the folder of the library (`python3.10`) must be there too.
#[derive(Debug, Default)]
struct Told {
    folders: BTreeSet<u8>,
    versions: Vec<Version>,
}

impl Told {
    /// More numbers that look like versions are not kept: a file has a handful.
    const MAX_VERSIONS: usize = 1024;

    /// Takes the strings that a piece has whole.
    fn take(&mut self, piece: &Piece<'_>) {
        let is_end = |&byte: &u8| byte == 0;
        let bytes = piece.bytes;
        let start = match piece.offset {
            0 => Some(0),
            _ => bytes.iter().position(is_end),
        };
        let end = if piece.is_last {
            Some(bytes.len())
        } else {
            bytes.iter().rposition(is_end)
        };
        let whole = start
            .zip(end)
            .and_then(|(start, end)| bytes.get(start..end));
        let strings = whole.unwrap_or_default().split(is_end);
        for string in strings.filter_map(|it| str::from_utf8(it).ok()) {
            let folder = string.rsplit_once("python3.");
            self.folders
                .extend(folder.and_then(|(_, minor)| minor.parse::<u8>().ok()));
            if self.versions.len() < Self::MAX_VERSIONS {
                self.versions.extend(version_string(string));
            }
        }
    }

    fn version(self) -> Option<Version> {
        let mut versions = self.versions.into_iter();
        versions.find(|(_, minor, _)| self.folders.contains(minor))
    }
}

/// `PY_VERSION` at the end of a string, because linkers keep a string that ends another one only
/// once (3.10.13 of pyenv has it in `…/versions/3.10.13`): `3.10.13`, `3.10.0rc1`, `3.10.13+`.
fn version_string(string: &str) -> Option<Version> {
    let start = string
        .rfind(|it: char| !it.is_ascii_alphanumeric() && it != '.' && it != '+')
        .map_or(0, |at| at + 1);
    let mut parts = string.get(start..)?.strip_prefix("3.")?.split('.');
    let minor: u8 = parts.next()?.parse().ok()?;
    let micro = parts.next()?;
    let digits = micro
        .find(|it: char| !it.is_ascii_digit())
        .unwrap_or(micro.len());
    let (micro, suffix) = micro.split_at(digits);
    let known = minor <= 10 && matches!(suffix.chars().next(), None | Some('a' | 'b' | 'r' | '+'));
    (known && parts.next().is_none()).then_some((3, minor, micro.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Told, Version, version_string};
    use crate::targets::elf::Piece;

    /// Release, candidate and development versions are read; anything else is not one.
    #[test]
    fn version_strings() {
        assert_eq!(version_string("3.10.13"), Some((3, 10, 13)));
        assert_eq!(version_string("/opt/versions/3.10.13"), Some((3, 10, 13)));
        assert_eq!(version_string("3.10.0rc2"), Some((3, 10, 0)));
        assert_eq!(version_string("3.10.4+"), Some((3, 10, 4)));
        for other in ["3.10", "13.0.0", "3.10.x", "3.10.1.2", "13.10.1", ""] {
            assert_eq!(version_string(other), None, "{other}");
        }
    }

    fn version_in(data: &[u8]) -> Option<Version> {
        let mut told = Told::default();
        told.take(&Piece {
            offset: 0,
            bytes: data,
            is_last: true,
        });
        told.version()
    }

    /// Strings that the edge of a piece cuts are taken from the piece that has them whole.
    #[test]
    fn pieces_are_cut_anywhere() {
        let data = b"a\x003.10.13\x00lib/python3.10\x00z";
        for cut in 0..data.len() {
            let mut told = Told::default();
            let again = cut.saturating_sub(20);
            for (offset, bytes, is_last) in [
                (0, &data[..cut], false),
                (again as u64, &data[again..], true),
            ] {
                told.take(&Piece {
                    offset,
                    bytes,
                    is_last,
                });
            }
            assert!(
                told.versions.iter().all(|it| *it == (3, 10, 13)),
                "{told:?}"
            );
            assert_eq!(told.version(), Some((3, 10, 13)), "{cut}");
        }
    }

    /// A version counts only beside the folder of its library.
    #[test]
    fn a_version_needs_its_folder() {
        assert_eq!(
            version_in(b"\x003.9.1\x003.10.2\x00lib/python3.10\x00"),
            Some((3, 10, 2))
        );
        assert_eq!(version_in(b"\x003.9.1\x00"), None);
    }
}
