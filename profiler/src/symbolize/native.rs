//! Native addresses → frames, through blazesym and the symbols of the mapped file.

use std::{cell::OnceCell, num::NonZeroUsize, ops::Range, os::fd::AsRawFd as _, sync::Arc};

use blazesym::{
    helper::read_elf_build_id,
    symbolize::{
        Input, Sym, Symbolized, Symbolizer,
        source::{Elf, Source},
    },
};
use lru::LruCache;

use super::{Frame, FrameKind, MappedFile};
use crate::{
    health::{Health, Loss},
    id::Pid,
    targets::{
        FileId, Mapping,
        elf::{Elf as Sections, OpenFile},
        mappings,
    },
};

/// Files whose symbols are kept open.
const MAX_FILES: usize = 128;
/// Addresses kept ready, over all files.
const MAX_ADDRESSES: usize = 65_536;

/// Symbols by file.
#[derive(Debug)]
pub(super) struct NativeFrames {
    files: LruCache<FileId, Symbols>,
    frames: LruCache<(FileId, u64, FrameKind), Arc<Frame>>,
    health: Health,
}

/// One file's symbols. A symbolizer of its own, so that what blazesym caches by path goes with the
/// file: the path names a descriptor, and descriptors are reused.
#[derive(Debug)]
struct Symbols {
    open: Option<(Symbolizer, Source<'static>, OpenFile)>,
    /// Addresses of its sections, read when a symbol without a size is met.
    sections: OnceCell<Vec<Range<u64>>>,
    mapping: Arc<MappedFile>,
}

/// A symbolizer that reads symbols and no debug information.
pub(super) fn symbols_only() -> Symbolizer {
    Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_code_info(false)
        .enable_inlined_fns(false)
        .build()
}

impl NativeFrames {
    pub(super) fn new(health: Health) -> Self {
        let some = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            files: LruCache::new(some(MAX_FILES)),
            frames: LruCache::new(some(MAX_ADDRESSES)),
            health,
        }
    }

    /// The file a mapping maps, named.
    pub(super) fn mapped_file(&mut self, pid: Pid, mapping: &Mapping) -> Arc<MappedFile> {
        Arc::clone(&self.symbols(pid, mapping).mapping)
    }

    /// Names an address inside a mapping of code of a kind.
    pub(super) fn frame(
        &mut self,
        pid: Pid,
        address: u64,
        mapping: &Mapping,
        kind: FrameKind,
    ) -> Arc<Frame> {
        let offset = (address - mapping.addresses.start.min(address)) + mapping.file_offset;
        let key = (mapping.file, offset, kind);
        if let Some(ready) = self.frames.get(&key) {
            return Arc::clone(ready);
        }
        let symbols = self.symbols(pid, mapping);
        let symbol = symbols.name(offset);
        let mapped = Arc::clone(&symbols.mapping);
        let is_named = symbol.is_some();
        let name = symbol.unwrap_or_else(|| {
            self.health.count(Loss::NativeUnknown);
            let file = mapped.path.rsplit('/').next().unwrap_or_default();
            format!("{file}+{offset:#x}")
        });
        let frame = Arc::new(Frame {
            kind,
            name: name.into(),
            is_named,
            file: "".into(),
            line: 0,
            start_line: 0,
            mapping: mapped,
        });
        self.frames.put(key, Arc::clone(&frame));
        frame
    }

    fn symbols(&mut self, pid: Pid, mapping: &Mapping) -> &Symbols {
        self.files
            .get_or_insert(mapping.file, || Symbols::open(pid, mapping))
    }
}

impl Symbols {
    fn open(pid: Pid, mapping: &Mapping) -> Self {
        let file = mappings::open(pid, mapping).ok();
        let path = file
            .as_ref()
            .map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
        let build_id = path
            .as_ref()
            .and_then(|path| read_elf_build_id(path).ok().flatten())
            .map_or_else(String::new, |id| hex(&id));
        let open = file.zip(path).map(|(file, path)| {
            let mut elf = Elf::new(path);
            elf.debug_syms = false;
            (symbols_only(), Source::Elf(elf), file)
        });
        let mapped = MappedFile {
            path: mapping.path.to_string(),
            build_id,
        };
        Self {
            open,
            sections: OnceCell::new(),
            mapping: Arc::new(mapped),
        }
    }

    fn name(&self, offset: u64) -> Option<String> {
        let (symbolizer, source, file) = self.open.as_ref()?;
        match symbolizer.symbolize_single(source, Input::FileOffset(offset)) {
            Ok(Symbolized::Sym(symbol)) if self.is_beyond(&symbol, file) => None,
            Ok(Symbolized::Sym(symbol)) => Some(symbol.name.into_owned()),
            Ok(Symbolized::Unknown(_)) => None,
            Err(error) => {
                tracing::debug!("no symbols of {}: {error}", self.mapping.path);
                None
            }
        }
    }
}

impl Symbols {
    /// Whether an address is certainly not in the symbol found for it. One without a size (what
    /// assemblers make, as `_init`) is found for everything up to the next symbol, and so for the stubs of
    /// calls into other files too, which have none; but no function goes beyond its section.
    fn is_beyond(&self, symbol: &Sym<'_>, file: &OpenFile) -> bool {
        if symbol.size.is_some() {
            return false;
        }
        let address = symbol
            .addr
            .saturating_add(u64::try_from(symbol.offset).unwrap_or(u64::MAX));
        let sections = self.sections.get_or_init(|| sections(file));
        let section = sections.iter().find(|it| it.contains(&symbol.addr));
        section.is_some_and(|it| !it.contains(&address))
    }
}

/// Addresses of the sections of a file; empty where it has no table of them.
fn sections(file: &OpenFile) -> Vec<Range<u64>> {
    let data = file.another().map(OpenFile::data);
    data.and_then(|data| Sections::parse(&data).map(|elf| elf.section_addresses()))
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
