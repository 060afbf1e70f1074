//! Encoding tensor maps. The driver does it on the CPU, and looks at no memory but what it is given.
//!
//! The functions are called with plain numbers for CUDA's enums, which the binding's types could not hold where a driver
//! knows more of them.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys;
use vgpu_proto::Status;

use super::handle::Handle;
use super::load::symbol;
use crate::device::tensor_map::RANK_MAX;
use crate::device::{DeviceError, TENSOR_MAP_BYTES, TensorMap, TensorMapKind};

/// A map, aligned as drivers ask (`CUtensorMap`: 64 bytes, 128 in newer headers).
#[repr(C, align(128))]
struct Map([u8; TENSOR_MAP_BYTES]);

type Tiled = unsafe extern "C" fn(
    *mut Map,
    u32,
    u32,
    *mut c_void,
    *const u64,
    *const u64,
    *const u32,
    *const u32,
    u32,
    u32,
    u32,
    u32,
) -> u32;
type Im2col = unsafe extern "C" fn(
    *mut Map,
    u32,
    u32,
    *mut c_void,
    *const u64,
    *const u64,
    *const i32,
    *const i32,
    u32,
    u32,
    *const u32,
    u32,
    u32,
    u32,
    u32,
) -> u32;
type Im2colWide = unsafe extern "C" fn(
    *mut Map,
    u32,
    u32,
    *mut c_void,
    *const u64,
    *const u64,
    i32,
    i32,
    u32,
    u32,
    *const u32,
    u32,
    u32,
    u32,
    u32,
    u32,
) -> u32;
type Replace = unsafe extern "C" fn(*mut Map, *mut c_void) -> u32;

/// A function of the driver that was found when the driver was loaded.
fn function<T: Copy>(name: &'static str) -> Result<T, DeviceError> {
    let missing = || DeviceError::new(Status::ERROR_NOT_SUPPORTED, format!("the driver has no {name}"));
    // SAFETY: each caller names a function and the type that `cuda.h` gives it, with enums as the 32 bits they are.
    unsafe { symbol::<T>(name) }.ok_or_else(missing)
}

/// The tensor's address, which the driver does not look at.
fn address(map: &TensorMap) -> *mut c_void {
    ptr::without_provenance_mut(map.address as usize)
}

fn tiled(map: &TensorMap, sizes: &[u32; RANK_MAX], out: &mut Map) -> Result<u32, DeviceError> {
    let encode: Tiled = function("cuTensorMapEncodeTiled")?;
    // SAFETY: `out` is a place for a map; the arrays have five entries, the most that a rank asks for.
    Ok(unsafe {
        encode(
            out,
            map.data_type,
            map.rank,
            address(map),
            map.dims.as_ptr(),
            map.strides.as_ptr(),
            sizes.as_ptr(),
            map.element_strides.as_ptr(),
            map.interleave,
            map.swizzle,
            map.l2_promotion,
            map.fill,
        )
    })
}

/// `counts`: channels of each pixel, pixels of each column.
fn im2col(
    map: &TensorMap,
    [lower, upper]: [&[i32; RANK_MAX]; 2],
    counts: [u32; 2],
    out: &mut Map,
) -> Result<u32, DeviceError> {
    let encode: Im2col = function("cuTensorMapEncodeIm2col")?;
    // SAFETY: as for `tiled`.
    Ok(unsafe {
        encode(
            out,
            map.data_type,
            map.rank,
            address(map),
            map.dims.as_ptr(),
            map.strides.as_ptr(),
            lower.as_ptr(),
            upper.as_ptr(),
            counts[0],
            counts[1],
            map.element_strides.as_ptr(),
            map.interleave,
            map.swizzle,
            map.l2_promotion,
            map.fill,
        )
    })
}

/// `ends` of the box in the width; `counts` as for [`im2col`].
fn im2col_wide(
    map: &TensorMap,
    ends: [i32; 2],
    counts: [u32; 2],
    mode: u32,
    out: &mut Map,
) -> Result<u32, DeviceError> {
    let encode: Im2colWide = function("cuTensorMapEncodeIm2colWide")?;
    // SAFETY: as for `tiled`.
    Ok(unsafe {
        encode(
            out,
            map.data_type,
            map.rank,
            address(map),
            map.dims.as_ptr(),
            map.strides.as_ptr(),
            ends[0],
            ends[1],
            counts[0],
            counts[1],
            map.element_strides.as_ptr(),
            map.interleave,
            mode,
            map.swizzle,
            map.l2_promotion,
            map.fill,
        )
    })
}

impl Handle {
    /// Encodes a map.
    pub(in crate::device::cuda) fn tensor_map(
        &self,
        map: &TensorMap,
    ) -> Result<[u8; TENSOR_MAP_BYTES], DeviceError> {
        self.bind()?;
        let mut out = Map([0; TENSOR_MAP_BYTES]);
        let result = match &map.kind {
            TensorMapKind::Tiled(sizes) => tiled(map, sizes, &mut out),
            TensorMapKind::Im2col { lower, upper, channels_per_pixel, pixels_per_column } => {
                im2col(map, [lower, upper], [*channels_per_pixel, *pixels_per_column], &mut out)
            }
            TensorMapKind::Im2colWide { lower, upper, channels_per_pixel, pixels_per_column, mode } => {
                let counts = [*channels_per_pixel, *pixels_per_column];
                im2col_wide(map, [*lower, *upper], counts, *mode, &mut out)
            }
            TensorMapKind::Replace(bytes) => {
                out = Map(*bytes);
                let replace: Replace = function("cuTensorMapReplaceAddress")?;
                // SAFETY: `out` holds a map's bytes, whatever they say: the driver writes an address among them.
                Ok(unsafe { replace(&raw mut out, address(map)) })
            }
        }?;
        if result != sys::CUresult::CUDA_SUCCESS as u32 {
            return Err(DeviceError::new(Status(result), "the driver refuses the tensor map"));
        }
        Ok(out.0)
    }
}
