//! The least of an HTTP client: one request a connection.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its service"
)]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::process::DEADLINE;

/// The body of an answer.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the app listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: shop\r\n\r\n").expect("the app reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the app answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    assert!(head.contains(" 200 "), "{path}: {answer}");
    body.to_owned()
}

/// Has so many customers at a time ask for something, with the number of each request; returns when all
/// have been answered.
pub fn load(customers: usize, requests: usize, ask: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..customers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return;
                    }
                    ask(number);
                }
            });
        }
    });
}
