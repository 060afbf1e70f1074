//! Tensor maps, encoded by the device's driver from checked parameters.

use vgpu_proto::body::{self, TENSOR_MAP_IM2COL, TENSOR_MAP_IM2COL_WIDE, TENSOR_MAP_TILED};
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::{Status, Violation};
use zerocopy::little_endian::{I32, U32, U64};

use super::dispatcher::Core;
use super::job::{Values, one};
use crate::device::{TENSOR_MAP_BYTES, TensorMap, TensorMapKind};

/// The last values of CUDA 13.0's enums: `CUtensorMapDataType`, `Interleave`, `Swizzle`, `L2promotion`,
/// `FloatOOBfill`, `Im2ColWideMode`.
const DATA_TYPE_LAST: u32 = 15;
const INTERLEAVE_LAST: u32 = 2;
const SWIZZLE_LAST: u32 = 6;
const L2_PROMOTION_LAST: u32 = 3;
const FILL_LAST: u32 = 1;
const WIDE_MODE_LAST: u32 = 1;

impl Core {
    pub(super) fn tensor_map_encode(
        &self,
        body: &body::TensorMapEncode,
        reply: ReplyTo,
    ) -> Result<(), Violation> {
        let map = checked(body).ok_or(Status::ERROR_INVALID_VALUE);
        self.tensor_map(body.context.get(), body.reply_offset.get(), map, reply)
    }

    pub(super) fn tensor_map_replace(
        &self,
        body: &body::TensorMapReplaceAddress,
        map: &[u8],
        reply: ReplyTo,
    ) -> Result<(), Violation> {
        let map: [u8; TENSOR_MAP_BYTES] = map.try_into().map_err(|_| Violation::PayloadLength)?;
        let map = TensorMap {
            address: body.address.get(),
            kind: TensorMapKind::Replace(map),
            data_type: 0,
            rank: 1,
            dims: [0; 5],
            strides: [0; 5],
            element_strides: [0; 5],
            interleave: 0,
            swizzle: 0,
            l2_promotion: 0,
            fill: 0,
        };
        self.tensor_map(body.context.get(), body.reply_offset.get(), Ok(map), reply)
    }

    fn tensor_map(
        &self,
        context: u64,
        reply_offset: u64,
        map: Result<TensorMap, Status>,
        reply: ReplyTo,
    ) -> Result<(), Violation> {
        self.staged(reply_offset, TENSOR_MAP_BYTES as u64)?;
        let encoded = self
            .context(context)?
            .and_then(|entry| entry.device.tensor_map(&map?).map_err(|error| error.status));
        match encoded {
            Ok(bytes) => {
                self.session
                    .staging
                    .write(reply_offset, &bytes)
                    .expect("the room was checked against staging");
                self.words().answer(reply, Status::SUCCESS, one(bytes.len() as u64));
            }
            Err(status) => self.words().answer(reply, status, Values::default()),
        }
        Ok(())
    }
}

/// The map that a body describes; `None` where a number is one that CUDA does not know.
fn checked(body: &body::TensorMapEncode) -> Option<TensorMap> {
    let channels_per_pixel = body.channels_per_pixel.get();
    let pixels_per_column = body.pixels_per_column.get();
    let (lower, upper) = (body.lower_corner.map(I32::get), body.upper_corner.map(I32::get));
    let kind = match body.kind.get() {
        TENSOR_MAP_TILED => TensorMapKind::Tiled(body.box_dims.map(U32::get)),
        TENSOR_MAP_IM2COL => TensorMapKind::Im2col { lower, upper, channels_per_pixel, pixels_per_column },
        TENSOR_MAP_IM2COL_WIDE => TensorMapKind::Im2colWide {
            lower: lower[0],
            upper: upper[0],
            channels_per_pixel,
            pixels_per_column,
            mode: body.wide_mode.get(),
        },
        _ => return None,
    };
    let is_known = body.data_type.get() <= DATA_TYPE_LAST
        && body.interleave.get() <= INTERLEAVE_LAST
        && body.swizzle.get() <= SWIZZLE_LAST
        && body.l2_promotion.get() <= L2_PROMOTION_LAST
        && body.fill.get() <= FILL_LAST
        && body.wide_mode.get() <= WIDE_MODE_LAST
        && (1..=5).contains(&body.rank.get());
    is_known.then(|| TensorMap {
        address: body.address.get(),
        kind,
        data_type: body.data_type.get(),
        rank: body.rank.get(),
        dims: body.dims.map(U64::get),
        strides: body.strides.map(U64::get),
        element_strides: body.element_strides.map(U32::get),
        interleave: body.interleave.get(),
        swizzle: body.swizzle.get(),
        l2_promotion: body.l2_promotion.get(),
        fill: body.fill.get(),
    })
}
