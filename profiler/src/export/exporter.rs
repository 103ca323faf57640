//! Profiles in, and out to a server: a thread that encodes, and a task that sends. Whoever submits never
//! waits for either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc as blocking,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{
    Error, PaceLimits,
    encode::Encoder,
    pyroscope::{self, Client, Pyroscope},
    retry::Policy,
    worker::{Order, Worker, dropped},
};
use crate::{
    health::{Health, Loss},
    profile::{Profile, Projection, SpanLabel, split::Limits},
    rights::{Thread, keep_for},
    time::BootNanos,
};

/// Windows that may wait to be encoded.
const MAX_WINDOWS: usize = 4;
/// Requests' worth of encoded profiles on the way from the thread to the task.
const MAX_ENCODED: usize = 8;

/// How profiles are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub server: Pyroscope,
    /// When to try again.
    pub retry: Policy,
    /// What the server takes in one profile.
    pub limits: Limits,
    /// Which labels and frames are sent.
    pub projection: Projection,
    /// What is sent at once, and how fast.
    pub pace: PaceLimits,
    /// Bytes of memory that profiles may take while they wait.
    pub queue_bytes: usize,
}

impl Settings {
    /// The defaults towards a server.
    pub fn new(server: Pyroscope) -> Self {
        Self {
            server,
            retry: Policy::default(),
            limits: pyroscope::LIMITS,
            projection: pyroscope::projection(SpanLabel::default(), true, false),
            pace: PaceLimits::default(),
            queue_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Sends profiles to a Pyroscope.
#[derive(Debug)]
pub struct Exporter {
    sink: Sink,
    orders: mpsc::UnboundedSender<Order>,
    done: blocking::Receiver<()>,
    thread: JoinHandle<()>,
}

/// Takes profiles for an exporter.
#[derive(Clone, Debug)]
pub struct Sink {
    windows: blocking::SyncSender<Vec<Profile>>,
    waiting: Arc<AtomicUsize>,
    health: Health,
}

impl Exporter {
    /// Starts the thread, and the task on a runtime. Refuses what no server would take, and files that
    /// cannot be read.
    pub fn start(settings: Settings, health: Health, runtime: &Handle) -> Result<Self, Error> {
        settings.server.check()?;
        let client = {
            // The client's timers are the runtime's.
            let _inside = runtime.enter();
            Client::new(&settings.server, settings.pace.requests)?
        };
        let settings = Arc::new(settings);
        let (windows, inbox) = blocking::sync_channel(MAX_WINDOWS);
        let (outgoing, incoming) = mpsc::channel(MAX_ENCODED);
        let (orders, commands) = mpsc::unbounded_channel();
        let (finished, done) = blocking::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let encoder = Encoder {
            settings: Arc::clone(&settings),
            health: health.clone(),
            waiting: Arc::clone(&waiting),
        };
        let thread = thread::Builder::new()
            .name("spanprof-encode".to_owned())
            .spawn(move || {
                keep_for(Thread::Plain);
                encoder.run(&inbox, &outgoing);
            })
            .map_err(Error::Thread)?;
        let worker = Worker::new(
            settings,
            incoming,
            client,
            health.clone(),
            Arc::clone(&waiting),
        );
        runtime.spawn(async move {
            worker.run(commands).await;
            // Nobody may listen any more.
            let _ = finished.send(());
        });
        Ok(Self {
            sink: Sink {
                windows,
                waiting,
                health,
            },
            orders,
            done,
            thread,
        })
    }

    /// What takes its profiles, from any thread. None may be left when it is drained.
    pub fn sink(&self) -> Sink {
        self.sink.clone()
    }

    /// Hands the profiles of a window over: see [`Sink::submit`].
    pub fn submit(&self, profiles: Vec<Profile>) {
        self.sink.submit(profiles);
    }

    /// How many profiles wait or are being sent.
    pub fn waiting(&self) -> usize {
        self.sink.waiting.load(Ordering::Relaxed)
    }

    /// Sends what waits, each at once and again as often as time allows, for at most `time`; what is
    /// left then is counted as dropped. Not to be called on the runtime.
    pub fn drain(self, time: Duration) {
        let Self {
            sink,
            orders,
            done,
            thread,
        } = self;
        // Without a sender the encoder ends when it has encoded what waits.
        drop(sink);
        let order = Order {
            deadline: BootNanos::now().after(time),
        };
        if orders.send(order).is_ok() {
            // The task keeps its deadline; a little more is for the way here.
            let _ = done.recv_timeout(time + Duration::from_secs(1));
        }
        // It has nobody to hand anything to any more, and counts what it still has.
        let _ = thread.join();
    }
}

impl Sink {
    /// Hands the profiles of a window over. Never waits: if the encoder is far behind, they are dropped and
    /// counted.
    pub fn submit(&self, profiles: Vec<Profile>) {
        let number = profiles.len();
        self.waiting.fetch_add(number, Ordering::Relaxed);
        let Err(full) = self.windows.try_send(profiles) else {
            return;
        };
        self.waiting.fetch_sub(number, Ordering::Relaxed);
        let (blocking::TrySendError::Full(profiles)
        | blocking::TrySendError::Disconnected(profiles)) = full;
        for profile in profiles {
            self.health.count(Loss::EncoderBehind);
            dropped(&profile.service, "encoding does not keep up");
        }
    }
}
