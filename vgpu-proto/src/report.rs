//! What a tenant may know of its share of a GPU, without a session: what monitoring tools show.
//!
//! A host serves it on a socket beside the tenant's own. Whoever the tenant's socket would accept may connect; the host
//! sends one [`TenantReport`] and closes. It costs no worker, so asking is cheap.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::codec::Message;

/// File name of the socket, in the folder of the tenant's own.
pub const SOCKET_NAME: &str = "report.sock";

/// A tenant's view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct TenantReport {
    /// Version of the host's NVIDIA driver, such as `580.159.04`; empty without one.
    pub driver_version: String,
    /// The GPU.
    pub gpu: GpuReport,
    /// The tenant's sessions; at most [`crate::limits::TENANT_SESSIONS_MAX`].
    pub sessions: Vec<SessionReport>,
}

impl Message for TenantReport {}

/// A GPU, as far as the tenant goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct GpuReport {
    /// Marketing name.
    pub name: String,
    /// The card's UUID.
    pub uuid: [u8; 16],
    /// Compute capability, major.
    pub compute_major: u32,
    /// Compute capability, minor.
    pub compute_minor: u32,
    /// Multiprocessors.
    pub multiprocessor_count: u32,
    /// The tenant's quota of device memory, in bytes.
    pub memory_bytes: u64,
    /// What its sessions hold of it, in bytes.
    pub memory_used_bytes: u64,
}

/// A session of the tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a message of the protocol")]
pub struct SessionReport {
    /// Process id inside the guest, as the guest said it.
    pub pid: u32,
    /// Program name, as the guest said it.
    pub name: String,
    /// Device memory that it holds, in bytes.
    pub memory_bytes: u64,
}
