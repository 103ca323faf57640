//! Notices of files that are mapped to be executed: a library that a process loads long after its
//! start is seen at once, without looking at every process again and again.
//!
//! They come from perf's side band (`PERF_RECORD_MMAP2`), which costs a process nothing when it maps
//! data, and next to nothing when it maps code.

use std::io;

use perf_event::{Builder, Sampler, data::Record, events::Software};

use super::cpus;
use crate::id::Pid;

/// Bytes of each CPU's ring: more than a thousand notices.
const RING: usize = 256 << 10;
/// Records taken off one ring in one go.
const BATCH: usize = 16_384;

/// A file was mapped to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// By which process.
    pub pid: Pid,
    /// The file's device number (major << 20 | minor).
    pub device: u64,
    /// The file's inode number.
    pub inode: u64,
}

/// The rings, one for each CPU.
pub struct MappingNotices {
    rings: Vec<Sampler>,
}

impl MappingNotices {
    /// Starts listening.
    pub fn open() -> io::Result<Self> {
        let cpus = cpus::online()?;
        let mut rings = Vec::with_capacity(cpus.len());
        for cpu in cpus {
            let cpu = usize::try_from(cpu).unwrap_or(0);
            let counter = Builder::new(Software::DUMMY)
                .any_pid()
                .one_cpu(cpu)
                .include_kernel()
                .mmap(true)
                .mmap2(true)
                .enabled(true)
                .build()?;
            rings.push(counter.sampled(RING)?);
        }
        Ok(Self { rings })
    }

    /// Takes what has come since the last time; how many notices were lost because the agent did not take them in time.
    pub fn drain(&mut self, mut take: impl FnMut(Mapped)) -> u64 {
        let mut lost = 0;
        for ring in &mut self.rings {
            for _ in 0..BATCH {
                let Some(record) = ring.next_record() else {
                    break;
                };
                match record.parse_record() {
                    Ok(Record::Mmap2(mapped)) => {
                        let (Some(major), Some(minor)) = (mapped.maj(), mapped.min()) else {
                            continue;
                        };
                        // What is not a file's, such as code made at run time, is of no interest.
                        if let Some(inode) = mapped.ino().filter(|&inode| inode != 0) {
                            take(Mapped {
                                pid: Pid(mapped.pid),
                                device: u64::from(major) << 20 | u64::from(minor),
                                inode,
                            });
                        }
                    }
                    Ok(Record::Lost(it)) => lost += it.lost,
                    Ok(_) => {}
                    Err(_) => lost += 1,
                }
            }
        }
        lost
    }
}
