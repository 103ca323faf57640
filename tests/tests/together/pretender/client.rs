//! One request on a separate connection, and its answer as received.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use flate2::read::GzDecoder;
use profiler::time::monotonic_now;
use serde_json::Value;
use tests::process::DEADLINE;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    /// Bytes of the body as it came.
    pub(super) length: usize,
    /// The body, decompressed.
    pub(super) body: String,
    pub(super) took: Duration,
}

impl Answer {
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// A text of the error that the answer is.
    pub(super) fn error(&self, field: &str) -> String {
        let json = self.json().unwrap_or_default();
        json[field].as_str().unwrap_or_default().to_owned()
    }
}

/// Asks a server (`host:port`).
pub(super) fn ask(
    server: &str,
    method: &str,
    path: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> Answer {
    let start = monotonic_now();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let fields = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let fields: String = fields.collect();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let took = start.elapsed();
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_lowercase(), value.trim().to_owned())
    });
    let headers: BTreeMap<_, _> = headers.collect();
    let joined;
    let body = if headers.contains_key("transfer-encoding") {
        joined = dechunked(body);
        &joined
    } else {
        body
    };
    let mut plain = String::new();
    match headers.get("content-encoding").map(String::as_str) {
        Some("gzip") => GzDecoder::new(body).read_to_string(&mut plain).unwrap(),
        _ => (&mut &body[..]).read_to_string(&mut plain).unwrap(),
    };
    Answer {
        status: status.unwrap(),
        headers,
        length: body.len(),
        body: plain,
        took,
    }
}

/// A body that came in chunks, as Go sends long ones.
fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    loop {
        let end = body.windows(2).position(|it| it == b"\r\n").unwrap();
        let size = str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return joined;
        }
        joined.extend(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
    }
}
