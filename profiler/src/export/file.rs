//! Profiles → a file, its format by the ending of its name.

use std::{
    collections::BTreeSet,
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};

use super::{Destination, Error, flame_graph};
use crate::{
    measure::Kind,
    profile::{NativeFrames, Profile, Projected, Projection, SpanLabel, folded::folded, pprof},
};

/// What the formats with a single number per stack show.
const DRAWN: Kind = Kind::Cpu;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.pb.gz`: gzipped pprof with every label.
    Pprof,
    /// `.folded`: folded stacks, counts in samples.
    Folded,
    /// `.svg`: a flame graph.
    FlameGraph,
}

impl Format {
    /// The format a path's ending asks for.
    fn of(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let known = [
            (".pb.gz", Self::Pprof),
            (".folded", Self::Folded),
            (".svg", Self::FlameGraph),
        ];
        known
            .into_iter()
            .find(|(suffix, _)| name.len() > suffix.len() && name.ends_with(suffix))
            .map(|(_, format)| format)
            .ok_or_else(|| Error::UnknownSuffix {
                path: path.to_owned(),
            })
    }
}

/// A file that a window is written into.
#[derive(Clone, Debug)]
pub struct FileSink {
    path: PathBuf,
    format: Format,
    projection: Projection,
}

impl FileSink {
    /// The file at a path, whose ending says its format. A flame graph shows these frames of machine code;
    /// the other formats keep all, and only pprof has labels.
    pub fn new(path: &Path, span_label: SpanLabel, native: NativeFrames) -> Result<Self, Error> {
        let format = Format::of(path)?;
        let whole = Projection::whole(span_label);
        let projection = match format {
            Format::Pprof => whole,
            Format::Folded => Projection {
                keys: BTreeSet::new(),
                ..whole
            },
            Format::FlameGraph => Projection {
                keys: BTreeSet::new(),
                native,
                ..whole
            },
        };
        Ok(Self {
            path: path.to_owned(),
            format,
            projection,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the profiles of all services into it. What was there before is replaced at once, or stays as
    /// it was.
    pub fn write(&self, profiles: &[Profile]) -> Result<(), Error> {
        let profiles = profiles.iter();
        let profiles: Vec<Projected> = profiles.flat_map(|it| self.projection.of(it)).collect();
        let bytes = match self.format {
            Format::Pprof => gzip(&pprof::encode_merged(&profiles)),
            Format::Folded => Ok(folded(&profiles, DRAWN).into_bytes()),
            Format::FlameGraph => {
                Ok(
                    flame_graph::svg(&profiles, DRAWN).map_err(|source| Error::FlameGraph {
                        path: self.path.clone(),
                        source,
                    })?,
                )
            }
        };
        bytes
            .and_then(|bytes| replace(&self.path, &bytes))
            .map_err(|source| Error::Write {
                path: self.path.clone(),
                source,
            })
    }
}

impl Destination for FileSink {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn take(&mut self, window: &Arc<[Profile]>) -> Result<(), Error> {
        self.write(window)
    }
}

/// The bytes, gzipped.
pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// A file in the same folder is renamed over the old one: only within a file system is that atomic. It follows no
/// link: an agent that runs as root may write to a shared folder.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let file = tempfile::Builder::new()
        .prefix(".spanprof-")
        // As of any file that is created: the process's mask takes away what others may not.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.as_file().write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

    use flate2::read::GzDecoder;
    use prost::Message as _;

    use super::{Error, FileSink, Format};
    use crate::{
        health::Health,
        profile::{
            NativeFrames, SpanLabel, proto,
            samples::{in_child, profiles, sample},
        },
    };

    fn sink(path: &Path) -> FileSink {
        FileSink::new(path, SpanLabel::default(), NativeFrames::default()).unwrap()
    }

    /// Endings choose formats; an unknown ending is refused, and the error lists the known ones.
    #[test]
    fn format_by_suffix() {
        let of = |path: &str| Format::of(Path::new(path));
        assert_eq!(of("/tmp/a.pb.gz").unwrap(), Format::Pprof);
        assert_eq!(of("a.folded").unwrap(), Format::Folded);
        assert_eq!(of("a.b.svg").unwrap(), Format::FlameGraph);
        assert!(of(".svg").is_err());
        let message = of("a.html").unwrap_err().to_string();
        assert!(message.contains(".pb.gz") && message.contains(".folded"));
    }

    /// Each format is written whole, over what was there, and nothing else is left in the folder.
    #[test]
    fn writes_every_format() {
        let folder = tempfile::tempdir().unwrap();
        let samples = [sample(&["work", "main"], in_child())];
        let profiles = profiles(&samples, 10, &Health::default());
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.folded"), "old").unwrap();
        for name in ["a.pb.gz", "a.folded", "a.svg"] {
            sink(&path(name)).write(&profiles).unwrap();
        }
        let mut bytes = Vec::new();
        let compressed = fs::read(path("a.pb.gz")).unwrap();
        GzDecoder::new(compressed.as_slice())
            .read_to_end(&mut bytes)
            .unwrap();
        let message = proto::Profile::decode(bytes.as_slice()).unwrap();
        assert_eq!(message.sample.len(), 1);
        assert_eq!(
            fs::read_to_string(path("a.folded")).unwrap(),
            "main;work 1\n"
        );
        assert!(fs::read_to_string(path("a.svg")).unwrap().contains("<svg"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        // Whoever may read a new file of this process may read those, too.
        fs::write(path("new"), "").unwrap();
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode();
        assert_eq!(mode("a.folded"), mode("new"));
    }

    /// No samples, or a missing folder: a file all the same, or an error that names the path.
    #[test]
    fn empty_and_missing() {
        let folder = tempfile::tempdir().unwrap();
        sink(&folder.path().join("a.svg")).write(&[]).unwrap();
        let missing = folder.path().join("no/a.folded");
        let error = sink(&missing).write(&[]).unwrap_err();
        assert!(matches!(error, Error::Write { .. }));
        assert!(error.to_string().contains("no/a.folded"));
    }
}
