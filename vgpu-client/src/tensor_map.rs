//! Tensor maps: encoded by the host's driver, and remembered. The same parameters give the same bytes.

use std::collections::HashMap;

use vgpu_proto::body::{self, TENSOR_MAP_BYTES, TensorMapEncode};
use zerocopy::{Immutable, IntoBytes};

use crate::context::Context;
use crate::errors::{HostFault, Result};

const BYTES: usize = TENSOR_MAP_BYTES as usize;

/// Maps that are kept for a context, at most; beyond, they are encoded anew. A program uses one for each tensor and shape.
const MAPS_MAX: usize = 1_024;

/// Maps by the parameters that they were encoded from.
pub(crate) type TensorMaps = HashMap<Vec<u8>, [u8; BYTES]>;

impl Context {
    /// Encodes a tensor map. The context and the answer's place in `parameters` are filled in here.
    ///
    /// # Errors
    /// `INVALID_VALUE`, `NOT_SUPPORTED`, a fault of the context, or the session's end.
    #[doc(hidden)]
    pub fn encode_tensor_map(&self, parameters: TensorMapEncode) -> Result<[u8; BYTES]> {
        let parameters =
            TensorMapEncode { context: self.inner.id.raw().into(), reply_offset: 0.into(), ..parameters };
        self.remembered(parameters.as_bytes().to_vec(), |offset| {
            (TensorMapEncode { reply_offset: offset.into(), ..parameters }, Vec::new())
        })
    }

    /// Gives a tensor map another address.
    ///
    /// # Errors
    /// As [`Context::encode_tensor_map`].
    #[doc(hidden)]
    pub fn replace_tensor_map_address(&self, map: [u8; BYTES], address: u64) -> Result<[u8; BYTES]> {
        let context = self.inner.id.raw();
        self.remembered([&map[..], &address.to_le_bytes()].concat(), |offset| {
            let body = body::TensorMapReplaceAddress {
                context: context.into(),
                reply_offset: offset.into(),
                address: address.into(),
            };
            (body, map.to_vec())
        })
    }

    /// The map that a request gives: the one that is known, or the host's answer.
    fn remembered<B: vgpu_proto::Operation + IntoBytes + Immutable>(
        &self,
        key: Vec<u8>,
        request: impl FnOnce(u64) -> (B, Vec<u8>),
    ) -> Result<[u8; BYTES]> {
        self.check()?;
        if let Some(map) = self.inner.tensor_maps.lock().get(&key) {
            return Ok(*map);
        }
        let session = self.session();
        let answer = session.stage_privileged(0, TENSOR_MAP_BYTES.into())?;
        let (body, payload) = request(answer.offset);
        let [length, ..] = session.call(0, &body, &payload)?;
        if length != u64::from(TENSOR_MAP_BYTES) {
            return Err(HostFault::Description.into());
        }
        let mut map = [0; BYTES];
        answer.read(0, &mut map);
        let mut maps = self.inner.tensor_maps.lock();
        if maps.len() >= MAPS_MAX {
            maps.clear();
        }
        maps.insert(key, map);
        Ok(map)
    }
}
