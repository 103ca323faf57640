//! `/proc/PID/maps` → what a process maps, and how to open its files.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read as _},
    ops::Range,
    path::Path,
    sync::Arc,
};

use super::{
    FileId, Mapping,
    elf::{ElfError, Image, OpenFile},
};
use crate::id::Pid;

/// Bytes of `/proc/PID/maps` that are read; what lies behind is not seen.
const MAX_MAPS: u64 = 8 << 20;
/// What is shown as the path of memory that is of no file.
const ANONYMOUS: &str = "[anonymous]";

/// What a process maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Executable mappings, by address.
    pub executable: Vec<Mapping>,
    /// Of each file that a loader has mapped and that has no executable mapping left, the mapping with the lowest
    /// address: a program may move its code to memory of its own (huge pages), and the rest of the file stays.
    pub without_code: Vec<Mapping>,
}

impl Mapped {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Mapping> {
        self.executable.iter().chain(&self.without_code)
    }
}

/// Executable mappings of a process, by address.
pub fn read(pid: Pid) -> io::Result<Vec<Mapping>> {
    read_all(pid).map(|mapped| mapped.executable)
}

/// What a process maps.
pub fn read_all(pid: Pid) -> io::Result<Mapped> {
    text(pid).map(|text| parse(&text))
}

fn text(pid: Pid) -> io::Result<String> {
    read_bounded(Path::new(&format!("/proc/{pid}/maps")), MAX_MAPS)
        .map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// Parses the text of `/proc/PID/maps`; lines that are not understood are left out.
pub fn parse(maps: &str) -> Mapped {
    let (executable, data): (Vec<Mapping>, Vec<Mapping>) = maps
        .lines()
        .filter_map(parse_line)
        .partition(|mapping| mapping.is_executable);
    let mut mapped = Mapped {
        without_code: without_code(&executable, data),
        executable,
    };
    mapped.executable.sort_by_key(|it| it.addresses.start);
    mapped
}

/// The first mapping of each file that is mapped in parts, as a loader does it, none of them executable.
fn without_code(executable: &[Mapping], data: Vec<Mapping>) -> Vec<Mapping> {
    let with_code: HashSet<FileId> = executable.iter().map(|it| it.file).collect();
    let mut parts: HashMap<FileId, (usize, Mapping)> = HashMap::new();
    for mapping in data {
        if mapping.file.inode == 0 || with_code.contains(&mapping.file) {
            continue;
        }
        let entry = parts.entry(mapping.file);
        let (count, first) = entry.or_insert_with(|| (0, mapping.clone()));
        *count += 1;
        if mapping.addresses.start < first.addresses.start {
            *first = mapping;
        }
    }
    let loaded = parts.into_values().filter(|(count, _)| *count > 1);
    let mut loaded: Vec<Mapping> = loaded.map(|(_, first)| first).collect();
    loaded.sort_by_key(|it| it.addresses.start);
    loaded
}

/// `start-end perms offset major:minor inode path`, the path after any number of blanks. Private mappings that can be
/// read or executed: a loader makes no others that matter.
fn parse_line(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let &[read, _, execute, kind] = fields.next()?.as_bytes() else {
        return None;
    };
    let is_executable = execute == b'x';
    if !is_executable && (read, kind) != (b'r', b'p') {
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
        is_executable,
        path: if path.is_empty() {
            ANONYMOUS.into()
        } else {
            Arc::from(path)
        },
    })
}

/// Shows as a part of its file the code of a segment that was moved to memory of no file. `segment` is where the
/// loader has mapped it.
pub fn put_back(mappings: &[Mapping], segment: &Mapping) -> Vec<Mapping> {
    let mut all = Vec::with_capacity(mappings.len() + 2);
    for mapping in mappings {
        let (lies, is_at) = (&mapping.addresses, &segment.addresses);
        let (start, end) = (lies.start.max(is_at.start), lies.end.min(is_at.end));
        if &*mapping.path != ANONYMOUS || start >= end {
            all.push(mapping.clone());
            continue;
        }
        let piece = |addresses: Range<u64>| Mapping {
            addresses,
            ..mapping.clone()
        };
        all.extend((lies.start < start).then(|| piece(lies.start..start)));
        all.push(Mapping {
            file_offset: segment.file_offset + (start - is_at.start),
            addresses: start..end,
            ..segment.clone()
        });
        all.extend((end < lies.end).then(|| piece(end..lies.end)));
    }
    all
}

/// Opens the file of a mapping in the process's own view of the file system, never by its bare
/// path: `map_files` leads to the very file even when it was deleted or replaced. What is learned of the file
/// holds for this descriptor alone: the same path may lead to another file a moment later.
pub fn open(pid: Pid, mapping: &Mapping) -> Result<OpenFile, ElfError> {
    let by_mapping = |addresses: &Range<u64>| {
        let Range { start, end } = addresses;
        OpenFile::open(Path::new(&format!(
            "/proc/{pid}/map_files/{start:x}-{end:x}"
        )))
    };
    let by_another = || {
        // The mapping may be gone, or its bytes be in memory of no file by now.
        let text = text(pid).ok()?;
        let mut all = text.lines().filter_map(parse_line);
        by_mapping(&all.find(|it| it.file == mapping.file)?.addresses).ok()
    };
    let opened = by_mapping(&mapping.addresses);
    match opened.or_else(|error| by_another().ok_or(error)) {
        Err(error) if mapping.path.starts_with('/') => {
            let by_root = format!("/proc/{pid}/root{}", mapping.path);
            // The path need not lead anywhere there: then what was wrong with the file itself counts.
            OpenFile::open(Path::new(&by_root)).or(Err(error))
        }
        opened => opened,
    }
}

/// The file of a mapping as the process's loader has mapped it, read from the process's memory.
pub fn loaded(pid: Pid, mapping: &Mapping) -> Option<Image> {
    let text = text(pid).ok()?;
    let mut all = text.lines().filter_map(parse_line);
    let start = all.find(|it| it.file == mapping.file && it.file_offset == 0)?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    Image::read(memory, start.addresses.start)
}

/// The first `limit` bytes of a file of the procfs.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{parse, put_back};
    use crate::targets::Mapping;

    /// Executable lines are kept in order of address, with blanks in paths and without a path;
    /// everything else is left out.
    #[test]
    fn maps_are_parsed() {
        let maps = "7f00-8f00 r-xp 00001000 fd:01 77      /a b/libx.so (deleted)\n\
                    1000-2000 r-xp 00000000 00:00 0 \n\
                    2000-3000 rw-p 00000000 fd:01 77 /y\n\
                    zz-3000 r-xp\n\n";
        let mapped = parse(maps);
        let mappings = mapped.executable;
        assert_eq!((mappings.len(), mapped.without_code.len()), (2, 0));
        assert_eq!(&*mappings[0].path, "[anonymous]");
        assert_eq!(&*mappings[1].path, "/a b/libx.so (deleted)");
        assert_eq!(mappings[1].file.device, (0xfd << 20) | 1);
        assert_eq!(mappings[1].file_offset, 0x1000);
    }

    /// A file whose code was moved shows by what is left of it; data that is mapped at once, or shared, does not.
    #[test]
    fn files_without_code() {
        let maps = "1000-2000 r--p 00000000 fd:01 7 /libx.so\n\
                    2000-5000 r-xp 00000000 00:00 0 \n\
                    5000-6000 r--p 00004000 fd:01 7 /libx.so\n\
                    7000-8000 r--p 00000000 fd:01 8 /data\n\
                    8000-9000 r--s 00000000 fd:01 9 /shared\n\
                    9000-a000 r--s 00001000 fd:01 9 /shared\n";
        let mapped = parse(maps);
        let starts: Vec<u64> = mapped
            .without_code
            .iter()
            .map(|it| it.addresses.start)
            .collect();
        assert_eq!(starts, [0x1000]);
        // A segment that the memory is larger than: the rest stays what it was.
        let segment = Mapping {
            addresses: 0x3000..0x4000,
            file_offset: 0x2000,
            is_executable: true,
            ..mapped.without_code[0].clone()
        };
        let parts: Vec<_> = put_back(&mapped.executable, &segment)
            .into_iter()
            .map(|it| (it.addresses, it.file_offset, it.path.to_string()))
            .collect();
        let anonymous = "[anonymous]".to_owned();
        let expected = [
            (0x2000..0x3000, 0, anonymous.clone()),
            (0x3000..0x4000, 0x2000, "/libx.so".to_owned()),
            (0x4000..0x5000, 0, anonymous),
        ];
        assert_eq!(parts, expected);
        // The file's own mappings are left alone.
        assert_eq!(
            put_back(&mapped.without_code, &segment),
            mapped.without_code
        );
    }
}
