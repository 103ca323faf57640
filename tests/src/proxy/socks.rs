//! SOCKS5 (RFC 1928), with a user and a password (RFC 1929) if they are required.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, TcpStream},
};

use super::{Rules, tunnel};
use crate::listen::lock;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const CONNECT: u8 = 1;
/// Kinds of addresses.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
/// Replies.
const SUCCEEDED: u8 = 0;
const REFUSED: u8 = 5;

/// Serves a connection. A client that goes away is no failure of the proxy.
pub(super) fn serve(rules: &Rules, mut stream: TcpStream) {
    if let Ok(Some(server)) = negotiate(rules, &mut stream) {
        let _ = tunnel::carry(stream, server);
    }
}

/// The connection to the requested address; none if the client was refused.
fn negotiate(rules: &Rules, stream: &mut TcpStream) -> io::Result<Option<TcpStream>> {
    let [version, count] = exactly(stream)?;
    if version != VERSION {
        return Ok(None);
    }
    let methods = bytes(stream, count)?;
    let is_wanted = lock(&rules.wanted).is_some();
    let method = if is_wanted {
        USER_AND_PASSWORD
    } else {
        NO_AUTHENTICATION
    };
    if !methods.contains(&method) {
        rules.admits(None);
        stream.write_all(&[VERSION, NONE_ACCEPTABLE])?;
        return Ok(None);
    }
    stream.write_all(&[VERSION, method])?;
    if is_wanted {
        let [_] = exactly(stream)?;
        let user = text(stream)?;
        let password = text(stream)?;
        let is_right = rules.admits(Some((&user, &password)));
        stream.write_all(&[1, u8::from(!is_right)])?;
        if !is_right {
            return Ok(None);
        }
    }
    let [_, command, _, kind] = exactly(stream)?;
    let host = match kind {
        IPV4 => Ipv4Addr::from(exactly::<4>(stream)?).to_string(),
        IPV6 => format!("[{}]", Ipv6Addr::from(exactly::<16>(stream)?)),
        NAME => text(stream)?,
        _ => return Ok(None),
    };
    let port = u16::from_be_bytes(exactly(stream)?);
    let server = match command {
        CONNECT => rules.connect(&format!("{host}:{port}")),
        _ => Err(io::ErrorKind::Unsupported.into()),
    };
    let reply = if server.is_ok() { SUCCEEDED } else { REFUSED };
    stream.write_all(&[VERSION, reply, 0, IPV4, 0, 0, 0, 0, 0, 0])?;
    server.map(Some)
}

fn exactly<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn bytes(stream: &mut TcpStream, count: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(count)];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A text with its length before it.
fn text(stream: &mut TcpStream) -> io::Result<String> {
    let [length] = exactly(stream)?;
    Ok(String::from_utf8_lossy(&bytes(stream, length)?).into_owned())
}
