//! Looking at the files of a process that were not looked at yet.

use std::sync::Arc;

use super::{Known, MAX_FILES, Targets, files::FilesRead};
use crate::{
    id::ProcessKey,
    targets::{Mapping, errands::Sender, facility::Why, mappings, procfs},
    time::BootNanos,
};

/// A process whose mappings were read just now.
struct Examined {
    known: Known,
    mappings: Vec<Mapping>,
    /// Whether it takes the place of whatever had its pid.
    is_new: bool,
}

impl Targets {
    /// Looks at the files of those processes whose time has come.
    pub(super) fn examine_due(&mut self, now: BootNanos) {
        let is_due = |known: &&Known| known.due.at().is_some_and(|due| due <= now);
        let due: Vec<ProcessKey> = self
            .processes
            .values()
            .filter(is_due)
            .map(Known::process)
            .collect();
        for process in due {
            if procfs::stat(process.pid).is_none_or(|stat| stat.process != process) {
                self.forget(process.pid);
                continue;
            }
            if let Some(known) = self.processes.get_mut(&process.pid) {
                known.due.done(now);
            }
            self.examine(process, now);
        }
    }

    /// Looks at the files of a process that were not looked at yet. What is not read at once follows.
    pub(super) fn examine(&mut self, process: ProcessKey, now: BootNanos) {
        let Some(examined) = self.read_mappings(process, now) else {
            return;
        };
        if examined.is_new {
            self.facilities.errands.forget(process);
        }
        let unread: Vec<Mapping> = examined.unread().cloned().collect();
        let read = if unread.is_empty() {
            None
        } else {
            let files = self.files.clone();
            let errands = &mut self.facilities.errands;
            errands.run(process, Sender::Table, move || {
                Box::new(files.read(process.pid, &unread))
            })
        };
        let read = read.and_then(|read| read.downcast().ok());
        self.place(
            examined,
            &read.map_or_else(FilesRead::default, |read| *read),
        );
    }

    /// Takes over files of a process that were not read at once.
    pub(super) fn take_files(&mut self, process: ProcessKey, read: &FilesRead, now: BootNanos) {
        if let Some(examined) = self.read_mappings(process, now) {
            let has_more = examined.unread().any(|it| read.get(it.file).is_none());
            self.place(examined, read);
            let known = self.processes.get_mut(&process.pid);
            if let Some(known) = known.filter(|_| has_more) {
                known.due.soon(now);
            }
        }
    }

    /// `None` if it is gone, or a kernel thread, which maps nothing.
    fn read_mappings(&self, process: ProcessKey, now: BootNanos) -> Option<Examined> {
        let mapped = mappings::read_all(process.pid).ok()?;
        mapped.all().next()?;
        let known = self.processes.get(&process.pid).cloned();
        // An exec whose notice was lost: nothing of the interpreter's file is mapped any more.
        let still = |known: &Known| {
            let interpreter = known.target().interpreter.as_ref();
            interpreter.is_none_or(|it| mapped.all().any(|mapping| mapping.file == it.file))
        };
        let known = known.filter(|known| known.process() == process && still(known));
        let is_new = known.is_none();
        let mut known = known.unwrap_or_else(|| Known::new(process));
        if *known.target().mappings != *mapped.executable {
            known.change().mappings = Arc::from(mapped.executable.as_slice());
        }
        known.refreshed = now;
        Some(Examined {
            known,
            mappings: mapped.all().cloned().collect(),
            is_new,
        })
    }

    /// Places what was read in the process, and puts that into the table.
    fn place(&mut self, examined: Examined, read: &FilesRead) {
        let Examined {
            mut known,
            mappings,
            is_new,
        } = examined;
        let pid = known.pid();
        let mut is_recognised = false;
        for mapping in &mappings {
            is_recognised |= self.place_file(&mut known, mapping, read);
        }
        self.facilities.mapped(&mut known);
        if !known.is_profiled() && self.facilities.whole_host {
            // The addresses of what is not profiled are never needed.
            known.change().mappings = Arc::from([]);
        }
        if is_new && (self.processes.contains_key(&pid) || !known.is_profiled()) {
            // What the kernel knows about this pid, if anything, is of another program.
            self.tell_gone(pid);
        }
        // What belongs to a file may not be in the process's memory yet, and will be soon.
        let why = if is_recognised {
            known.looks.begin_anew();
            Why::NotYet
        } else {
            Why::Imports
        };
        self.insert(pid, known, is_new);
        self.ask(pid, why);
        self.tell(pid);
    }

    /// Whether a facility has recognised the file, if it was read and is new in this process.
    fn place_file(&mut self, known: &mut Known, mapping: &Mapping, read: &FilesRead) -> bool {
        let Some(file) = read.get(mapping.file) else {
            return false;
        };
        if known.seen.len() >= MAX_FILES || !known.seen.insert(mapping.file) {
            return false;
        }
        let facts = file.as_ref().ok().map(|(_, facts)| facts);
        let is_recognised = facts.is_some_and(|facts| facts.iter().any(Option::is_some));
        if facts.is_some() && !is_recognised {
            self.discovery.remember_plain(mapping.file);
        }
        let file = file.as_ref().map(|(state, facts)| (*state, facts));
        if !self.facilities.place(known, mapping, file) {
            known.seen.remove(&mapping.file);
        }
        is_recognised
    }
}

impl Examined {
    /// The mappings whose files were not looked at yet.
    fn unread(&self) -> impl Iterator<Item = &Mapping> {
        let seen = &self.known.seen;
        let room = MAX_FILES.saturating_sub(seen.len());
        let is_unread = |it: &&Mapping| it.file.inode != 0 && !seen.contains(&it.file);
        self.mappings.iter().filter(is_unread).take(room)
    }
}
