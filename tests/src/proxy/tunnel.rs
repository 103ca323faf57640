//! Bytes both ways, until either side ends.

use std::{
    io::{self, Read as _, Write},
    net::TcpStream,
    os::fd::AsFd as _,
};

use rustix::event::{PollFd, PollFlags, poll};

use crate::tls::{TlsStream, read_arrived, read_decrypted};

/// A stream that returns what has arrived without waiting for more.
pub(super) trait Client: io::Read + Write {
    fn socket(&self) -> &TcpStream;

    /// What has been taken off the socket, but not been read.
    fn left(&mut self) -> io::Result<Vec<u8>>;

    /// What has arrived; nothing at the end of the stream.
    fn arrived(&mut self) -> io::Result<Option<Vec<u8>>>;
}

impl Client for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn left(&mut self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn arrived(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; 16 * 1024];
        let length = self.read(&mut bytes)?;
        bytes.truncate(length);
        Ok((length > 0).then_some(bytes))
    }
}

impl Client for TlsStream {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }

    fn left(&mut self) -> io::Result<Vec<u8>> {
        Ok(read_decrypted(self)?.unwrap_or_default())
    }

    fn arrived(&mut self) -> io::Result<Option<Vec<u8>>> {
        read_arrived(self)
    }
}

impl<C: Client> Client for &mut C {
    fn socket(&self) -> &TcpStream {
        (**self).socket()
    }

    fn left(&mut self) -> io::Result<Vec<u8>> {
        (**self).left()
    }

    fn arrived(&mut self) -> io::Result<Option<Vec<u8>>> {
        (**self).arrived()
    }
}

/// Carries bytes until one side has ended.
pub(super) fn carry(mut client: impl Client, mut server: TcpStream) -> io::Result<()> {
    server.write_all(&client.left()?)?;
    loop {
        let (from_client, from_server) = {
            let mut ends = [
                PollFd::new(client.socket(), PollFlags::IN),
                PollFd::from_borrowed_fd(server.as_fd(), PollFlags::IN),
            ];
            poll(&mut ends, None)?;
            let [client, server] = ends.map(|end| !end.revents().is_empty());
            (client, server)
        };
        if from_client {
            let Some(bytes) = client.arrived()? else {
                return Ok(());
            };
            server.write_all(&bytes)?;
        }
        if from_server {
            let Some(bytes) = server.arrived()? else {
                return Ok(());
            };
            client.write_all(&bytes)?;
            client.flush()?;
        }
    }
}
