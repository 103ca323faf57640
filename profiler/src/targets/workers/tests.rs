use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use super::{GivenUp, Refused, Report, Settings, Workers};

const SETTINGS: Settings = Settings {
    name: "worker",
    deadline: Duration::from_millis(50),
    max_waiting: 3,
    max_abandoned: 2,
};
const PATIENCE: Duration = Duration::from_secs(10);

/// Workers that double numbers; a job with an odd number ends only when the test lets it, and one with 100 panics.
struct Made {
    workers: Workers<u32, u32>,
    reports: Receiver<Report<u32, u32>>,
    let_go: Sender<()>,
}

fn made() -> Made {
    let (sender, reports) = channel();
    let (let_go, gate) = channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let workers = Workers::start(
        SETTINGS,
        move || {
            let gate = Arc::clone(&gate);
            Box::new(move |job: &u32| {
                assert_ne!(*job, 100, "as the test wants it");
                if job % 2 == 1 {
                    gate.lock().unwrap().recv().unwrap();
                }
                2 * job
            })
        },
        move |report| sender.send(report).unwrap(),
    );
    Made {
        workers: workers.unwrap(),
        reports,
        let_go,
    }
}

impl Made {
    fn in_time(&self) -> (u32, u32) {
        match self.reports.recv_timeout(PATIENCE).unwrap() {
            Report::InTime(job, answer) => (job, answer),
            other => panic!("{other:?}"),
        }
    }

    fn late(&self) -> (u32, u32) {
        match self.reports.recv_timeout(PATIENCE).unwrap() {
            Report::Late(job, answer) => (job, answer),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until a job is given up.
    fn given_up(&self) -> Vec<GivenUp<u32>> {
        for _ in 0..1000 {
            let given_up = self.workers.supervise();
            if !given_up.is_empty() {
                return given_up;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("nothing was given up");
    }
}

/// Only the job that blocks is given up: another worker does those that wait behind it, and the blocked job's late
/// result is reported as late.
#[test]
fn another_takes_the_place_of_one_that_blocks() {
    let made = made();
    for job in [2, 1, 4] {
        made.workers.ask(job).unwrap();
    }
    assert_eq!(made.in_time(), (2, 4));
    assert_eq!(made.given_up(), [GivenUp::TooSlow(1)]);
    assert_eq!(made.in_time(), (4, 8));
    made.let_go.send(()).unwrap();
    assert_eq!(made.late(), (1, 2));
    made.workers.ask(6).unwrap();
    assert_eq!(made.in_time(), (6, 12));
}

/// At the bound no job is begun and none waits, until one of those that block returns.
#[test]
fn no_more_are_abandoned_than_may_be() {
    let made = made();
    made.workers.ask(1).unwrap();
    assert_eq!(made.given_up(), [GivenUp::TooSlow(1)]);
    for job in [3, 2] {
        made.workers.ask(job).unwrap();
    }
    assert_eq!(made.given_up(), [GivenUp::TooSlow(3), GivenUp::NoWorker(2)]);
    assert_eq!(made.workers.ask(4), Err(Refused::NoWorker));
    made.let_go.send(()).unwrap();
    let (job, answer) = made.late();
    assert_eq!(answer, 2 * job);
    // The worker reports it before it has returned.
    while made.workers.ask(6).is_err() {
        thread::yield_now();
    }
    assert_eq!(made.in_time(), (6, 12));
}

/// A job at which a worker panics is reported as such, and the worker goes on, however often that happens.
#[test]
fn a_panic_costs_one_job() {
    let made = made();
    for _ in 0..2 * SETTINGS.max_abandoned {
        made.workers.ask(100).unwrap();
        let report = made.reports.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(report, Report::Panicked(100)), "{report:?}");
    }
    assert_eq!(made.workers.supervise(), []);
    made.workers.ask(2).unwrap();
    assert_eq!(made.in_time(), (2, 4));
}

/// The number of waiting jobs is bounded.
#[test]
fn no_more_wait_than_may() {
    let made = made();
    // Perhaps one has begun; three wait.
    let asked: Vec<_> = (0..5).map(|_| made.workers.ask(1)).collect();
    assert_eq!(asked.last(), Some(&Err(Refused::Full)));
    assert_eq!(asked.first(), Some(&Ok(())));
}
