//! Boxes of bytes: what copies in two and three dimensions name on each side.

use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};

/// One side of a copy of boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoxSide {
    /// Address of the first byte that is copied.
    pub(crate) base: u64,
    /// Bytes from row to row.
    pub(crate) pitch: u64,
    /// Bytes from slice to slice.
    pub(crate) slice: u64,
}

/// `CU_MEMORYTYPE_HOST`, `DEVICE` and `UNIFIED`; 3 is an array.
const TYPE_HOST: u32 = 1;
const TYPE_DEVICE: u32 = 2;
const TYPE_UNIFIED: u32 = 4;

impl BoxSide {
    /// From the fields of `CUDA_MEMCPY3D`: offset in x (bytes), y, z; memory type; host and device address; pitch and
    /// height. A pitch or height of 0 stands for a packed box.
    fn new(at: [u64; 3], kind: u64, addresses: [u64; 2], strides: [u64; 2], extent: [u64; 3]) -> Call<Self> {
        let sum = |a: u64, b: u64| a.checked_add(b).ok_or(INVALID_VALUE);
        let pitch = if strides[0] == 0 { sum(at[0], extent[0])? } else { strides[0] };
        let height = if strides[1] == 0 { sum(at[1], extent[1])? } else { strides[1] };
        // The field has 32 bits and padding.
        let start = match kind as u32 {
            TYPE_HOST => addresses[0],
            TYPE_DEVICE | TYPE_UNIFIED => addresses[1],
            3 => return Err(NOT_SUPPORTED),
            _ => return Err(INVALID_VALUE),
        };
        if pitch < sum(at[0], extent[0])? {
            return Err(INVALID_VALUE);
        }
        let slice = pitch.checked_mul(height).ok_or(INVALID_VALUE)?;
        let z = at[2].checked_mul(slice).ok_or(INVALID_VALUE)?;
        let y = at[1].checked_mul(pitch).ok_or(INVALID_VALUE)?;
        Ok(Self { base: sum(sum(sum(start, z)?, y)?, at[0])?, pitch, slice })
    }

    /// Address of a row.
    pub(crate) fn row(&self, y: u64, z: u64) -> u64 {
        self.base.wrapping_add(z.wrapping_mul(self.slice)).wrapping_add(y.wrapping_mul(self.pitch))
    }
}

/// A copy of boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boxes {
    pub(crate) from: BoxSide,
    pub(crate) to: BoxSide,
    /// Bytes of a row, rows, slices.
    pub(crate) extent: [u64; 3],
}

impl Boxes {
    /// `CUDA_MEMCPY2D`, seven words for each side (x, y, type, host, device, array, pitch), then width and height, as
    /// `CUDA_MEMCPY3D`.
    pub(crate) fn two_d_params(words: &[u64; 16]) -> [u64; 25] {
        let mut params = [0; 25];
        for (from, to) in [(0, 0), (7, 11)] {
            params[to] = words[from];
            params[to + 1] = words[from + 1];
            params[to + 4] = words[from + 2];
            params[to + 5] = words[from + 3];
            params[to + 6] = words[from + 4];
            params[to + 7] = words[from + 5];
            params[to + 9] = words[from + 6];
        }
        params[22..].copy_from_slice(&[words[14], words[15], 1]);
        params
    }

    /// `CUDA_MEMCPY3D`: eleven words for each side (x, y, z, level, type, host, device, array, reserved, pitch, height),
    /// then width, height and depth.
    pub(crate) fn three_d(words: &[u64; 25]) -> Call<Self> {
        let extent = [words[22], words[23], words[24]];
        let side = |at: usize| {
            let side = &words[at..at + 11];
            let at = [side[0], side[1], side[2]];
            BoxSide::new(at, side[4], [side[5], side[6]], [side[9], side[10]], extent)
        };
        Ok(Self { from: side(0)?, to: side(11)?, extent })
    }

    /// `CUDA_MEMCPY3D` of a plain copy.
    pub(crate) fn linear_params(destination: u64, source: u64, bytes: u64) -> [u64; 25] {
        Self::unified_params([source, bytes, 1], [destination, bytes, 1], [bytes, 1, 1])
    }

    /// `CUDA_MEMCPY3D` between addresses, each with its pitch and height; packed where those are 0.
    pub(crate) fn unified_params(from: [u64; 3], to: [u64; 3], extent: [u64; 3]) -> [u64; 25] {
        let mut params = [0; 25];
        for (at, [address, pitch, height]) in [(0, from), (11, to)] {
            params[at + 4] = TYPE_UNIFIED.into();
            params[at + 6] = address;
            params[at + 9] = pitch;
            params[at + 10] = height;
        }
        params[22..].copy_from_slice(&extent);
        params
    }

    /// Whether there is nothing to copy.
    pub(crate) fn is_empty(&self) -> bool {
        self.extent.contains(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_packed_boxes_are_resolved() {
        let mut words = [0; 16];
        words[..7].copy_from_slice(&[2, 3, 2, 0, 1_000, 0, 100]);
        words[7..].copy_from_slice(&[0, 0, 1, 5_000, 0, 0, 0, 10, 4]);
        let boxes = Boxes::three_d(&Boxes::two_d_params(&words)).unwrap();
        assert_eq!(boxes.extent, [10, 4, 1]);
        assert_eq!((boxes.from.base, boxes.from.pitch), (1_302, 100));
        assert_eq!((boxes.to.base, boxes.to.pitch, boxes.to.slice), (5_000, 10, 40));
        assert_eq!(boxes.from.row(2, 0), 1_502);
    }

    #[test]
    fn boxes_that_do_not_fit_are_refused() {
        let mut params = Boxes::linear_params(1, 2, 3);
        assert_eq!(Boxes::three_d(&params).unwrap().extent, [3, 1, 1]);
        params[9] = 2;
        assert_eq!(Boxes::three_d(&params), Err(INVALID_VALUE));
        params[9] = u64::MAX;
        params[10] = 2;
        assert_eq!(Boxes::three_d(&params), Err(INVALID_VALUE));
        params[4] = 3;
        assert_eq!(Boxes::three_d(&params), Err(NOT_SUPPORTED));
    }
}
