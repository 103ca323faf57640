//! Files of targets: opened without waiting for them, and read up to a bound.

use std::{
    cell::Cell,
    fs::File,
    io,
    ops::{ControlFlow, Range},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
    sync::Arc,
};

use object::read::{ReadCache, ReadCacheOps, ReadRef};

use super::image::Image;

/// Bytes read of one file before it is given up: a stripped `libpython` needs less than 3 MiB.
const MAX_READ: u64 = 48 << 20;
/// Bytes that are read of it besides, to search them: the constants of a large program.
const MAX_SEARCHED: u64 = 256 << 20;
/// How many of them are in memory at a time.
const PIECE: usize = 1 << 20;

/// Why a file could not be read as ELF.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ElfError {
    /// It could not be opened or read.
    #[error("cannot read the file: {0}")]
    Io(io::ErrorKind),
    /// A pipe, a device, a directory.
    #[error("not a regular file")]
    NotRegular,
    /// Not a 64-bit little-endian ELF file of this machine.
    #[error("not an ELF file of this machine")]
    NotElf,
    /// A table is cut, out of bounds or over budget.
    #[error("malformed ELF: {0}")]
    Malformed(&'static str),
}

impl ElfError {
    /// Whether the file is there and cannot be read all the same: it is not that its process has just ended.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Io(io::ErrorKind::NotFound))
    }
}

/// What tells one state of a file from another: a file that is replaced or rewritten is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileState {
    /// Device, as `stat` gives it.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When it was last written: seconds and nanoseconds.
    pub modified: (i64, i64),
}

/// A regular file that is open for `pread`.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    /// Which file, in which state.
    pub state: FileState,
}

impl OpenFile {
    /// Opens a target's file without ever blocking on it: `O_NONBLOCK`, regular files only.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let nonblock = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(nonblock.bits()).unwrap_or(0);
        let file = File::options()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map_err(|error| ElfError::Io(error.kind()))?;
        let metadata = file
            .metadata()
            .map_err(|error| ElfError::Io(error.kind()))?;
        if !metadata.is_file() {
            return Err(ElfError::NotRegular);
        }
        let state = FileState {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        Ok(Self { file, state })
    }

    /// The same file, open once more.
    pub fn another(&self) -> Result<Self, ElfError> {
        let file = self.file.try_clone();
        Ok(Self {
            file: file.map_err(|error| ElfError::Io(error.kind()))?,
            state: self.state,
        })
    }

    /// Fills a buffer from a place on.
    pub fn fill(&self, start: u64, buffer: &mut [u8]) -> Result<(), ElfError> {
        let read = self.file.read_exact_at(buffer, start);
        read.map_err(|error| ElfError::Io(error.kind()))
    }

    /// Its bytes, read as they are asked for.
    pub fn data(self) -> Data {
        Data::new(self.state.size, Source::File(self.file))
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for OpenFile {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// The bytes of a file, read with `pread`. What is asked for is kept as long as this lives, what is searched is not.
#[derive(Debug)]
pub struct Data {
    kept: ReadCache<Budgeted>,
    source: Arc<Source>,
    size: u64,
    left_to_search: Cell<u64>,
}

impl Data {
    fn new(size: u64, source: Source) -> Self {
        let source = Arc::new(source);
        Self {
            kept: ReadCache::new(Budgeted::new(size, Arc::clone(&source))),
            source,
            size,
            left_to_search: Cell::new(MAX_SEARCHED),
        }
    }

    /// Shows a range of the file piece by piece, until that is enough; each repeats as many bytes of the one before as
    /// `overlap` says. `None` if the file ends before, cannot be read, or more is searched than may be.
    pub fn search(
        &self,
        range: Range<u64>,
        overlap: usize,
        mut look: impl FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Option<()> {
        if range.end > self.size {
            return None;
        }
        let mut bytes = vec![0; PIECE + overlap];
        let mut start = range.start;
        let mut repeated = 0;
        while start < range.end {
            let more = usize::try_from(range.end - start).map_or(PIECE, |left| left.min(PIECE));
            let left = self.left_to_search.get().checked_sub(more as u64)?;
            self.left_to_search.set(left);
            fill(
                &self.source,
                bytes.get_mut(repeated..repeated + more)?,
                start,
            )?;
            let end = repeated + more;
            let piece = Piece {
                offset: start - repeated as u64 - range.start,
                bytes: bytes.get(..end)?,
                is_last: start + more as u64 == range.end,
            };
            if look(piece).is_break() {
                return Some(());
            }
            start += more as u64;
            repeated = end.min(overlap);
            bytes.copy_within(end - repeated..end, 0);
        }
        Some(())
    }
}

/// A piece of a range that is searched.
pub struct Piece<'a> {
    /// Where in the range it begins.
    pub offset: u64,
    /// What is there.
    pub bytes: &'a [u8],
    /// Whether the range ends with it.
    pub is_last: bool,
}

impl<'data> ReadRef<'data> for &'data Data {
    fn len(self) -> Result<u64, ()> {
        self.kept.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        self.kept.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        self.kept.read_bytes_at_until(range, delimiter)
    }
}

/// The bytes of a file that is read from the memory of a process.
pub fn data_of(image: Image) -> Data {
    Data::new(image.size(), Source::Memory(image))
}

/// Where the bytes of a file come from.
#[derive(Debug)]
enum Source {
    File(File),
    Memory(Image),
}

impl Source {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, offset),
            Self::Memory(image) => image.read_at(buffer, offset),
        }
    }
}

/// Reads all of a buffer.
fn fill(source: &Source, mut buffer: &mut [u8], mut offset: u64) -> Option<()> {
    while !buffer.is_empty() {
        let read = match source.read_at(buffer, offset) {
            Ok(0) => return None,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        offset += read as u64;
        buffer = buffer.get_mut(read..)?;
    }
    Some(())
}

/// A file of which only so much may be read.
#[derive(Debug)]
struct Budgeted {
    source: Arc<Source>,
    size: u64,
    position: u64,
    left: u64,
}

impl Budgeted {
    fn new(size: u64, source: Arc<Source>) -> Self {
        Self {
            source,
            size,
            position: 0,
            left: MAX_READ,
        }
    }
}

#[expect(
    clippy::map_err_ignore,
    reason = "the trait's error type is the unit: what happened cannot be told"
)]
impl ReadCacheOps for Budgeted {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.size)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or(())?;
        let read = self.source.read_at(buffer, self.position);
        let read = read.map_err(|_| ())?;
        self.position += read as u64;
        Ok(read)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or(())?;
        let size = buffer.len() as u64;
        fill(&self.source, buffer, self.position).ok_or(())?;
        self.position += size;
        Ok(())
    }
}
