//! A server that profiles are pushed to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use prost::Message;

use crate::pprof::{self, Row};

/// The parts of `push.v1.PushRequest` that benchmarks need.
#[derive(Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<RawProfileSeries>,
}

#[derive(Message)]
struct RawProfileSeries {
    #[prost(message, repeated, tag = "2")]
    samples: Vec<RawSample>,
}

#[derive(Message)]
struct RawSample {
    #[prost(bytes = "vec", tag = "1")]
    raw_profile: Vec<u8>,
}

/// Bodies of pushes.
type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

/// A server that accepts every push.
pub(crate) struct Sink {
    /// The URL to push to.
    pub(crate) url: String,
    /// The bodies that were pushed, if they are kept.
    kept: Option<Bodies>,
}

impl Sink {
    /// The profiles that were pushed since the last call.
    pub(crate) fn take(&self) -> Result<Vec<Row>> {
        let bodies = self.kept.as_ref().map_or_else(Vec::new, |kept| {
            std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let mut rows = Vec::new();
        for body in bodies {
            let body = pprof::unpacked(&body)?;
            let request =
                PushRequest::decode(body.as_slice()).context("what was pushed is no push")?;
            for sample in request.series.iter().flat_map(|series| &series.samples) {
                rows.extend(pprof::parse(&pprof::unpacked(&sample.raw_profile)?)?);
            }
        }
        Ok(rows)
    }
}

/// Starts a server; `keeps` says whether it keeps what was pushed.
pub(crate) fn start(keeps: bool) -> Result<Sink> {
    let kept = keeps.then(Bodies::default);
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("found no free port for the server")?;
    let address = listener
        .local_addr()
        .context("failed to ask for the server's port")?;
    let bodies = kept.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bodies = bodies.clone();
            // If a connection breaks, the agent opens a new one.
            thread::spawn(move || answer(&stream, bodies.as_ref()).unwrap_or_default());
        }
    });
    Ok(Sink {
        url: format!("http://{address}"),
        kept,
    })
}

/// Answers every request of one connection.
fn answer(stream: &TcpStream, bodies: Option<&Bodies>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = reader.by_ref().take(length);
        if let Some(bodies) = bodies {
            let mut kept = Vec::new();
            body.read_to_end(&mut kept)?;
            let mut bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner);
            bodies.push(kept);
        } else {
            std::io::copy(&mut body, &mut std::io::sink())?;
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
    }
}
