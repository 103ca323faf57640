//! Kernel addresses → frames, through blazesym and `/proc/kallsyms`.

use std::{num::NonZeroUsize, sync::Arc};

use blazesym::symbolize::{
    Input, Symbolized, Symbolizer,
    source::{Kernel, Source},
};
use lru::LruCache;
use rustix::thread::CapabilitySet;

use super::{Frame, FrameKind, MappedFile};
use crate::{
    health::{Health, Loss},
    rights::give_up,
};

/// Addresses kept ready.
const MAX_ADDRESSES: usize = 16_384;

/// The kernel's symbols.
#[derive(Debug)]
pub(super) struct KernelFrames {
    symbolizer: Symbolizer,
    source: Source<'static>,
    /// Whether `/proc/kallsyms` has been read, for which a thread may need `CAP_SYSLOG`. It is not read again: a
    /// module that is loaded later has no names.
    has_read: bool,
    frames: LruCache<u64, Arc<Frame>>,
    mapping: Arc<MappedFile>,
    health: Health,
}

impl KernelFrames {
    pub(super) fn new(health: Health) -> Self {
        let kernel = Kernel {
            // Symbols are enough, and an image with debug information is hundreds of megabytes.
            debug_syms: false,
            ..Kernel::default()
        };
        Self {
            symbolizer: super::native::symbols_only(),
            source: Source::Kernel(kernel),
            has_read: false,
            frames: LruCache::new(NonZeroUsize::new(MAX_ADDRESSES).unwrap_or(NonZeroUsize::MIN)),
            mapping: Arc::new(MappedFile {
                path: "[kernel]".into(),
                build_id: String::new(),
            }),
            health,
        }
    }

    /// Names an address.
    pub(super) fn frame(&mut self, address: u64) -> Arc<Frame> {
        if let Some(ready) = self.frames.get(&address) {
            return Arc::clone(ready);
        }
        let symbol = match self
            .symbolizer
            .symbolize_single(&self.source, Input::AbsAddr(address))
        {
            Ok(Symbolized::Sym(symbol)) => Some(symbol.name.into_owned()),
            Ok(Symbolized::Unknown(_)) => None,
            Err(error) => {
                tracing::debug!("no kernel symbols: {error}");
                None
            }
        };
        // The symbols have been read, once for all, by the thread that alone asks for them.
        if !self.has_read {
            self.has_read = true;
            give_up(CapabilitySet::SYSLOG);
        }
        let name = symbol.unwrap_or_else(|| {
            self.health.count(Loss::KernelUnknown);
            // No address: it would give away the kernel's layout, and differ from boot to boot.
            "[kernel]".to_owned()
        });
        let frame = Arc::new(Frame {
            kind: FrameKind::Kernel,
            name: name.into(),
            is_named: true,
            file: "".into(),
            line: 0,
            start_line: 0,
            mapping: Arc::clone(&self.mapping),
        });
        self.frames.put(address, Arc::clone(&frame));
        frame
    }
}
