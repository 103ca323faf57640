//! Tar files whose bytes depend only on their content.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// A file or a folder of an archive, which belongs to root.
#[derive(Debug)]
pub(crate) struct Entry {
    path: String,
    /// The bytes of a file; a folder has none.
    bytes: Option<Vec<u8>>,
    mode: u32,
}

impl Entry {
    /// A folder that all users may read.
    pub(crate) fn folder(path: &str) -> Self {
        Self {
            path: format!("{path}/"),
            bytes: None,
            mode: 0o755,
        }
    }

    /// A file that all users may read.
    pub(crate) fn file(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            bytes: Some(bytes.into()),
            mode: 0o644,
        }
    }

    /// A program.
    pub(crate) fn program(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            mode: 0o755,
            ..Self::file(path, bytes)
        }
    }
}

/// Packs entries in their order; all have the time `epoch`, in seconds since 1970.
pub(crate) fn tar(entries: &[Entry], epoch: u64) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let bytes = entry.bytes.as_deref().unwrap_or_default();
        let mut header = Header::new_gnu();
        header.set_entry_type(if entry.bytes.is_some() {
            EntryType::Regular
        } else {
            EntryType::Directory
        });
        header.set_mode(entry.mode);
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(u64::try_from(bytes.len())?);
        builder
            .append_data(&mut header, &entry.path, bytes)
            .with_context(|| format!("failed to pack {}", entry.path))?;
    }
    builder.into_inner().context("failed to pack")
}

/// Compresses without a name or a time.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .context("failed to compress")
}
