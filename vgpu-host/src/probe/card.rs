//! Opening a card, with what the host asks of it beyond what its driver needs.

use std::sync::Arc;

use vgpu_core::device::cuda::{CudaDevice, CudaError};

use crate::config::Card;

/// Why a card cannot be used. Each message names cause and remedy.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The driver or the card refuses.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// Kernels reach all memory of their worker.
    #[error(
        "kernels reach all memory of their process here (HMM), so a guest could take over its worker: load the driver's \
         module nvidia-uvm with uvm_disable_hmm=1"
    )]
    PageableAccess,
}

impl OpenError {
    /// Stable name of the cause, for scripts.
    pub(crate) const fn cause(&self) -> &'static str {
        match self {
            Self::Cuda(error) => error.cause(),
            Self::PageableAccess => "pageable-access",
        }
    }
}

/// Opens it. May block: some 400 ms, and seconds where nobody else keeps the driver awake.
pub(crate) fn open(card: Card) -> Result<Arc<CudaDevice>, OpenError> {
    let number = match card {
        Card::Number(number) => number,
        Card::Uuid(uuid) => CudaDevice::find(uuid)?,
    };
    let device = CudaDevice::open(number)?;
    if device.has_pageable_access() { Err(OpenError::PageableAccess) } else { Ok(device) }
}
