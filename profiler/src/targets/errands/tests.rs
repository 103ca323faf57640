use std::{
    sync::{
        Mutex,
        mpsc::{Sender as Release, channel},
    },
    thread,
    time::Duration,
};

use super::{Brought, Errands, News, Sender};
use crate::{
    health::{Health, Loss},
    id::{Pid, ProcessKey},
    time::monotonic_now,
};

fn process(pid: u32) -> ProcessKey {
    ProcessKey {
        pid: Pid(pid),
        start_time: 1,
    }
}

fn brings(number: u32) -> impl Fn() -> Brought + Send + Sync + 'static {
    move || Box::new(number)
}

/// Work that blocks until something is sent, and then brings 2.
fn blocking() -> (Release<()>, impl Fn() -> Brought + Send + Sync + 'static) {
    let (let_go, gate) = channel();
    let gate = Mutex::new(gate);
    let blocks = move || -> Brought {
        gate.lock().unwrap().recv().unwrap();
        Box::new(2_u32)
    };
    (let_go, blocks)
}

fn number(brought: &Brought) -> u32 {
    *brought.downcast_ref().unwrap()
}

/// News until something is in it that the test waits for.
fn wait_for(errands: &mut Errands, is_it: impl Fn(&News) -> bool) -> News {
    for _ in 0..2000 {
        let news = errands.news();
        if is_it(&news) {
            return news;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not come");
}

/// What is done at once is there at once. A process that blocks makes its sender wait once, and nobody else wait any
/// more: it is given up, and sent no other errand before its own is back; those of others are delivered.
#[test]
fn one_that_blocks_holds_up_nobody() {
    let health = Health::default();
    let mut errands = Errands::start(|| {}, health.clone()).unwrap();
    let at_once = (0..100).find_map(|_| errands.run(process(1), Sender::Table, brings(1)));
    assert_eq!(number(&at_once.unwrap()), 1);
    let (let_go, blocks) = blocking();
    assert!(errands.run(process(2), Sender::Table, blocks).is_none());
    let start = monotonic_now();
    for pid in 3..1000 {
        let place = Sender::Facility(7);
        assert!(errands.run(process(pid), place, brings(pid)).is_none());
    }
    // Each of them alone would have had the patience that one had.
    assert!(start.elapsed() < Duration::from_secs(5));
    let mut delivered = Vec::new();
    let mut blocked = Vec::new();
    while delivered.len() < 997 {
        let news = wait_for(&mut errands, |it| {
            !it.delivered.is_empty() || !it.blocked.is_empty()
        });
        delivered.extend(news.delivered);
        blocked.extend(news.blocked);
    }
    assert_eq!(blocked, [process(2)]);
    assert!(errands.is_blocked(process(2)));
    assert_eq!(health.get(Loss::FilesBlocked), 1);
    for it in &delivered {
        assert_eq!(number(&it.result), it.process.pid.0);
        assert_eq!(it.to, Sender::Facility(7));
    }
    assert!(
        errands
            .run(process(2), Sender::Facility(1), brings(9))
            .is_none()
    );
    let_go.send(()).unwrap();
    let news = wait_for(&mut errands, |it| !it.delivered.is_empty());
    assert_eq!(number(&news.delivered[0].result), 2);
    // For the one that was turned away.
    assert!(news.again.contains(&process(2)));
    assert!(!errands.has(process(2)));
}

/// What a process that runs another program meanwhile has brought is not delivered, and it has no second errand on
/// its way.
#[test]
fn what_is_forgotten_is_not_delivered() {
    let mut errands = Errands::start(|| {}, Health::default()).unwrap();
    let (let_go, blocks) = blocking();
    assert!(errands.run(process(2), Sender::Table, blocks).is_none());
    errands.forget(process(2));
    assert!(errands.has(process(2)));
    assert!(errands.run(process(2), Sender::Table, brings(3)).is_none());
    let_go.send(()).unwrap();
    let news = wait_for(&mut errands, |it| !it.again.is_empty());
    assert!(news.delivered.is_empty());
    assert!(!errands.has(process(2)));
}
