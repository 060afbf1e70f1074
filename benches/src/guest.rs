//! A guest of a benchmark: a session with a context, a stream and a kernel that does nothing. Its calls poll and sleep as
//! the client's defaults say, so the environment's `VGPU_SPIN_NS` can be tried out.

use std::path::Path;

use support::fixture::ptx;
use vgpu_client::{Client, Context, Function, LaunchConfig, Stream};

/// An open session, ready to launch.
#[derive(Debug)]
pub struct Guest {
    /// The session.
    pub client: Client,
    /// Its primary context.
    pub context: Context,
    /// A non-blocking stream.
    pub stream: Stream,
    /// A kernel without parameters that returns at once. It was launched before.
    pub empty: Function,
}

impl Guest {
    /// Opens a session at a tenant's socket.
    ///
    /// # Panics
    /// When the host does not let it.
    pub fn open(socket: &Path) -> Self {
        let client = Client::builder().socket(socket).connect().expect("the host welcomes");
        let context = client.context().expect("a session has a context");
        let stream = context.stream().expect("a stream is left");
        let module = context.load_module(ptx("tiny")).expect("the fixture loads");
        let empty = module.function("empty").expect("the fixture has the kernel");
        let guest = Self { client, context, stream, empty };
        guest.launch();
        guest.synchronize();
        guest
    }

    /// Launches the kernel: one block of one thread.
    ///
    /// # Panics
    /// When the session has ended.
    #[inline]
    pub fn launch(&self) {
        self.stream.launch(&self.empty, LaunchConfig::default(), &[]).expect("the session lives");
    }

    /// Waits for the stream.
    ///
    /// # Panics
    /// When the session has ended.
    #[inline]
    pub fn synchronize(&self) {
        self.stream.synchronize().expect("the session lives");
    }
}
