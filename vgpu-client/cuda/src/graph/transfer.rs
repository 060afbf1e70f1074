//! Copies and fills of graphs.

use vgpu_proto::graph::GraphWork;

use crate::boxes::Boxes;
use crate::fail::{Call, INVALID_VALUE};

/// `CUDA_MEMCPY3D`.
pub(crate) type CopyParams = [u64; 25];

/// `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FillParams {
    pub(crate) destination: u64,
    pub(crate) pitch: u64,
    pub(crate) value: u32,
    pub(crate) element_bytes: u32,
    pub(crate) width: u64,
    pub(crate) height: u64,
}

/// The work of a memcpy node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyWork {
    /// Handle of the context.
    pub(crate) context: u64,
    pub(crate) params: CopyParams,
    pub(crate) boxes: Boxes,
}

impl CopyWork {
    /// # Errors
    /// `INVALID_VALUE`; `NOT_SUPPORTED` for arrays.
    pub(crate) fn new(context: u64, params: CopyParams) -> Call<Self> {
        Ok(Self { context, params, boxes: Boxes::three_d(&params)? })
    }

    /// A plain copy, as a stream does it.
    pub(crate) fn linear(context: u64, destination: u64, source: u64, bytes: u64) -> Call<Self> {
        Self::new(context, Boxes::linear_params(destination, source, bytes))
    }
}

/// The work of a memset node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FillWork {
    /// Handle of the context.
    pub(crate) context: u64,
    pub(crate) params: FillParams,
}

impl FillWork {
    /// # Errors
    /// `INVALID_VALUE`.
    pub(crate) fn new(context: u64, params: FillParams) -> Call<Self> {
        let FillParams { element_bytes, width, height, pitch, value, .. } = params;
        let row = width.checked_mul(element_bytes.into()).ok_or(INVALID_VALUE)?;
        let known = matches!(element_bytes, 1 | 2 | 4);
        let fits = element_bytes == 4 || u64::from(value) >> (8 * element_bytes.min(4)) == 0;
        if !known || !fits || row == 0 || height == 0 || (height > 1 && pitch < row) {
            return Err(INVALID_VALUE);
        }
        Ok(Self { context, params })
    }

    /// The work, as the host does it.
    pub(crate) fn work(&self) -> GraphWork {
        let FillParams { destination, pitch, value, element_bytes, width, height } = self.params;
        GraphWork::Memset { destination, value, element_bytes, width, height, pitch }
    }
}
