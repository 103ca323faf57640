//! As much of HTTP/1.1 as clients of a Pyroscope speak: requests one after the other on a connection that is
//! kept open until the client closes it, asks for its end, or is silent for too long.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    time::Instant,
};

use profiler::time::monotonic_now;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    target: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// As sent: perhaps compressed.
    pub(crate) body: Vec<u8>,
    /// When all of it was there.
    pub(crate) arrived: Instant,
    /// Whether the client wants no more than this answer.
    is_last: bool,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug)]
pub(crate) enum Response {
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Bytes as they are, after which the connection is closed; none: it is closed without an answer.
    Raw(Vec<u8>),
}

impl Response {
    pub(crate) fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self::empty(status)
            .with_header("Content-Type", content_type)
            .with_body(body)
    }

    /// A status without a word.
    pub(crate) fn empty(status: u16) -> Self {
        Self::Http {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn text(status: u16, text: &str) -> Self {
        let body = format!("{text}\n").into_bytes();
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string().into_bytes())
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(crate) fn with_body(mut self, bytes: Vec<u8>) -> Self {
        if let Self::Http { body, .. } = &mut self {
            *body = bytes;
        }
        self
    }

    fn to_bytes(&self, is_last: bool) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Http {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} Status\r\n");
                // Writing to a string cannot fail.
                for (name, value) in headers {
                    let _ = write!(head, "{name}: {value}\r\n");
                }
                let _ = write!(head, "Content-Length: {}\r\n", body.len());
                head += if is_last {
                    "Connection: close\r\n\r\n"
                } else {
                    "\r\n"
                };
                [head.as_bytes(), body].concat()
            }
        }
    }
}

/// Answers the requests of a connection until it ends. A client that goes away is no failure of the server.
pub(crate) fn serve(stream: impl Read + Write, answer: impl Fn(&Request) -> Response) {
    let mut reader = BufReader::new(stream);
    while let Ok(request) = read(&mut reader) {
        let response = answer(&request);
        let is_last = request.is_last || matches!(response, Response::Raw(_));
        let stream = reader.get_mut();
        let written = stream.write_all(&response.to_bytes(is_last));
        if written.and_then(|()| stream.flush()).is_err() || is_last {
            return;
        }
    }
}

/// The next request; an error if there is none in time.
fn read<S: Read + Write>(reader: &mut BufReader<S>) -> io::Result<Request> {
    let first = line(reader)?;
    let mut words = first.split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let version = words.next().unwrap_or_default();
    let headers = headers(reader)?;
    if headers.contains_key("expect") {
        reader
            .get_mut()
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = body(reader, &headers)?;
    let connection = headers.get("connection").map_or("", String::as_str);
    let is_last = version != "HTTP/1.1" || connection.eq_ignore_ascii_case("close");
    Ok(Request {
        method,
        target,
        headers,
        body,
        arrived: monotonic_now(),
        is_last,
    })
}

/// Header fields up to the empty line, names in lower case.
pub(crate) fn headers(reader: &mut impl BufRead) -> io::Result<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(headers);
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
}

/// The body that the header fields announce.
pub(crate) fn body(
    reader: &mut impl BufRead,
    headers: &BTreeMap<String, String>,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers.contains_key("transfer-encoding") {
        loop {
            let size = line(reader)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            exactly(reader, size, &mut body)?;
            line(reader)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = headers.get("content-length").and_then(|it| it.parse().ok());
    exactly(reader, length.unwrap_or(0), &mut body)?;
    Ok(body)
}

/// A request that is cut off is none.
fn exactly(reader: &mut impl BufRead, size: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = reader.by_ref().take(size).read_to_end(body)?;
    if u64::try_from(read).is_ok_and(|read| read == size) {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// A line without its end.
pub(crate) fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
