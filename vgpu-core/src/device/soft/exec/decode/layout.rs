//! Where parameters and the variables of a function lie.

use super::super::super::ptx::{Body, Function, PtxError, PtxErrorKind, Space, Variable};
use super::super::call::LOCAL_BYTES_MAX;
use super::super::launch::SHARED_BYTES_MAX;

/// Bytes of all parameters of a kernel together: what CUDA allows.
const PARAM_BYTES_MAX: u32 = 32_764;

/// `offset` up to the next multiple of `align`.
pub(in super::super) fn align_up(offset: u32, align: u64) -> u32 {
    u64::from(offset)
        .checked_next_multiple_of(align)
        .and_then(|at| u32::try_from(at).ok())
        .unwrap_or(u32::MAX)
}

/// Offset and bytes of each of `params`, and where they end.
pub(in super::super) fn place_params(params: &[Variable], mut at: u32) -> (Vec<(u32, u32)>, u32) {
    let mut places = Vec::with_capacity(params.len());
    for param in params {
        let bytes = u32::try_from(param.bytes).unwrap_or(u32::MAX);
        at = align_up(at, param.align);
        places.push((at, bytes));
        at = at.saturating_add(bytes);
    }
    (places, at)
}

/// Where each variable of a function lies.
#[derive(Debug)]
pub(super) struct Places {
    /// By id of the variable: offset in local memory, or in shared memory.
    pub(super) variables: Vec<u32>,
    /// Parameters: in the launch's bytes for a kernel, else in local memory.
    pub(super) params: Vec<(u32, u32)>,
    /// Return parameters, in local memory.
    pub(super) returns: Vec<(u32, u32)>,
    pub(super) local_bytes: u32,
    pub(super) shared_end: u32,
}

impl Places {
    pub(super) fn new(function: &Function, body: &Body, shared_base: u32) -> Result<Self, PtxError> {
        let (returns, end) = place_params(&function.returns, 0);
        let (params, params_end) = place_params(&function.params, if function.is_kernel { 0 } else { end });
        let limit =
            |line: u32, what: &'static str, max: u64| PtxError::new(line, PtxErrorKind::Limit { what, max });
        if params_end > PARAM_BYTES_MAX {
            return Err(limit(function.line, "bytes of parameters", PARAM_BYTES_MAX.into()));
        }
        let mut local = if function.is_kernel { end } else { params_end };
        let mut shared = shared_base;
        let mut variables = Vec::with_capacity(body.variables.len());
        for variable in &body.variables {
            let at = if variable.space == Space::Shared { &mut shared } else { &mut local };
            let start = align_up(*at, variable.align);
            *at = start.saturating_add(u32::try_from(variable.bytes).unwrap_or(u32::MAX));
            variables.push(start);
            if u64::from(local) > LOCAL_BYTES_MAX {
                return Err(limit(variable.line, "bytes of local memory", LOCAL_BYTES_MAX));
            }
            if shared > SHARED_BYTES_MAX {
                return Err(limit(variable.line, "bytes of shared memory", SHARED_BYTES_MAX.into()));
            }
        }
        Ok(Self { variables, params, returns, local_bytes: align_up(local, 16), shared_end: shared })
    }
}
