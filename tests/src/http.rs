//! The least of an HTTP client: one request a connection.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its service"
)]

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

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

/// The answer in JSON to a question in JSON.
///
/// # Errors
/// If there is no answer, or one other than 200 with JSON.
pub fn post_json(address: SocketAddr, path: &str, question: &Value) -> Result<Value, String> {
    let failed = |error: io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(failed)?;
    let body = question.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if !head.contains(" 200 ") {
        return Err(format!("{path}: {answer}"));
    }
    serde_json::from_str(body).map_err(|error| format!("{path}: {error}: {body}"))
}

/// Makes requests from this many customers at a time, each with its number; returns when all have been
/// answered.
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
