//! The ring's reading end.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    io::{retry_on_intr, write},
};

/// Where records come out, in the order in which the kernel programs reserved them.
pub struct Ring {
    records: RingBuf<MapData>,
    /// Tells of the ring and of the bell, each time they are rung: not of records that came in quietly.
    epoll: OwnedFd,
    bell: Bell,
}

/// Ends a wait from another thread.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    /// Ends the wait that goes on, or else the next.
    pub fn ring(&self) {
        // It fails only if it has been rung 2⁶⁴ times.
        let _ = write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Ring {
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        for (fd, number) in [(ring.as_fd(), 0), (bell.as_fd(), 1)] {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(number), edges)?;
        }
        Ok(Self {
            records: ring,
            epoll,
            bell: Bell(Arc::new(bell)),
        })
    }

    /// What ends a wait.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Waits until a kernel program or the bell wakes the reader, and no longer than `most`.
    pub fn wait(&self, most: Duration) -> io::Result<()> {
        let most = Timespec::try_from(most).map_err(io::Error::other)?;
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 2];
        retry_on_intr(|| epoll::wait(&self.epoll, &mut events, Some(&most)))?;
        Ok(())
    }

    /// Hands each waiting record to `each`, at most `limit`; returns how many there were.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(record) = self.records.next()
        {
            each(&record);
            count += 1;
        }
        count
    }
}
