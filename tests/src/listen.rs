//! A port of a server: connections one thread each, counted, closed when idle, refused while it is shut.

use std::{
    collections::BTreeMap,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What is known of the connections to a port.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) accepted: usize,
    pub(crate) most_open: usize,
    /// How long one may be silent between two requests; also how long a request may stall.
    pub(crate) idle: Duration,
    /// Those that are open, to end them.
    open: BTreeMap<usize, TcpStream>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            accepted: 0,
            most_open: 0,
            // Go's servers have no limit by themselves; Pyroscope's is `server.http-idle-timeout`, 2 min.
            idle: Duration::from_mins(2),
            open: BTreeMap::new(),
        }
    }
}

pub(crate) type Shared = Arc<Mutex<Connections>>;

/// What is done with a connection.
type Serve = Arc<dyn Fn(TcpStream) + Send + Sync>;

/// A port that can be shut and opened again.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Shared,
    serve: Serve,
    /// The thread that accepts, and the flag that ends it.
    open: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

impl Port {
    /// Opens a free port of the loopback.
    pub(crate) fn open(serve: Serve) -> io::Result<Self> {
        Self::open_at("127.0.0.1:0", serve)
    }

    /// Opens a port of an address of this host.
    pub(crate) fn open_at(address: &str, serve: Serve) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let mut port = Self {
            address: listener.local_addr()?,
            connections: Shared::default(),
            serve,
            open: None,
        };
        port.accept(listener);
        Ok(port)
    }

    /// Refuses connections from now on, and ends those that there are.
    pub(crate) fn shut(&mut self) {
        let Some((thread, ends)) = self.open.take() else {
            return;
        };
        ends.store(true, Ordering::SeqCst);
        // Only a connection wakes the thread; if there can be none, it has ended already.
        drop(TcpStream::connect(self.address));
        let _ = thread.join();
        for stream in lock(&self.connections).open.values() {
            // Fails if the client was faster.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again, on the same port.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            self.accept(TcpListener::bind(self.address)?);
        }
        Ok(())
    }

    fn accept(&mut self, listener: TcpListener) {
        let (connections, serve) = (Arc::clone(&self.connections), Arc::clone(&self.serve));
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (connections, serve) = (Arc::clone(&connections), Arc::clone(&serve));
                let Ok(number) = enter(&connections, &stream) else {
                    continue;
                };
                thread::spawn(move || {
                    serve(stream);
                    lock(&connections).open.remove(&number);
                });
            }
        });
        self.open = Some((thread, ends));
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Counts a connection in.
fn enter(connections: &Shared, stream: &TcpStream) -> io::Result<usize> {
    let mut connections = lock(connections);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(connections.idle))?;
    let number = connections.accepted;
    connections.open.insert(number, stream.try_clone()?);
    connections.accepted += 1;
    connections.most_open = connections.most_open.max(connections.open.len());
    Ok(number)
}

pub(crate) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
