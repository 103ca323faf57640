//! A facility that a test adds: where a process has the libc of GNU. It shows what one has to write, and that the
//! table of processes does not have to know of it.

use std::sync::Arc;

use super::{
    Targets,
    elf::Segment,
    facilities::{Settings, all},
    facility::{Desk, Facility, Found, Next, Placement, Recognise, Why},
    look::{Answer, Looker, Part, Reading},
    opentelemetry::Context,
    python::{live::interpreters, place::load_bias},
    registry::Known,
    tests::{Spawned, all_of, errands, notice, only},
};
use crate::{events::ProcessChange, health::Health, id::Pid, kernel::NoKernel};

/// Of a file: where its `gnu_get_libc_version` is, and its segments.
struct Libc {
    version: u64,
    segments: Vec<Segment>,
}

/// Of a process: where that function is, its first bytes, and what was told of it.
#[derive(Clone, Copy, Debug, Default)]
struct Placed {
    address: u64,
    code: [u8; 4],
    told: u64,
}

/// What a worker reads: the first bytes of the function at this address.
struct CodeLook(u64);

impl Part for CodeLook {
    fn read(&self, reading: &mut Reading<'_>) -> Option<Answer> {
        let mut code = [0; 4];
        let is_read = reading.memory.fill(self.0, &mut code);
        is_read.then(|| -> Answer { Box::new(code) })
    }
}

struct Toy;

impl Facility for Toy {
    fn recognise(&self) -> Recognise {
        |elf| {
            let [version] = elf.dynamic_symbols(["gnu_get_libc_version"]).ok()?;
            Some(Arc::new(Libc {
                version: version?.address,
                segments: elf.segments().to_vec(),
            }))
        }
    }

    fn place(&mut self, process: &mut Known, found: &Found<'_>, _: &mut Desk<'_>) -> Placement {
        let Some(libc) = found.facts::<Libc>() else {
            return Placement::Done;
        };
        let Some(bias) = load_bias(&libc.segments, found.mapping) else {
            return Placement::OtherMapping;
        };
        process.keep::<Placed>().address = libc.version.wrapping_add(bias);
        Placement::Done
    }

    fn look(&self, process: &Known, _: Why) -> Option<Arc<dyn Part>> {
        let placed = process.kept::<Placed>()?;
        Some(Arc::new(CodeLook(placed.address)))
    }

    fn learn(&mut self, process: &mut Known, answer: Answer, _: &mut Desk<'_>) -> Next {
        if let Ok(code) = answer.downcast() {
            process.keep::<Placed>().code = *code;
        }
        Next::Unchanged
    }

    fn tell(&mut self, process: &mut Known, _: &mut Desk<'_>) {
        if let Some(placed) = process.kept_mut::<Placed>() {
            placed.told = placed.address;
        }
    }
}

/// The control plane of one process, with all facilities and the toy.
fn with_toy(pid: Pid) -> Targets {
    let mut facilities = all(Settings::default());
    facilities.push(Box::new(Toy));
    Targets::new(
        all_of(only(vec![pid])),
        facilities,
        Box::new(NoKernel),
        Health::default(),
        errands(&Health::default()),
    )
}

/// A facility that is added to the table recognises a library, places it in a process, has its part in the look at that
/// process and its turn to tell; what it keeps is the process's own.
#[test]
fn facilities_are_added() {
    let python = interpreters().pop().unwrap();
    let child = Spawned::python(&python);
    let mut targets = with_toy(child.pid());
    let requests = targets.take_requests();
    assert_eq!(requests.len(), 1);
    targets.answer(Looker::default().look(&requests[0]).unwrap());
    let known = targets.known().next().unwrap();
    let placed = *known.kept::<Placed>().unwrap();
    let mapping = known.target().mapping(placed.address).unwrap();
    assert!(mapping.path.contains("libc"), "{mapping:?}");
    assert_eq!(placed.told, placed.address);
    assert_ne!(placed.code, [0; 4]);
    // The facilities before it have learnt what is theirs from the same look.
    assert!(known.kept::<Context>().unwrap().recipe.is_some());
}

/// What a look has found in a program is not taken over if the process runs another one since.
#[test]
fn an_exec_outdates_a_look() {
    let python = interpreters().pop().unwrap();
    let child = Spawned::python(&python);
    let mut targets = with_toy(child.pid());
    let requests = targets.take_requests();
    let seen = Looker::default().look(&requests[0]).unwrap();
    targets.notice(notice(child.pid(), ProcessChange::Exec));
    targets.answer(seen);
    let known = targets.known().next().unwrap();
    assert!(known.kept::<Placed>().is_none());
}
