//! Asks an agent that listens whether it is well, as an exec probe does.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// How long each step may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read.
const MOST: u64 = 16 * 1024;

/// The agent is not well, or is not there.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No process answers at that address.
    #[error(
        "no agent answers on {address} ({error}): it does not run, or not with --listen {address}"
    )]
    NoAnswer {
        /// Where.
        address: SocketAddr,
        /// What happened.
        error: io::Error,
    },
    /// What answers there is not HTTP.
    #[error("what answers on {address} is no spanprof agent")]
    NoAgent {
        /// Where.
        address: SocketAddr,
    },
    /// The agent says that it is not well.
    #[error("{words}")]
    NotWell {
        /// Its words.
        words: String,
    },
}

/// What the agent that listens on an address says of itself, if it is well; if `ready`, only if it takes samples.
pub fn ask(address: SocketAddr, ready: bool) -> Result<String, AskError> {
    let path = if ready { "/readyz" } else { "/healthz" };
    let answer =
        get(reachable(address), path).map_err(|error| AskError::NoAnswer { address, error })?;
    let (is_well, words) = understand(&answer).ok_or(AskError::NoAgent { address })?;
    let words = words.to_owned();
    if is_well {
        Ok(words)
    } else {
        Err(AskError::NotWell { words })
    }
}

/// Straight to the agent, by no proxy.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MOST).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether an answer is a good one, and its words.
fn understand(answer: &str) -> Option<(bool, &str)> {
    let (head, words) = answer.split_once("\r\n\r\n")?;
    let mut status = head.lines().next()?.split(' ');
    if !status.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let code: u16 = status.next()?.parse().ok()?;
    Some(((200..300).contains(&code), words.trim_end()))
}

/// An agent that listens on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::{reachable, understand};

    /// An agent that listens everywhere is asked on loopback, any other on its own address.
    #[test]
    fn everywhere_is_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("10.1.2.3:4", "10.1.2.3:4"),
        ] {
            let asked: std::net::SocketAddr = asked.parse().unwrap();
            assert_eq!(reachable(listens.parse().unwrap()), asked);
        }
    }

    /// The code says whether it is well, the body in what words; what speaks no HTTP is no agent.
    #[test]
    fn answers() {
        let well = understand("HTTP/1.1 200 OK\r\nx: y\r\n\r\nwell\n");
        assert_eq!(well, Some((true, "well")));
        let stuck = understand("HTTP/1.0 503 Service Unavailable\r\n\r\nstuck\n");
        assert_eq!(stuck, Some((false, "stuck")));
        assert_eq!(understand("SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(understand(""), None);
    }
}
