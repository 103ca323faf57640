//! The workers that read what may make them wait: files, and the memory of processes.

use std::{io, sync::mpsc::SyncSender};

use super::shared::ControlMessage;
use crate::{
    health::Health,
    rights::{Thread, keep_for},
    targets::{
        errands::Errands,
        look::looks::Looks,
        symbols::{self, FileSymbols, Unnamed, Wanted},
        workers::{Report, Work, Workers},
    },
};

/// The workers that read the symbols of files.
pub(super) type SymbolWorkers = Workers<Wanted, FileSymbols>;

/// Starts the first worker that reads the symbols of files.
pub(super) fn symbol_workers(read: SyncSender<(Wanted, FileSymbols)>) -> io::Result<SymbolWorkers> {
    let begin = || -> Work<Wanted, FileSymbols> {
        keep_for(Thread::Looker);
        Box::new(symbols::read)
    };
    Workers::start(symbols::WORKERS, begin, move |report| {
        let (wanted, symbols) = match report {
            // It is of a file, not of a moment: what comes late is as right as what comes in time.
            Report::InTime(wanted, symbols) | Report::Late(wanted, symbols) => (wanted, symbols),
            Report::Panicked(wanted) => (wanted, FileSymbols::unnamed(Unnamed::Malformed)),
        };
        // If the session is over, nothing receives it.
        let _ = read.send((wanted, symbols));
    })
}

/// Starts the workers that read files and command lines.
pub(super) fn start_errands(health: &Health) -> io::Result<Errands> {
    Errands::start(|| keep_for(Thread::Looker), health.clone())
}

/// Starts the workers that look at processes; the control plane hears what they find.
pub(super) fn start_looks(found: SyncSender<ControlMessage>, health: &Health) -> io::Result<Looks> {
    let tell = move |look| {
        // The control plane is gone if the session is over.
        let _ = found.send(ControlMessage::Look(look));
    };
    Looks::start(|| keep_for(Thread::Looker), tell, health.clone())
}
