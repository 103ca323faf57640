//! Files of targets: opened without waiting for them, and read up to a bound.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use object::read::{ReadCache, ReadCacheOps};

use super::image::Image;

/// Bytes read of one file before it is given up: a stripped `libpython` needs less than 3 MiB.
const MAX_READ: u64 = 48 << 20;

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
        ReadCache::new(Budgeted::new(self.state.size, Source::File(self.file)))
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

/// The bytes of a file, read with `pread` and kept as long as this lives.
pub type Data = ReadCache<Budgeted>;

/// The bytes of a file that is read from the memory of a process.
pub fn data_of(image: Image) -> Data {
    ReadCache::new(Budgeted::new(image.size(), Source::Memory(image)))
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

/// A file of which only so much may be read.
#[derive(Debug)]
pub struct Budgeted {
    source: Source,
    size: u64,
    position: u64,
    left: u64,
}

impl Budgeted {
    fn new(size: u64, source: Source) -> Self {
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
        let mut rest = buffer;
        while !rest.is_empty() {
            let read = match self.source.read_at(rest, self.position) {
                Ok(0) => return Err(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(()),
            };
            self.position += read as u64;
            rest = rest.get_mut(read..).ok_or(())?;
        }
        Ok(())
    }
}
