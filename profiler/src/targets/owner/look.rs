//! The owner's part of a look: what the memory of a process says of who it is.

use std::sync::Arc;

use super::{interpreter::Interpreter, start::Remembered};
use crate::{
    events::Resource,
    targets::{
        hook::process_block::ProcessBlock,
        look::{Answer, Part, Reading},
        python::{detect::Facts, look::PythonSeen},
    },
};

/// What is wanted.
pub struct OwnerLook {
    /// Where the hook says more than it has told.
    pub block: Option<ProcessBlock>,
    /// What the file of the interpreter says.
    pub facts: Arc<Facts>,
    /// Whether it is to be asked how it was started.
    pub is_start_wanted: bool,
}

/// What was found, each if it was wanted and is new.
#[derive(Debug, Default)]
pub struct OwnerSeen {
    /// What the hook says.
    pub resource: Option<Resource>,
    /// What the interpreter remembers.
    pub remembered: Option<Remembered>,
}

impl OwnerLook {
    fn by_interpreter(&self, reading: &mut Reading<'_>, seen: &mut OwnerSeen) -> Option<()> {
        let memory = reading.memory;
        let main = reading.earlier::<PythonSeen>()?.main_interpreter();
        let interpreter = Interpreter::new(memory, &self.facts, main)?;
        if self.is_start_wanted {
            seen.remembered = Some(Remembered::read(&interpreter));
        }
        Some(())
    }
}

impl Part for OwnerLook {
    fn read(&self, reading: &mut Reading<'_>) -> Option<Answer> {
        let block = self.block;
        let resource = block.and_then(|it| it.resource(reading.memory, reading.process.pid));
        let mut seen = OwnerSeen {
            resource,
            ..OwnerSeen::default()
        };
        self.by_interpreter(reading, &mut seen);
        Some(Box::new(seen))
    }
}
