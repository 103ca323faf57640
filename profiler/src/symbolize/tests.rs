//! Native frames whose files are read meanwhile.

use std::sync::Arc;

use profiler_common::outcome::Outcome;

use super::{NamedSample, Settings, Symbolizer};
use crate::{
    events::{Sample, SpanStamp, Stack},
    health::{Health, Loss},
    id::{Pid, ProcessKey, Tid},
    join::{Attribution, SpanSample},
    targets::{
        FileId, Mapping, SpansSeen, Target, mappings,
        symbols::{FileSymbols, Unnamed, Wanted, read},
    },
    time::BootNanos,
};

const SECOND: u64 = 1_000_000_000;

fn process() -> ProcessKey {
    ProcessKey {
        pid: Pid(std::process::id()),
        start_time: 1,
    }
}

/// A symbolizer that profiles this very process, and some more mappings.
struct Stage {
    symbolizer: Symbolizer,
    target: Arc<Target>,
    health: Health,
}

impl Stage {
    fn new(more: &[Mapping]) -> Self {
        let mut mappings = mappings::read(process().pid).unwrap();
        mappings.extend_from_slice(more);
        mappings.sort_by_key(|mapping| mapping.addresses.start);
        let target = Target {
            process: process(),
            service: Arc::default(),
            container: None,
            mappings: mappings.into(),
            interpreter: None,
            spans: SpansSeen::Never,
            unread_spans: [].into(),
        };
        let health = Health::default();
        Self {
            symbolizer: Symbolizer::new(Settings { max_codes: 16 }, health.clone()),
            target: Arc::new(target),
            health,
        }
    }

    /// Samples code at an address.
    fn sample(&mut self, address: u64) -> Option<NamedSample> {
        let sample = Sample {
            time: BootNanos(0),
            process: process(),
            tid: Tid(1),
            measure: crate::measure::Measure::cpu(1),
            thread_name: crate::events::ThreadName::default(),
            stack: Stack {
                kernel: vec![],
                native: vec![address],
                native_outcome: Outcome::Complete,
                python: vec![],
                python_gap: 0,
                python_outcome: Outcome::NotPython,
            },
            python_frames_omitted: 0,
            span: SpanStamp::None,
        };
        let sample = SpanSample {
            sample,
            attribution: Attribution::NoSpan,
        };
        self.symbolizer.symbolize(sample, &self.target)
    }

    fn turn(&mut self, seconds: u64) -> Vec<String> {
        self.symbolizer.turn(BootNanos(seconds * SECOND));
        let named = self.symbolizer.take_waiting();
        named.iter().map(name).collect()
    }

    fn wanted(&mut self) -> Vec<Wanted> {
        self.symbolizer.take_wanted()
    }

    fn lost(&self, loss: Loss) -> u64 {
        self.health.get(loss)
    }
}

fn name(sample: &NamedSample) -> String {
    sample.stack[0].name.to_string()
}

fn address() -> u64 {
    Stage::new as fn(&[Mapping]) -> Stage as usize as u64
}

/// A mapping of a file that does not exist, at an address that is not used.
fn elsewhere(inode: u64) -> Mapping {
    Mapping {
        addresses: 0x1000..0x2000,
        file_offset: 0,
        file: FileId { device: 0, inode },
        is_executable: true,
        path: "/srv/libfar.so".into(),
    }
}

/// The first samples in a file wait for its symbols and get them; later ones do not wait.
#[test]
fn samples_wait_for_their_file() {
    let mut stage = Stage::new(&[]);
    assert_eq!(stage.turn(1), [""; 0]);
    assert_eq!(stage.sample(address()), None);
    assert_eq!(stage.sample(address()), None);
    let wanted = stage.wanted();
    assert_eq!(wanted.len(), 1);
    assert_eq!(stage.turn(2), [""; 0]);
    assert!(stage.symbolizer.is_waiting());
    stage.symbolizer.learn_symbols(&wanted[0], read(&wanted[0]));
    let names = stage.turn(3);
    assert_eq!(names.len(), 2);
    assert!(
        names[0].contains("Stage::new") || names[0].contains("Stage>::new"),
        "{names:?}"
    );
    assert!(!stage.symbolizer.is_waiting());
    assert_eq!(
        stage.sample(address()).as_ref().map(name),
        Some(names[0].clone())
    );
    assert_eq!(
        (stage.wanted(), stage.health.table()),
        (vec![], String::new())
    );
}

/// A file that is not read in time costs names, each counted, and samples do not wait for it twice; when it comes, it
/// is used.
#[test]
fn late_files() {
    let mut stage = Stage::new(&[]);
    stage.turn(1);
    assert_eq!(stage.sample(address()), None);
    assert_eq!(stage.turn(3), [""; 0]);
    let names = stage.turn(4);
    assert!(names[0].contains("+0x"), "{names:?}");
    assert_eq!(stage.lost(Loss::NativeLate), 1);
    assert_eq!(
        stage.sample(address()).as_ref().map(name),
        Some(names[0].clone())
    );
    assert_eq!(stage.lost(Loss::NativeLate), 2);
    let wanted = stage.wanted();
    assert_eq!(wanted.len(), 1);
    stage.symbolizer.learn_symbols(&wanted[0], read(&wanted[0]));
    let sample = stage.sample(address()).unwrap();
    assert!(sample.stack[0].is_named);
    assert_eq!(stage.lost(Loss::NativeLate), 2);
}

/// A file that cannot be read is tried again after a while, without waiting, and each frame is counted by its reason.
#[test]
fn files_that_cannot_be_read() {
    let mut stage = Stage::new(&[elsewhere(7)]);
    stage.turn(1);
    assert_eq!(stage.sample(0x1500), None);
    let wanted = stage.wanted();
    stage
        .symbolizer
        .learn_symbols(&wanted[0], FileSymbols::unnamed(Unnamed::Unreadable));
    assert_eq!(stage.turn(2), ["libfar.so+0x500"]);
    assert_eq!(
        stage.sample(0x1500).as_ref().map(name).as_deref(),
        Some("libfar.so+0x500")
    );
    assert_eq!(stage.wanted(), []);
    stage.turn(12);
    assert!(stage.sample(0x1500).is_some());
    assert_eq!(stage.wanted(), wanted);
    assert_eq!(stage.lost(Loss::NativeUnreadable), 3);
    stage
        .symbolizer
        .learn_symbols(&wanted[0], FileSymbols::unnamed(Unnamed::TooLarge));
    assert!(stage.sample(0x1500).is_some());
    assert_eq!(stage.lost(Loss::NativeTooLarge), 1);
    stage.turn(100);
    assert!(stage.sample(0x1500).is_some());
    assert_eq!(
        (stage.wanted(), stage.lost(Loss::NativeTooLarge)),
        (vec![], 2)
    );
}

/// Samples in code that is in no file do not wait.
#[test]
fn code_made_at_run_time() {
    let mut stage = Stage::new(&[elsewhere(0)]);
    assert!(stage.sample(0x1500).is_some());
    assert!(stage.sample(0x1500).is_some());
    assert_eq!(
        (stage.wanted(), stage.lost(Loss::NativeNoFile)),
        (vec![], 2)
    );
}

/// However many samples wait, memory is bounded: those beyond the bound lose their names, but no sample is lost.
#[test]
fn too_many_wait() {
    let mut stage = Stage::new(&[]);
    stage.turn(1);
    let at_once = (0..20_000).filter_map(|_| stage.sample(address())).count();
    assert_eq!(at_once, 20_000 - 16_384);
    assert_eq!(stage.lost(Loss::NativeNotAwaited), at_once as u64);
    assert_eq!(stage.lost(Loss::NativeLate), 0);
    assert_eq!(stage.turn(5).len(), 16_384);
}
