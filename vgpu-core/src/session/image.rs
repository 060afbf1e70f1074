//! Images of modules: those that a guest sends, and those that the host keeps from an earlier session.

use std::fmt;

use vgpu_proto::ImageDigest;
use vgpu_proto::limits::{IMAGE_BYTES_MAX, KEPT_IMAGE_BYTES_MIN};
use vgpu_window::sealed::Sealed;

use super::region::Lent;

/// Who keeps images between the sessions of one tenant: the daemon, asked over the worker's control socket. Both calls may
/// come from any thread.
///
/// A session is as good without it, so the defaults keep nothing.
pub trait ImageStore: Send + Sync + fmt::Debug {
    /// The image of that digest and length, if it is kept. May wait, but not for long: the guest can send the image in a
    /// few milliseconds.
    fn find(&self, digest: ImageDigest, bytes: u64) -> Option<Sealed> {
        let _ = (digest, bytes);
        None
    }

    /// Offers an image that a guest sent and the device took. Never waits, and may do nothing.
    fn keep(&self, image: Vec<u8>) {
        drop(image);
    }
}

/// Where the image of a load is.
#[derive(Debug)]
pub(super) enum ImageSource {
    /// In the window.
    Sent(ImagePlace),
    /// Where earlier sessions left it, perhaps.
    Kept {
        /// Its name there.
        digest: ImageDigest,
        /// Its length.
        bytes: u64,
    },
}

/// The part of a region that holds an image.
#[derive(Debug)]
pub(super) struct ImagePlace {
    pub(super) region: Lent,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// An image that nobody changes any more.
#[derive(Debug)]
pub(super) enum Image {
    /// A private copy of what the guest sent.
    Sent(Vec<u8>),
    /// Pages of the store.
    Kept(Sealed),
}

impl ImageSource {
    /// Whether an image may be so long.
    pub(super) fn has_sound_length(&self) -> bool {
        match self {
            Self::Sent(place) => (1..=IMAGE_BYTES_MAX).contains(&place.bytes),
            Self::Kept { bytes, .. } => (KEPT_IMAGE_BYTES_MIN..=IMAGE_BYTES_MAX).contains(bytes),
        }
    }
}

impl ImagePlace {
    /// A private copy: from here on nobody changes what is checked.
    pub(super) fn copy(&self) -> Vec<u8> {
        let bytes = usize::try_from(self.bytes).expect("checked against IMAGE_BYTES_MAX");
        let mut copy = vec![0; bytes];
        self.region.read(self.offset, &mut copy).expect("checked against the region");
        copy
    }
}

impl Image {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Sent(bytes) => bytes,
            Self::Kept(bytes) => bytes,
        }
    }

    /// Offers it to the store, if it was sent and is large enough to be asked for another time.
    pub(super) fn offer(self, store: &dyn ImageStore) {
        match self {
            Self::Sent(bytes) if bytes.len() as u64 >= KEPT_IMAGE_BYTES_MIN => store.keep(bytes),
            Self::Sent(_) | Self::Kept(_) => {}
        }
    }
}
