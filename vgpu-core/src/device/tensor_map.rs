//! Tensor maps: how the units that copy tensors to shared memory are told of one.

/// Bytes of a map, whose coding is the driver's own.
pub const TENSOR_MAP_BYTES: usize = vgpu_proto::body::TENSOR_MAP_BYTES as usize;

/// Dimensions of a tensor, at most.
pub(crate) const RANK_MAX: usize = 5;

/// A map to encode. The fields are the parameters of `cuTensorMapEncode*`; enums are CUDA's numbers, checked against the
/// last that CUDA 13.0 knows.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "sessions build it, devices take it apart")]
pub struct TensorMap {
    /// Address of the tensor.
    pub address: u64,
    /// What is encoded.
    pub kind: TensorMapKind,
    /// `CUtensorMapDataType`.
    pub data_type: u32,
    /// Dimensions, 1 to 5.
    pub rank: u32,
    /// Elements of each dimension.
    pub dims: [u64; RANK_MAX],
    /// Bytes from one element of a dimension to the next, of all dimensions but the first.
    pub strides: [u64; RANK_MAX],
    /// Steps in each dimension, in elements.
    pub element_strides: [u32; RANK_MAX],
    /// `CUtensorMapInterleave`.
    pub interleave: u32,
    /// `CUtensorMapSwizzle`.
    pub swizzle: u32,
    /// `CUtensorMapL2promotion`.
    pub l2_promotion: u32,
    /// `CUtensorMapFloatOOBfill`.
    pub fill: u32,
}

/// What a map describes.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every device handles each kind")]
pub enum TensorMapKind {
    /// Boxes of the tensor, with the elements of each dimension.
    Tiled([u32; RANK_MAX]),
    /// Columns of an image.
    Im2col {
        /// Corners of the box of pixels.
        lower: [i32; RANK_MAX],
        /// See `lower`.
        upper: [i32; RANK_MAX],
        /// Channels of each pixel.
        channels_per_pixel: u32,
        /// Pixels of each column.
        pixels_per_column: u32,
    },
    /// Columns of an image along its width.
    Im2colWide {
        /// Where the box begins in the width.
        lower: i32,
        /// Where it ends.
        upper: i32,
        /// Channels of each pixel.
        channels_per_pixel: u32,
        /// Pixels of each column.
        pixels_per_column: u32,
        /// `CUtensorMapIm2ColWideMode`.
        mode: u32,
    },
    /// A map that is there, whose address alone changes.
    Replace([u8; TENSOR_MAP_BYTES]),
}
