//! Why a host does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::cell::CgroupError;
use crate::config::ConfigError;
use crate::exit;
use crate::state::StateError;
use crate::worker::sandbox::SandboxError;

/// A host did not start. Each message names cause and remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was kept by an earlier host cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// What operators set at run time does not fit this configuration.
    #[error(
        "{source}. So it is with what was set at run time; correct the configuration, or forget all that was set by one \
         start with --forget-overrides"
    )]
    Overrides {
        /// What does not fit.
        source: ConfigError,
    },
    /// The workers cannot be confined as the configuration wants it.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The cgroup of the workers cannot be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Another host has the runtime folder.
    #[error("another host runs in {}; stop it or set another host.runtime_dir", runtime_dir.display())]
    AlreadyRunning {
        /// The folder.
        runtime_dir: PathBuf,
    },
    /// A program that is no host listens where the host would.
    #[error("somebody listens on {}; stop that program or set another host.runtime_dir", path.display())]
    SomebodyListens {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket lies where one should.
    #[error("{} is there and is no socket; remove it", path.display())]
    NotASocket {
        /// What lies there.
        path: PathBuf,
    },
    /// Others may change a folder in which the host listens, and so put sockets of their own in its place.
    #[error("{} can be changed by others; give it to user {uid} and take away what others may write", path.display())]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// The user who runs the host.
        uid: u32,
    },
    /// Tenants cannot take turns.
    #[error("tenants cannot take turns: {text}")]
    Leases {
        /// Cause and remedy.
        text: String,
    },
    /// Monitoring cannot be answered over TCP.
    #[error(
        "cannot listen on {address} for metrics: {source}; choose another port in host.metrics, or stop who has it"
    )]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A card cannot be used.
    #[error("gpu {gpu:?}, {device}: {text}")]
    Card {
        /// The GPU's name.
        gpu: String,
        /// Its device.
        device: String,
        /// Cause and remedy, as the probe tells them.
        text: String,
    },
    /// A file operation failed.
    #[error("cannot {what} {}: {source}; check that this user may write there", path.display())]
    Path {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The operating system refused something that every host needs.
    #[error("cannot {what}: {source}; check the limits on processes and descriptors")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl HostError {
    /// Exit status of a tool that ends with this error.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Overrides { .. } | Self::Sandbox(_) | Self::Cgroup(_) => exit::CONFIG,
            Self::Card { .. } => exit::UNAVAILABLE,
            Self::State(StateError::InUse { .. })
            | Self::AlreadyRunning { .. }
            | Self::SomebodyListens { .. } => exit::TRY_LATER,
            Self::Path { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                exit::NOT_PERMITTED
            }
            Self::State(_)
            | Self::NotASocket { .. }
            | Self::UnsafeFolder { .. }
            | Self::Path { .. }
            | Self::Leases { .. }
            | Self::Metrics { .. }
            | Self::System { .. } => exit::FAILED,
        }
    }
}
