//! What a probe prints.

use serde::{Deserialize, Serialize};
use vgpu_core::device::Device as _;
use vgpu_core::device::cuda::CudaDevice;

use super::card::OpenError;
use crate::config::{Card, uuid_text};

/// A probe's answer, one line of JSON on its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProbeLine {
    /// The name that was asked for, `cuda:N` or `cuda:GPU-<uuid>`.
    pub device: String,
    /// What it is; null where it cannot be used.
    pub card: Option<CardDescription>,
    /// Stable name of the cause why it cannot be used: `no-driver`, `shim`, `missing-symbol`, `driver-too-old`,
    /// `no-device`, `missing-property`, `driver` or `pageable-access`; null where it can.
    pub cause: Option<String>,
    /// Cause and remedy for people; null likewise.
    pub error: Option<String>,
}

/// What a card is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CardDescription {
    /// Name, as its driver tells it.
    pub name: String,
    /// UUID, as `nvidia-smi -L` prints it.
    pub uuid: String,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Compute capability, `major.minor`.
    pub compute_capability: String,
    /// Streaming multiprocessors.
    pub multiprocessor_count: u32,
}

impl ProbeLine {
    pub(super) fn new(card: Card, opened: Result<&CudaDevice, &OpenError>) -> Self {
        let device = card.to_string();
        match opened {
            Ok(opened) => Self { device, card: Some(CardDescription::of(opened)), cause: None, error: None },
            Err(error) => {
                let (cause, error) = (Some(error.cause().into()), Some(error.to_string()));
                Self { device, card: None, cause, error }
            }
        }
    }
}

impl CardDescription {
    fn of(device: &CudaDevice) -> Self {
        let description = device.description();
        Self {
            name: description.name.clone(),
            uuid: uuid_text(&description.uuid),
            memory_bytes: description.memory_bytes,
            compute_capability: format!("{}.{}", description.compute_major, description.compute_minor),
            multiprocessor_count: description.multiprocessor_count,
        }
    }
}
