//! Which code objects are an event loop's turn.
//!
//! In a thread that runs an event loop the span stack says which spans are open, not which task is
//! running: a sample under the loop's turn is never attributed by it.

use std::collections::{HashMap, HashSet};

use crate::{
    events::{Code, CodeId, PythonFrame, PythonString},
    id::{Pid, ProcessKey},
};

/// Turns kept for one process: a process has one or two.
const MAX_TURNS: usize = 64;

/// Code objects that are an event loop's turn, by process.
#[derive(Debug, Default)]
pub(super) struct EventLoops {
    /// By pid, with the start time of the process.
    turns: HashMap<Pid, (u64, HashSet<CodeId>)>,
}

impl EventLoops {
    /// Looks whether a code object is `asyncio.base_events.BaseEventLoop._run_once`.
    pub(super) fn learn(&mut self, code: &Code) {
        let name = latin1(&code.name);
        if name != "_run_once" && name != "BaseEventLoop._run_once" {
            return;
        }
        if latin1(&code.file).ends_with("asyncio/base_events.py") {
            let ProcessKey { pid, start_time } = code.process;
            let (start, turns) = self.turns.entry(pid).or_default();
            if *start != start_time {
                (*start, *turns) = (start_time, HashSet::new());
            }
            if turns.len() < MAX_TURNS {
                turns.insert(code.id);
            }
        }
    }

    /// Whether a stack is under an event loop's turn.
    pub(super) fn are_on(&self, process: ProcessKey, stack: &[PythonFrame]) -> bool {
        let turns = self.turns.get(&process.pid);
        turns.is_some_and(|(start, turns)| {
            *start == process.start_time && stack.iter().any(|frame| turns.contains(&frame.code))
        })
    }

    /// Forgets a process.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.turns.remove(&pid);
    }
}

/// The string if its characters are Latin-1, which covers the names looked for; empty elsewhere.
fn latin1(string: &PythonString) -> String {
    if string.kind != 1 {
        return String::new();
    }
    string.bytes.iter().map(|&byte| char::from(byte)).collect()
}
