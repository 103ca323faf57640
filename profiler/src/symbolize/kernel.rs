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

/// Most addresses whose frames are kept.
const MAX_ADDRESSES: usize = 16_384;
/// How often reading the symbols may fail before the agent gives it up. A read that fails because descriptors or memory
/// are short works a moment later, and many addresses are looked up in that moment.
const MAX_FAILURES: u32 = 256;

/// A symbolizer that reads symbols and no debug information.
fn symbols_only() -> Symbolizer {
    Symbolizer::builder()
        .enable_auto_reload(false)
        .enable_code_info(false)
        .enable_inlined_fns(false)
        .build()
}

/// The kernel's symbols.
#[derive(Debug)]
pub(super) struct KernelFrames {
    symbolizer: Symbolizer,
    source: Source<'static>,
    reading: Reading,
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
            symbolizer: symbols_only(),
            source: Source::Kernel(kernel),
            reading: Reading::default(),
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
        let found = self
            .symbolizer
            .symbolize_single(&self.source, Input::AbsAddr(address));
        // On this thread, the only one that reads them.
        if self.reading.ends_with(found.is_ok()) {
            give_up(CapabilitySet::SYSLOG);
        }
        let symbol = match found {
            Ok(Symbolized::Sym(symbol)) => Some(symbol.name.into_owned()),
            Ok(Symbolized::Unknown(_)) => None,
            Err(error) => {
                tracing::debug!("no kernel symbols: {error}");
                None
            }
        };
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
        // If the symbols could not be read yet, the name is looked up again.
        if self.reading.is_over {
            self.frames.put(address, Arc::clone(&frame));
        }
        frame
    }
}

/// State of reading `/proc/kallsyms`, for which a thread may need `CAP_SYSLOG`. It is read once: a module that is
/// loaded later has no names.
#[derive(Debug, Default)]
struct Reading {
    failures: u32,
    /// It was read, or it failed too often.
    is_over: bool,
}

impl Reading {
    /// Notes the result of a try; returns whether this try has ended the reading.
    fn ends_with(&mut self, is_read: bool) -> bool {
        if self.is_over {
            return false;
        }
        self.failures += u32::from(!is_read);
        self.is_over = is_read || self.failures >= MAX_FAILURES;
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_FAILURES, Reading};

    /// The right to read symbols is kept after failures, up to a limit, and given up once.
    #[test]
    fn reading_ends_with_a_success_or_many_failures() {
        let mut reading = Reading::default();
        let ends = [false, false, true, false, true].map(|is_read| reading.ends_with(is_read));
        assert_eq!(ends, [false, false, true, false, false]);
        let mut reading = Reading::default();
        let ends = (0..2 * MAX_FAILURES).filter(|_| reading.ends_with(false));
        assert_eq!(ends.collect::<Vec<_>>(), [MAX_FAILURES - 1]);
    }
}
