//! Images that the daemon keeps for one tenant between its sessions, what decides which.
//!
//! Nothing crosses from one tenant to another: what is kept, and how fast an answer comes, would tell one what another runs.
//! Workers count as controlled by their guests, so an image's name is the hash of the daemon's own copy ([`super::offer`]).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vgpu_proto::ImageDigest;
use vgpu_proto::limits::{IMAGE_BYTES_MAX, KEPT_IMAGES_MAX};
use vgpu_sched::{Bucket, Instant, Rate};

use crate::api::ImagesBody;

/// Bytes of offered images that are read for one tenant in a second, in the long run: an eighth of what one thread copies
/// and hashes, so that tenants who offer without end hold up no other's for long. All that the tenant's cache holds may come
/// at once.
const OFFERED_BYTES_PER_SECOND: u64 = 128 << 20;

/// Bytes that each offer counts for besides its own: opening and sealing a file costs as much as copying so many.
const OFFER_BYTES: u64 = 64 << 10;

/// Bytes of offered images that wait to be read or are being read for one tenant, at most. The worker that offered one may
/// be gone, and then nothing but the file that it sent keeps the memory, which no quota counts. Two of the largest are
/// enough: one is read while the next waits.
const READING_BYTES_MAX: u64 = 2 * IMAGE_BYTES_MAX;

/// The images of one tenant.
#[derive(Debug)]
pub(super) struct ImageCache {
    max_bytes: u64,
    kept: BTreeMap<ImageDigest, Kept>,
    kept_bytes: u64,
    /// Grows with each use of an image.
    uses: u64,
    offers: Bucket,
    /// Bytes of admitted offers that are not done.
    reading_bytes: Arc<AtomicU64>,
    hits: u64,
    misses: u64,
    refused: u64,
}

#[derive(Debug)]
struct Kept {
    file: Arc<OwnedFd>,
    bytes: u64,
    /// [`ImageCache::uses`] when it was last used.
    used: u64,
}

/// The daemon's own copy of an image.
#[derive(Debug)]
pub(crate) struct ImageCopy {
    /// What its bytes hash to.
    pub digest: ImageDigest,
    /// Frozen.
    pub file: OwnedFd,
    pub bytes: u64,
}

/// An offer that is read or waits for that. It counts until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    bytes: u64,
    reading_bytes: Arc<AtomicU64>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.reading_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl ImageCache {
    /// A cache of at most so many bytes.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            kept: BTreeMap::new(),
            kept_bytes: 0,
            uses: 0,
            offers: Bucket::new(offers_of(max_bytes), Instant::default()),
            reading_bytes: Arc::default(),
            hits: 0,
            misses: 0,
            refused: 0,
        }
    }

    /// Another bound. Those that were not used for longest go, if there are more now; a cache of 0 bytes keeps none.
    pub(super) fn set_max_bytes(&mut self, now: Instant, max_bytes: u64) {
        if max_bytes == self.max_bytes {
            return;
        }
        self.max_bytes = max_bytes;
        self.offers.set_rate(now, offers_of(max_bytes));
        while self.kept_bytes > self.max_bytes {
            self.drop_oldest();
        }
    }

    /// The image of that name, if it is kept.
    pub(super) fn find(&mut self, digest: ImageDigest, bytes: u64) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        match self.kept.get_mut(&digest).filter(|kept| kept.bytes == bytes) {
            Some(kept) => {
                self.hits += 1;
                kept.used = self.uses;
                Some(Arc::clone(&kept.file))
            }
            None => {
                self.misses += 1;
                None
            }
        }
    }

    /// Admits an offer of so many bytes, if it is worth reading and the tenant has not offered too much of late, nor has
    /// too much that is not read yet.
    pub(super) fn admit(&mut self, now: Instant, bytes: u64) -> Option<Admitted> {
        // Only this thread adds to it.
        let reading_bytes = self.reading_bytes.load(Ordering::Relaxed);
        let is_admitted = bytes <= self.max_bytes
            && reading_bytes.saturating_add(bytes) <= READING_BYTES_MAX
            && self.offers.take(now, bytes + OFFER_BYTES).is_ok();
        if !is_admitted {
            self.refused += 1;
            return None;
        }
        self.reading_bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(Admitted { bytes, reading_bytes: Arc::clone(&self.reading_bytes) })
    }

    /// An offer that could not be read.
    pub(super) const fn refuse(&mut self) {
        self.refused += 1;
    }

    /// Keeps an image, which no other of the tenant has to send again. Those that were not used for longest make room.
    pub(super) fn keep(&mut self, image: ImageCopy) {
        let ImageCopy { digest, file, bytes } = image;
        self.uses += 1;
        if let Some(kept) = self.kept.get_mut(&digest) {
            kept.used = self.uses;
            return;
        }
        if bytes > self.max_bytes {
            return self.refuse();
        }
        while self.kept_bytes + bytes > self.max_bytes || self.kept.len() >= KEPT_IMAGES_MAX {
            self.drop_oldest();
        }
        self.kept_bytes += bytes;
        self.kept.insert(digest, Kept { file: Arc::new(file), bytes, used: self.uses });
    }

    fn drop_oldest(&mut self) {
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(digest, _)| *digest);
        if let Some(kept) = oldest.and_then(|digest| self.kept.remove(&digest)) {
            self.kept_bytes -= kept.bytes;
        }
    }

    /// What operators see.
    pub(super) fn body(&self) -> ImagesBody {
        ImagesBody {
            kept: self.kept.len() as u64,
            kept_bytes: self.kept_bytes,
            max_bytes: self.max_bytes,
            hits: self.hits,
            misses: self.misses,
            refused: self.refused,
        }
    }
}

/// How fast a tenant may offer whose cache holds so many bytes. No offer is larger than the burst, so none passes that the
/// tenant has not saved up for.
fn offers_of(max_bytes: u64) -> Rate {
    let at_once = max_bytes.saturating_add(OFFER_BYTES);
    Rate::new(OFFERED_BYTES_PER_SECOND, at_once).expect("both are more than zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(name: u16, bytes: u64) -> ImageCopy {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&name.to_le_bytes());
        let file = std::fs::File::open("/dev/null").unwrap().into();
        ImageCopy { digest: ImageDigest(digest), file, bytes }
    }

    fn has(cache: &mut ImageCache, name: u16, bytes: u64) -> bool {
        cache.find(copy(name, 0).digest, bytes).is_some()
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let mut cache = ImageCache::new(10);
        cache.keep(copy(1, 4));
        cache.keep(copy(2, 4));
        assert!(has(&mut cache, 1, 4));
        cache.keep(copy(3, 4));
        assert!(has(&mut cache, 1, 4) && !has(&mut cache, 2, 4) && has(&mut cache, 3, 4));
        cache.keep(copy(4, 10));
        assert!(has(&mut cache, 4, 10) && !has(&mut cache, 1, 4));
        cache.keep(copy(5, 11));
        let body = cache.body();
        assert_eq!((body.kept, body.kept_bytes, body.max_bytes), (1, 10, 10));
        assert_eq!((body.hits, body.misses, body.refused), (4, 2, 1));
    }

    #[test]
    fn the_same_image_is_kept_once_and_only_under_its_own_length() {
        let mut cache = ImageCache::new(10);
        cache.keep(copy(1, 4));
        cache.keep(copy(1, 4));
        assert_eq!((cache.body().kept, cache.body().kept_bytes), (1, 4));
        assert!(!has(&mut cache, 1, 5));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut cache = ImageCache::new(u64::MAX);
        for name in 0..=KEPT_IMAGES_MAX as u16 {
            cache.keep(copy(name, 1));
        }
        assert_eq!(cache.body().kept, KEPT_IMAGES_MAX as u64);
        assert!(!has(&mut cache, 0, 1) && has(&mut cache, 1, 1));
    }

    #[test]
    fn a_tenant_may_fill_its_cache_at_once_and_then_offers_at_a_rate() {
        let mut cache = ImageCache::new(64 << 20);
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        assert!(cache.admit(at(0), (64 << 20) + 1).is_none(), "it would not fit");
        assert!(cache.admit(at(0), 64 << 20).is_some());
        assert!(cache.admit(at(0), 1 << 20).is_none());
        assert!(cache.admit(at(100), 1 << 20).is_some());
        let admitted = (0..1_000).filter(|turn| cache.admit(at(100 + turn), 1 << 20).is_some()).count();
        assert!((100..=200).contains(&admitted), "{admitted} MiB in a second");
        cache.set_max_bytes(at(0), 0);
        assert_eq!((cache.body().kept, cache.body().kept_bytes), (0, 0));
        let mut off = ImageCache::new(0);
        assert!(off.admit(at(0), 1).is_none());
        off.keep(copy(1, 1));
        assert_eq!((off.body().kept, off.body().refused), (0, 2));
    }
}
