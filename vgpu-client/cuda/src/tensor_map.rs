//! Tensor maps. The host's driver encodes them; how is not documented, so nothing is made up here.

use vgpu_client::{TENSOR_MAP_BYTES, TensorMapEncode};

use crate::current;
use crate::fail::{Call, INVALID_VALUE};
use crate::pointers::{In, Out};

/// `CUtensorMap`.
type Map = [u8; TENSOR_MAP_BYTES as usize];

/// `TENSOR_MAP_*` of the protocol.
const TILED: u32 = 0;
const IM2COL: u32 = 1;
const IM2COL_WIDE: u32 = 2;

/// Dimensions of a tensor, at most.
const RANK_MAX: u32 = 5;

/// The first `count` entries of an array, each in the form in which it travels.
fn array<T: Copy, F: From<T> + Copy>(from: In<T>, count: u32, zero: T) -> Call<[F; 5]> {
    let mut out = [F::from(zero); 5];
    for (at, place) in out.iter_mut().enumerate().take(count as usize) {
        *place = from.at(at)?.into();
    }
    Ok(out)
}

/// What all kinds of maps are told.
#[derive(Clone, Copy, Debug)]
struct Common {
    data_type: u32,
    rank: u32,
    address: u64,
    dims: In<u64>,
    strides: In<u64>,
    element_strides: In<u32>,
    interleave: u32,
    swizzle: u32,
    l2_promotion: u32,
    fill: u32,
}

impl Common {
    fn parameters(self, kind: u32) -> Call<TensorMapEncode> {
        if !(1..=RANK_MAX).contains(&self.rank) {
            return Err(INVALID_VALUE);
        }
        Ok(TensorMapEncode {
            address: self.address.into(),
            dims: array(self.dims, self.rank, 0)?,
            strides: array(self.strides, self.rank - 1, 0)?,
            element_strides: array(self.element_strides, self.rank, 0)?,
            kind: kind.into(),
            data_type: self.data_type.into(),
            rank: self.rank.into(),
            interleave: self.interleave.into(),
            swizzle: self.swizzle.into(),
            l2_promotion: self.l2_promotion.into(),
            fill: self.fill.into(),
            ..Default::default()
        })
    }
}

fn encode(out: Out<Map>, parameters: TensorMapEncode) -> Call {
    let context = current::context()?;
    out.required()?;
    out.set(context.inner.encode_tensor_map(parameters)?);
    Ok(())
}

driver_calls! {
    fn cuTensorMapEncodeTiled(
        out: Out<Map>, data_type: u32, rank: u32, address: u64, dims: In<u64>, strides: In<u64>, box_dims: In<u32>,
        element_strides: In<u32>, interleave: u32, swizzle: u32, l2_promotion: u32, fill: u32
    ) {
        let common = Common {
            data_type, rank, address, dims, strides, element_strides, interleave, swizzle, l2_promotion, fill,
        };
        let box_dims = array(box_dims, rank.min(RANK_MAX), 0)?;
        encode(out, TensorMapEncode { box_dims, ..common.parameters(TILED)? })
    }
    fn cuTensorMapEncodeIm2col(
        out: Out<Map>, data_type: u32, rank: u32, address: u64, dims: In<u64>, strides: In<u64>, lower: In<i32>,
        upper: In<i32>, channels_per_pixel: u32, pixels_per_column: u32, element_strides: In<u32>, interleave: u32,
        swizzle: u32, l2_promotion: u32, fill: u32
    ) {
        let common = Common {
            data_type, rank, address, dims, strides, element_strides, interleave, swizzle, l2_promotion, fill,
        };
        let parameters = common.parameters(IM2COL)?;
        // The box has neither the channels nor the images of the tensor.
        let spatial = rank.saturating_sub(2);
        encode(out, TensorMapEncode {
            lower_corner: array(lower, spatial, 0)?,
            upper_corner: array(upper, spatial, 0)?,
            channels_per_pixel: channels_per_pixel.into(),
            pixels_per_column: pixels_per_column.into(),
            ..parameters
        })
    }
    fn cuTensorMapEncodeIm2colWide(
        out: Out<Map>, data_type: u32, rank: u32, address: u64, dims: In<u64>, strides: In<u64>, lower: i32,
        upper: i32, channels_per_pixel: u32, pixels_per_column: u32, element_strides: In<u32>, interleave: u32,
        mode: u32, swizzle: u32, l2_promotion: u32, fill: u32
    ) {
        let common = Common {
            data_type, rank, address, dims, strides, element_strides, interleave, swizzle, l2_promotion, fill,
        };
        let mut parameters = common.parameters(IM2COL_WIDE)?;
        parameters.lower_corner[0] = lower.into();
        parameters.upper_corner[0] = upper.into();
        encode(out, TensorMapEncode {
            channels_per_pixel: channels_per_pixel.into(),
            pixels_per_column: pixels_per_column.into(),
            wide_mode: mode.into(),
            ..parameters
        })
    }
    fn cuTensorMapReplaceAddress(map: Out<Map>, address: u64) {
        let context = current::context()?;
        let old = map.get()?;
        map.set(context.inner.replace_tensor_map_address(old, address)?);
        Ok(())
    }
}
