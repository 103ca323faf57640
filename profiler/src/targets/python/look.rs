//! What only the memory of a process says about its CPython.

use std::sync::Arc;

use super::{
    detect::Facts,
    globals::Globals,
    interpreters::Interpreters,
    thread_local::{Place, ThreadLocal, Unresolved, fits, resolve},
};
use crate::{
    kernel::InterpreterId,
    targets::look::{Answer, Part, Reading},
};

/// CPython's part of a look.
#[derive(Clone, Debug)]
pub struct PythonLook {
    /// What the file of the interpreter says.
    pub facts: Arc<Facts>,
    /// What was added to the file's addresses.
    pub bias: u64,
    /// How the interpreter reaches the thread-local with a thread's state, if where that lies is to be found out; and
    /// whether its libc is musl.
    pub thread_local: Option<(ThreadLocal, bool)>,
    /// The main interpreter that was found at the last look, and where it counts code objects: 0 if that is not known.
    pub counted: (u64, u64),
}

/// What the memory tells.
#[derive(Clone, Debug, Default)]
pub struct PythonSeen {
    /// Where the interpreter's global objects are; `None` if its loader has not put them there yet.
    pub globals: Option<Globals>,
    /// The interpreters of the process.
    pub interpreters: Vec<InterpreterId>,
    /// Where it counts the code objects it makes; 0 if that is not known.
    pub code_count: u64,
    /// Where the thread-local lies, if that was to be found out; or why it is not known yet.
    pub thread_local: Option<Result<Place, Unresolved>>,
}

impl PythonSeen {
    /// Address of the main interpreter; 0 if that is not known.
    pub fn main_interpreter(&self) -> u64 {
        let main = self.interpreters.iter().find(|it| it.id == 0);
        main.map_or(0, |it| it.address)
    }
}

impl PythonLook {
    /// Where the thread-local lies, if its place fits the threads that are there.
    fn place(
        &self,
        reading: &Reading<'_>,
        interpreters: &[InterpreterId],
    ) -> Option<Result<Place, Unresolved>> {
        let memory = reading.memory;
        let (thread_local, is_musl) = self.thread_local?;
        let addresses: Vec<u64> = interpreters.iter().map(|it| it.address).collect();
        let place = resolve(thread_local, self.bias, is_musl, memory);
        Some(place.and_then(|place| {
            let fits = fits(memory, &self.facts.layout, &addresses, place);
            fits.then_some(place).ok_or(Unresolved::Misfit)
        }))
    }

    /// `None` if the process changes too fast: what was found last stands.
    fn read(&self, reading: &Reading<'_>) -> Option<PythonSeen> {
        let globals = Globals::read(reading.memory, &self.facts, self.bias);
        let globals = globals.inspect_err(|which| {
            let pid = reading.process.pid;
            tracing::debug!(%pid, which, "an object of the interpreter is not where its loader says");
        });
        let Ok(globals) = globals else {
            return Some(PythonSeen::default());
        };
        let memory = Interpreters {
            memory: reading.memory,
            facts: &self.facts,
            globals,
            bias: self.bias,
        };
        let interpreters = memory.all()?;
        let mut seen = PythonSeen {
            globals: Some(globals),
            code_count: 0,
            thread_local: self.place(reading, &interpreters),
            interpreters,
        };
        let main = seen.main_interpreter();
        seen.code_count = match self.counted {
            (before, count) if before == main && count != 0 => count,
            _ => memory.code_count(main).unwrap_or(0),
        };
        Some(seen)
    }
}

impl Part for PythonLook {
    fn read(&self, reading: &mut Reading<'_>) -> Option<Answer> {
        self.read(reading).map(|seen| -> Answer { Box::new(seen) })
    }
}
