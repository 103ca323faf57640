//! The owner's part of a look: what the memory of a process says of who it is.

use std::sync::Arc;

use super::{interpreter::Interpreter, provider::Providers, service::Said, start::Remembered};
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
    /// Whether its objects were not read yet, since it runs this program.
    pub is_first: bool,
}

/// What was found, each if it was wanted and is new.
#[derive(Debug, Default)]
pub struct OwnerSeen {
    /// What the hook says.
    pub resource: Option<Resource>,
    /// What the interpreter remembers.
    pub remembered: Option<Remembered>,
    /// What the tracer provider says, if that is new.
    pub provider: Option<Said>,
    /// Whether the objects of the interpreter were read.
    pub is_read: bool,
}

impl OwnerLook {
    fn by_interpreter(&self, reading: &mut Reading<'_>, seen: &mut OwnerSeen) -> Option<()> {
        let (memory, process) = (reading.memory, reading.process);
        let main = reading.earlier::<PythonSeen>()?.main_interpreter();
        let interpreter = Interpreter::new(memory, &self.facts, main)?;
        let providers: &mut Providers = reading.kept();
        seen.provider = providers.read(process, &interpreter, self.is_first);
        seen.is_read = true;
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
        // That the hook has not said anything yet is an answer, too.
        let is_asked = self.is_first || self.block.is_some();
        let is_new = seen.provider.is_some() || seen.remembered.is_some();
        (is_asked || is_new).then(|| -> Answer { Box::new(seen) })
    }
}
