//! Why a guest has no figures to report.

use super::compare::Mismatch;

/// A guest failed. Each message names cause and remedy.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuestError {
    /// The host or the device refused or failed a call.
    #[error(transparent)]
    Client(#[from] vgpu_client::Error),
    /// A result differs from the CPU's.
    #[error("wrong result: {0}; report it as a bug, with the device")]
    Wrong(#[from] Mismatch),
}
