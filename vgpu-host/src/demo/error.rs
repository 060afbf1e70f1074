//! Why the demo could not run.

use std::io;
use std::path::PathBuf;

use crate::HostError;
use crate::config::ConfigError;

/// The demo could not run. Each message names cause and remedy.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// The device is not to be had.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The host did not start.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No folder for the sockets.
    #[error("cannot make a folder in {}: {source}; set TMPDIR to a folder that this user may write", path.display())]
    Folder {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The operating system refused something that every demo needs.
    #[error("cannot {what}: {source}; check the limits on processes and descriptors")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A signal ended it.
    #[error("interrupted; run it again to see results")]
    Interrupted,
}
