//! How a session is opened.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::Client;
use crate::connect::{self, Opening};
use crate::errors::Result;
use crate::link::Sinks;
use crate::session::Waiting;
use crate::transfer::{COPIERS_MAX, PROCESSORS_PER_COPIER};

/// The socket of a guest that sets no `VGPU_SOCKET`.
pub const DEFAULT_SOCKET: &str = "/run/vgpu/vgpu.sock";

/// Start value of [`Builder::spin_ns`] where processors are scarce: some wake-ups.
const SPIN_SCARCE_NS: u64 = 50_000;

/// As [`SPIN_SCARCE_NS`], where a waiting thread takes nothing from others: a copy of 64 MiB ends within it. A driver spins for
/// as long as it takes.
const SPIN_NS: u64 = 2_000_000;

/// Processors from which they are not scarce.
const PROCESSORS_MANY: usize = 4;

/// How long a waiting thread looks without offering its processor to others, where those have processors of their own: an
/// offer is a system call, in which the answer of a small kernel is overlooked. Where processors are scarce it offers at
/// once, as who is waited for may need this very one.
const KEEP: Duration = Duration::from_micros(30);

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn are_processors_scarce() -> bool {
    processors() < PROCESSORS_MANY
}

fn copy_threads() -> usize {
    processors() / PROCESSORS_PER_COPIER
}

fn spin_ns() -> u64 {
    if are_processors_scarce() { SPIN_SCARCE_NS } else { SPIN_NS }
}

/// Start value of [`Builder::answer_timeout`]. A host answers in milliseconds, but guests that start at once wait for as many
/// workers to start, and the driver of a card starts them one after another: six took more than 5 s on an H200. Longer than
/// the host gives a worker (20 s), so that the host's refusal, which has a cause, comes first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a session, from the environment where it says something.
///
/// | variable | meaning |
/// |---|---|
/// | `VGPU_SOCKET` | the host's socket |
/// | `VGPU_SYNC`, `CUDA_LAUNCH_BLOCKING` | `1`: every call waits for its own work |
/// | `VGPU_SPIN_NS` | see [`Builder::spin_ns`] |
/// | `VGPU_COPY_THREADS` | see [`Builder::copy_threads`] |
pub struct Builder {
    socket: PathBuf,
    spin_ns: u64,
    copy_threads: usize,
    synchronous: bool,
    answer_timeout: Duration,
    stdout: Option<Box<dyn Write + Send>>,
    stderr: Option<Box<dyn Write + Send>>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let number = |name: &str| get(name).and_then(|value| value.to_str()?.trim().parse().ok());
        Self {
            socket: socket_from(get("VGPU_SOCKET")),
            spin_ns: number("VGPU_SPIN_NS").unwrap_or_else(spin_ns),
            copy_threads: number("VGPU_COPY_THREADS").map_or_else(copy_threads, |count| count as usize),
            // The driver's own variable is done here: a worker in which each launch blocks would hold up other threads.
            synchronous: ["VGPU_SYNC", "CUDA_LAUNCH_BLOCKING"]
                .iter()
                .any(|name| number(name).is_some_and(|value: u64| value != 0)),
            answer_timeout: ANSWER_TIMEOUT,
            stdout: None,
            stderr: None,
        }
    }

    /// The host's socket. Default: `VGPU_SOCKET`, else [`DEFAULT_SOCKET`].
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = path.into();
        self
    }

    /// How long a waiting thread polls before it sleeps, in nanoseconds. Default `VGPU_SPIN_NS`, else
    /// 2,000,000, or 50,000 on fewer than four processors.
    ///
    /// 0 suits guests whose virtual CPUs share physical ones: each wait then costs a wake-up (some 10 us here and
    /// there), and no CPU time. A large value keeps a core busy for as long as the GPU works, and answers soonest.
    #[must_use]
    pub fn spin_ns(mut self, spin_ns: u64) -> Self {
        self.spin_ns = spin_ns;
        self
    }

    /// How many threads share a pageable copy of 8 MiB or more, from 1 to 4. Default `VGPU_COPY_THREADS`, else one for four
    /// processors.
    ///
    /// 1 leaves the other processors to the program; each further one makes large copies faster, until memory is what they
    /// wait for.
    #[must_use]
    pub fn copy_threads(mut self, count: usize) -> Self {
        self.copy_threads = count;
        self
    }

    /// Whether every call waits for its own work, so that it reports its own error. Default: `VGPU_SYNC`, else
    /// `CUDA_LAUNCH_BLOCKING`.
    #[must_use]
    pub fn synchronous(mut self, synchronous: bool) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long the host may take to answer the greeting. Default 30 s, sensibly 2 s or more.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// Where what kernels print goes (`printf`). Default: this process's standard output.
    ///
    /// A thread of the session writes to it; while it blocks, so do calls that wait for output or regions.
    #[must_use]
    pub fn output(mut self, sink: impl Write + Send + 'static) -> Self {
        self.stdout = Some(Box::new(sink));
        self
    }

    /// Where the text of failed assertions in kernels goes. Default: this process's standard error.
    ///
    /// As with [`Builder::output`].
    #[must_use]
    pub fn error_output(mut self, sink: impl Write + Send + 'static) -> Self {
        self.stderr = Some(Box::new(sink));
        self
    }

    /// Opens the session.
    ///
    /// # Errors
    /// [`ConnectError`](crate::ConnectError), each naming cause and remedy.
    pub fn connect(self) -> Result<Client> {
        let stream = connect::dial(&self.socket)?;
        self.connect_over(stream)
    }

    /// Opens the session over a stream that is connected already.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub fn connect_over(self, stream: UnixStream) -> Result<Client> {
        let opening = Opening {
            answer_timeout: self.answer_timeout,
            waiting: Waiting {
                spin: Duration::from_nanos(self.spin_ns),
                keep: if are_processors_scarce() { Duration::ZERO } else { KEEP },
                sync_all: self.synchronous,
            },
            copiers: self.copy_threads.clamp(1, COPIERS_MAX),
            sinks: Sinks {
                stdout: self.stdout.unwrap_or_else(|| Box::new(std::io::stdout())),
                stderr: self.stderr.unwrap_or_else(|| Box::new(std::io::stderr())),
            },
        };
        connect::open(stream, opening).map(Client::new)
    }
}

/// The host's socket, from the environment.
pub(crate) fn socket_path() -> PathBuf {
    socket_from(std::env::var_os("VGPU_SOCKET"))
}

fn socket_from(variable: Option<OsString>) -> PathBuf {
    variable.filter(|path| !path.is_empty()).map_or(DEFAULT_SOCKET.into(), PathBuf::from)
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("socket", &self.socket)
            .field("spin_ns", &self.spin_ns)
            .field("copy_threads", &self.copy_threads)
            .field("synchronous", &self.synchronous)
            .field("answer_timeout", &self.answer_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_and_nonsense_is_the_default() {
        let plain = Builder::from_variables(|_| None);
        assert_eq!((plain.socket.to_str(), plain.spin_ns), (Some(DEFAULT_SOCKET), spin_ns()));
        assert!(!plain.synchronous);
        let set = Builder::from_variables(|name| match name {
            "VGPU_SOCKET" => Some("/tmp/x.sock".into()),
            "VGPU_SPIN_NS" => Some("many".into()),
            "VGPU_SYNC" => Some("1".into()),
            _ => None,
        });
        assert_eq!((set.socket.to_str(), set.spin_ns), (Some("/tmp/x.sock"), spin_ns()));
        assert!(set.synchronous);
        let blocking = |name: &str| (name == "CUDA_LAUNCH_BLOCKING").then(|| "1".into());
        assert!(Builder::from_variables(blocking).synchronous);
    }
}
