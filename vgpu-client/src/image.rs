//! Names of images, by which a host finds those that it keeps from earlier sessions of the same tenant.

use sha2::{Digest as _, Sha256};
use vgpu_proto::ImageDigest;
use vgpu_proto::limits::{IMAGE_BYTES_MAX, KEPT_IMAGE_BYTES_MIN};

/// The name of an image: its SHA-256 and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageName {
    /// The SHA-256.
    pub digest: ImageDigest,
    /// The length in bytes.
    pub bytes: u64,
}

impl ImageName {
    /// The name of an image of a size that hosts keep; `None` for others. Reads every byte, some two in a nanosecond.
    pub fn of(image: &[u8]) -> Option<Self> {
        let bytes = image.len() as u64;
        let is_kept = (KEPT_IMAGE_BYTES_MIN..=IMAGE_BYTES_MAX).contains(&bytes);
        is_kept.then(|| Self { digest: ImageDigest(Sha256::digest(image).into()), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_that_hosts_keep_have_a_name() {
        let large = vec![0; KEPT_IMAGE_BYTES_MIN as usize];
        assert_eq!(ImageName::of(&large[1..]), None);
        assert_eq!(ImageName::of(&[]), None);
        let name = ImageName::of(&large).unwrap();
        assert_eq!(name.bytes, KEPT_IMAGE_BYTES_MIN);
        let mut other = large;
        other[KEPT_IMAGE_BYTES_MIN as usize / 2] = 1;
        assert_ne!(ImageName::of(&other).unwrap().digest, name.digest);
    }
}
