//! Which version a file with a CPython is of.

use crate::targets::elf::{Elf, Symbol};

/// Bytes of read-only data searched for strings.
const MAX_STRINGS: usize = 16 << 20;

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
    let (_, strings) = strings(elf)?;
    version_in(strings).map(|version| (version, VersionSource::String))
}

/// Address and bytes of the read-only data, as far as they are searched for strings.
pub(super) fn strings<'data>(elf: &Elf<'data>) -> Option<(u64, &'data [u8])> {
    let (start, strings) = elf.section(".rodata")?;
    Some((start, strings.get(..strings.len().min(MAX_STRINGS))?))
}

/// The version in read-only data before 3.11. `PY_VERSION` (`3.10.13`) alone is not enough, it
/// could be that of something else: the folder of the library (`python3.10`) must be there too.
fn version_in(data: &[u8]) -> Option<Version> {
    let strings = || {
        data.split(|&byte| byte == 0)
            .filter_map(|it| str::from_utf8(it).ok())
    };
    let folders: Vec<u8> = strings()
        .filter_map(|it| it.rsplit_once("python3.")?.1.parse().ok())
        .collect();
    strings()
        .filter_map(version_string)
        .find(|(_, minor, _)| folders.contains(minor))
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
    use super::{version_in, version_string};

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
