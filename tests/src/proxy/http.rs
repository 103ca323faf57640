//! An HTTP proxy (RFC 9110 and 9112): requests in absolute form go to their server one after the other, on a
//! connection that is kept; after `CONNECT` bytes go both ways.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufReader, Read, Write as _},
    net::TcpStream,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Rules,
    tunnel::{self, Client},
};
use crate::pretend_pyroscope::http::{body, headers, line};

type Headers = BTreeMap<String, String>;

/// Serves a connection. A client that goes away is no failure of the proxy.
pub(super) fn serve(rules: &Rules, mut client: impl Client) {
    // Ends with an error as a rule: with the client's connection.
    let _ = requests(rules, &mut client);
}

fn requests(rules: &Rules, client: &mut impl Client) -> io::Result<()> {
    let mut way: Option<(String, BufReader<TcpStream>)> = None;
    loop {
        // Byte by byte: what follows a CONNECT is not ours.
        let mut reader = BufReader::with_capacity(1, &mut *client);
        let first = line(&mut reader)?;
        let headers = headers(&mut reader)?;
        let body = body(&mut reader, &headers)?;
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Ok(());
        };
        if !is_admitted(rules, &headers) {
            let wanted = "Proxy-Authenticate: Basic realm=\"a proxy\"\r\n";
            answer(client, "407 Proxy Authentication Required", wanted)?;
            continue;
        }
        if method == "CONNECT" {
            let Ok(server) = rules.connect(target) else {
                return answer(client, "502 Bad Gateway", "");
            };
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            client.flush()?;
            return tunnel::carry(client, server);
        }
        let Some((host, path)) = absolute(target) else {
            answer(client, "400 Bad Request", "")?;
            continue;
        };
        let kept = way.take().filter(|(to, _)| *to == host);
        let connected =
            kept.map_or_else(|| rules.connect(&host).map(BufReader::new), |it| Ok(it.1));
        let Ok(mut server) = connected else {
            answer(client, "502 Bad Gateway", "")?;
            continue;
        };
        let request = message(&format!("{method} {path} HTTP/1.1"), &headers, &body);
        server.get_mut().write_all(&request)?;
        client.write_all(&response(&mut server)?)?;
        client.flush()?;
        way = Some((host, server));
    }
}

fn is_admitted(rules: &Rules, headers: &Headers) -> bool {
    let given = headers.get("proxy-authorization");
    let given = given.and_then(|it| STANDARD.decode(it.strip_prefix("Basic ")?).ok());
    let given = given.and_then(|it| String::from_utf8(it).ok());
    rules.admits(given.as_ref().and_then(|it| it.split_once(':')))
}

/// Host with port, and path, of `http://host/path`.
fn absolute(target: &str) -> Option<(String, String)> {
    let rest = target.strip_prefix("http://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let has_port = host.rsplit(']').next().is_some_and(|it| it.contains(':'));
    let host = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let path = if path.is_empty() { "/" } else { path };
    Some((host, path.to_owned()))
}

fn answer(client: &mut impl Client, status: &str, more: &str) -> io::Result<()> {
    write!(
        client,
        "HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n"
    )?;
    client.flush()
}

/// The answer to a request, as it goes to the client.
fn response(server: &mut BufReader<impl Read>) -> io::Result<Vec<u8>> {
    let first = line(server)?;
    let headers = headers(server)?;
    let body = body(server, &headers)?;
    Ok(message(&first, &headers, &body))
}

/// A message without what is for this hop alone.
fn message(first: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    const HOP: [&str; 6] = [
        "connection",
        "content-length",
        "expect",
        "proxy-authorization",
        "proxy-connection",
        "transfer-encoding",
    ];
    let mut head = format!("{first}\r\n");
    // Writing to a string cannot fail.
    for (name, value) in headers.iter().filter(|it| !HOP.contains(&it.0.as_str())) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
