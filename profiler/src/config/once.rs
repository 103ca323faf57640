//! What `record` and `doctor` are to do, which read no file of settings.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, time::Duration};

use super::Sampling;
use crate::{
    cli::{DoctorArguments, RecordArguments},
    id::Pid,
    profile::NativeFrames,
};

/// How long to record where neither a duration nor a command is given.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// What `record` is to do.
#[derive(Clone, Debug)]
pub struct RecordConfig {
    /// What is recorded.
    pub subject: Subject,
    /// How long; `None`: until the command ends.
    pub duration: Option<Duration>,
    /// How samples are taken.
    pub sampling: Sampling,
    /// Files to write.
    pub outputs: Vec<PathBuf>,
    /// Which frames of machine code a flame graph shows.
    pub native: NativeFrames,
    /// The share of samples in spans, in percent, below which it fails.
    pub min_coverage: Option<f64>,
    /// Where the records of the kernel programs are kept, if at all.
    pub keep_records: Option<PathBuf>,
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every CPython process of the host.
    Host,
    /// These processes, and those that they fork.
    Processes(Vec<Pid>),
    /// A command, from its first instruction.
    Command {
        /// What is started.
        program: OsString,
        /// What it is given.
        arguments: Vec<OsString>,
    },
}

impl RecordConfig {
    /// From flags and environment, which are checked already.
    pub fn from_arguments(arguments: RecordArguments) -> Self {
        let mut words = arguments.program.into_iter();
        let subject = match words.next() {
            Some(program) => Subject::Command {
                program,
                arguments: words.collect(),
            },
            None if arguments.pids.is_empty() => Subject::Host,
            None => Subject::Processes(arguments.pids.into_iter().map(Pid).collect()),
        };
        let duration = match subject {
            Subject::Command { .. } => arguments.duration,
            Subject::Host | Subject::Processes(_) => arguments.duration.or(Some(DEFAULT_DURATION)),
        };
        Self {
            subject,
            duration,
            sampling: Sampling::from(&arguments.sampling),
            outputs: arguments.outputs,
            native: arguments.native.into(),
            min_coverage: arguments.min_coverage,
            keep_records: arguments.keep_records,
        }
    }
}

/// What `doctor` is to do.
#[derive(Clone, Debug)]
pub struct DoctorConfig {
    /// The processes to look at; none: every CPython process.
    pub pids: BTreeSet<Pid>,
    /// How long samples are taken, if any are.
    pub sample: Option<Duration>,
    /// How samples are taken.
    pub sampling: Sampling,
    /// Whether it answers in JSON.
    pub json: bool,
}

impl DoctorConfig {
    /// From flags and environment, which are checked already.
    pub fn from_arguments(arguments: &DoctorArguments) -> Self {
        Self {
            pids: arguments.pids.iter().copied().map(Pid).collect(),
            sample: (!arguments.no_sample).then_some(arguments.sample),
            sampling: Sampling::from(&arguments.sampling),
            json: arguments.json,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;

    use super::{DoctorConfig, RecordConfig, Subject};
    use crate::{
        cli::{Cli, Command},
        id::Pid,
    };

    fn record(words: &[&str]) -> RecordConfig {
        let words = ["spanprof", "record"].iter().chain(words);
        let Command::Record(arguments) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not record")
        };
        RecordConfig::from_arguments(arguments)
    }

    /// A command is recorded until it ends, everything else for ten seconds, unless a duration is given.
    #[test]
    fn subjects_and_durations() {
        let command = record(&["--", "python", "--pid"]);
        let subject = Subject::Command {
            program: "python".into(),
            arguments: vec!["--pid".into()],
        };
        assert_eq!((command.subject, command.duration), (subject, None));
        let host = record(&[]);
        let ten = Some(Duration::from_secs(10));
        assert_eq!((host.subject, host.duration), (Subject::Host, ten));
        let pids = record(&["--pid", "7", "--pid", "8", "--duration", "2s"]);
        let subject = Subject::Processes(vec![Pid(7), Pid(8)]);
        let two = Some(Duration::from_secs(2));
        assert_eq!((pids.subject, pids.duration), (subject, two));
        let both = record(&["--duration", "2s", "--", "python"]);
        assert_eq!(both.duration, two);
    }

    /// No samples are none, however long they would have been taken.
    #[test]
    fn doctor_samples() {
        let doctor = |words: &[&str]| {
            let words = ["spanprof", "doctor"].iter().chain(words);
            let Command::Doctor(arguments) = Cli::try_parse_from(words).unwrap().command else {
                panic!("not doctor")
            };
            DoctorConfig::from_arguments(&arguments)
        };
        assert_eq!(doctor(&[]).sample, Some(Duration::from_secs(1)));
        assert_eq!(doctor(&["--no-sample"]).sample, None);
    }
}
