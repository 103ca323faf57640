//! The memory of a process, read from outside with a budget.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io,
    os::unix::fs::FileExt as _,
};

use profiler_common::walk::{Block, ReadUser};

use crate::{
    arch::{Common as _, Machine},
    id::ProcessKey,
    targets::procfs,
};

/// Reads made in one part of a look at a process: two for each module of one with tens of thousands.
pub const MAX_READS: u32 = 200_000;

/// The memory of one process. A process can make reads block (FUSE).
#[derive(Debug)]
pub struct Memory {
    file: File,
    left: Cell<u32>,
    pages: RefCell<Pages>,
}

/// Bytes of a page. What is mapped at all is mapped by pages, which may be larger and are multiples of this.
const PAGE: usize = 4096;

/// Pages that were read last, in turns.
#[derive(Debug, Default)]
struct Pages {
    kept: Vec<(u64, Box<[u8; PAGE]>)>,
    next: usize,
}

impl Pages {
    /// So many are kept: what is read one after the other lies in some pages for each size of objects.
    const MOST: usize = 16;

    fn get(&self, address: u64) -> Option<&[u8; PAGE]> {
        let mut kept = self.kept.iter();
        kept.find(|(it, _)| *it == address).map(|(_, page)| &**page)
    }

    fn put(&mut self, address: u64, page: Box<[u8; PAGE]>) {
        match self.kept.get_mut(self.next) {
            Some(slot) => *slot = (address, page),
            None => self.kept.push((address, page)),
        }
        self.next = (self.next + 1) % Self::MOST;
    }
}

impl Memory {
    /// Opens the memory of this very process; an error if it is gone or may not be read.
    pub fn open(process: ProcessKey) -> io::Result<Self> {
        let file = File::open(format!("/proc/{}/mem", process.pid.0))?;
        // The file is the memory of the process that had the pid when it was opened.
        if procfs::stat(process.pid).is_none_or(|stat| stat.process != process) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            file,
            left: Cell::new(MAX_READS),
            pages: RefCell::default(),
        })
    }

    /// Allows as many reads again as at the start.
    pub fn refill(&self) {
        self.left.set(MAX_READS);
        self.pages.take();
    }

    /// The same memory, by whole pages, which are not read again: for what does not change, such as strings.
    pub fn constant(&self) -> Constant<'_> {
        Constant(self)
    }

    /// Whether no more reads may be made.
    pub fn is_used_up(&self) -> bool {
        self.left.get() == 0
    }

    /// Fills a buffer; false if the memory cannot be read or the budget is used up.
    pub fn fill(&self, address: u64, buffer: &mut [u8]) -> bool {
        let Some(left) = self.left.get().checked_sub(1) else {
            return false;
        };
        self.left.set(left);
        // Above lies the kernel, whose addresses `pread` would take for negative offsets.
        address < Machine::USER_END && self.file.read_exact_at(buffer, address).is_ok()
    }
}

/// Memory of a process that does not change while it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Constant<'a>(&'a Memory);

impl Constant<'_> {
    /// Fills a buffer; false if the memory cannot be read or the budget is used up.
    pub fn fill(self, address: u64, buffer: &mut [u8]) -> bool {
        let mut address = address;
        let mut rest = buffer;
        while !rest.is_empty() {
            let page = address & !(PAGE as u64 - 1);
            let Ok(inside) = usize::try_from(address - page) else {
                return false;
            };
            let size = rest.len().min(PAGE - inside);
            let (part, others) = rest.split_at_mut(size);
            if !self.fill_within(page, inside, part) {
                return false;
            }
            rest = others;
            let Some(next) = address.checked_add(size as u64) else {
                return rest.is_empty();
            };
            address = next;
        }
        true
    }

    /// Fills a buffer from one page.
    fn fill_within(self, page: u64, inside: usize, part: &mut [u8]) -> bool {
        let mut pages = self.0.pages.borrow_mut();
        if pages.get(page).is_none() {
            let mut read = Box::new([0; PAGE]);
            if !self.0.fill(page, &mut *read) {
                return false;
            }
            pages.put(page, read);
        }
        let kept = pages.get(page);
        match kept.and_then(|it| it.get(inside..inside + part.len())) {
            Some(bytes) => {
                part.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }
}

fn read_block<const N: usize>(
    size: u32,
    block: &mut Block<N>,
    fill: impl FnOnce(&mut [u8]) -> bool,
) -> bool {
    block.bytes_mut().get_mut(..size as usize).is_some_and(fill)
}

fn read_word(fill: impl FnOnce(&mut [u8]) -> bool) -> Option<u64> {
    let mut bytes = [0; 8];
    fill(&mut bytes).then(|| u64::from_le_bytes(bytes))
}

impl ReadUser for Constant<'_> {
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        read_block(size, block, |bytes| self.fill(address, bytes))
    }

    fn read_u64(&self, address: u64) -> Option<u64> {
        read_word(|bytes| self.fill(address, bytes))
    }
}

impl ReadUser for Memory {
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        read_block(size, block, |bytes| self.fill(address, bytes))
    }

    fn read_u64(&self, address: u64) -> Option<u64> {
        read_word(|bytes| self.fill(address, bytes))
    }
}
