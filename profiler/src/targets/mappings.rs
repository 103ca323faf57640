//! `/proc/PID/maps` → executable mappings, and how to open their files.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use super::{FileId, Mapping, elf::ElfError, elf::OpenFile};
use crate::id::Pid;

/// Bytes of `/proc/PID/maps` that are read; what lies behind is not seen.
const MAX_MAPS: u64 = 8 << 20;

/// Executable mappings of a process, by address.
pub fn read(pid: Pid) -> io::Result<Vec<Mapping>> {
    read_bounded(Path::new(&format!("/proc/{pid}/maps")), MAX_MAPS)
        .map(|text| parse(&String::from_utf8_lossy(&text)))
}

/// Parses the text of `/proc/PID/maps`; lines that are not understood are left out.
pub fn parse(maps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = maps.lines().filter_map(parse_line).collect();
    mappings.sort_by_key(|mapping| mapping.addresses.start);
    mappings
}

/// `start-end perms offset major:minor inode path`, the path after any number of blanks.
fn parse_line(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let file_offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let major = u64::from_str_radix(major, 16).ok()?;
    let minor = u64::from_str_radix(minor, 16).ok()?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_start();
    (start < end).then(|| Mapping {
        addresses: start..end,
        file_offset,
        file: FileId {
            device: (major << 20) | minor,
            inode,
        },
        path: if path.is_empty() {
            "[anonymous]".into()
        } else {
            Arc::from(path)
        },
    })
}

/// Opens the file of a mapping in the process's own view of the file system, never by its bare
/// path: `map_files` leads to the very file even when it was deleted or replaced. What is learned of the file
/// holds for this descriptor alone: the same path may lead to another file a moment later.
pub fn open(pid: Pid, mapping: &Mapping) -> Result<OpenFile, ElfError> {
    let by_mapping = format!(
        "/proc/{pid}/map_files/{:x}-{:x}",
        mapping.addresses.start, mapping.addresses.end
    );
    match OpenFile::open(Path::new(&by_mapping)) {
        Err(_) if mapping.path.starts_with('/') => {
            let by_root = format!("/proc/{pid}/root{}", mapping.path);
            OpenFile::open(Path::new(&by_root))
        }
        opened => opened,
    }
}

/// The first `limit` bytes of a file of the procfs.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::parse;

    /// Executable lines are kept in order of address, with blanks in paths and without a path;
    /// everything else is left out.
    #[test]
    fn maps_are_parsed() {
        let maps = "7f00-8f00 r-xp 00001000 fd:01 77      /a b/libx.so (deleted)\n\
                    1000-2000 r-xp 00000000 00:00 0 \n\
                    2000-3000 rw-p 00000000 fd:01 77 /y\n\
                    zz-3000 r-xp\n\n";
        let mappings = parse(maps);
        assert_eq!(mappings.len(), 2);
        assert_eq!(&*mappings[0].path, "[anonymous]");
        assert_eq!(&*mappings[1].path, "/a b/libx.so (deleted)");
        assert_eq!(mappings[1].file.device, (0xfd << 20) | 1);
        assert_eq!(mappings[1].file_offset, 0x1000);
    }
}
