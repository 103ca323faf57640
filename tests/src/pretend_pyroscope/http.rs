//! As much of HTTP/1.1 as clients of a Pyroscope speak: one request per connection.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufReader, Read as _, Write as _},
    net::TcpStream,
};

#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    target: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    /// As sent: perhaps compressed.
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug)]
pub(super) enum Response {
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Bytes as they are; none: the connection is closed without an answer.
    Raw(Vec<u8>),
}

impl Response {
    fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self::Http {
            status,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body,
        }
    }

    pub(super) fn proto(body: Vec<u8>) -> Self {
        Self::new(200, "application/proto", body)
    }

    pub(super) fn json(body: &serde_json::Value) -> Self {
        Self::new(200, "application/json", body.to_string().into_bytes())
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"code": code, "message": message}).to_string();
        Self::new(status, "application/json", body.into_bytes())
    }

    pub(super) fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    fn to_bytes(&self) -> Vec<u8> {
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
                let length = body.len();
                let _ = write!(
                    head,
                    "Content-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                [head.as_bytes(), body].concat()
            }
        }
    }
}

/// Reads one request and writes its answer. A client that goes away is no failure of the server.
pub(super) fn serve(mut stream: TcpStream, answer: impl FnOnce(&Request) -> Response) {
    if let Ok(request) = read(&mut stream) {
        let _ = stream.write_all(&answer(&request).to_bytes());
    }
}

fn read(stream: &mut TcpStream) -> io::Result<Request> {
    let mut reader = BufReader::new(&mut *stream);
    let first = line(&mut reader)?;
    let mut words = first.split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let mut headers = BTreeMap::new();
    loop {
        let line = line(&mut reader)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    if headers.contains_key("expect") {
        reader
            .get_mut()
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if headers.contains_key("transfer-encoding") {
        loop {
            let size = line(&mut reader)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            reader.by_ref().take(size).read_to_end(&mut body)?;
            line(&mut reader)?;
            if size == 0 {
                break;
            }
        }
    } else {
        let length = headers.get("content-length").and_then(|it| it.parse().ok());
        let length: u64 = length.unwrap_or(0);
        reader.by_ref().take(length).read_to_end(&mut body)?;
    }
    Ok(Request {
        method,
        target,
        headers,
        body,
    })
}

fn line(reader: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
