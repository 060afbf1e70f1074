//! Workers ask for images and offer them; a tenant's cache ([`super::images`]) decides.
//!
//! What is offered is read once, into a copy of the daemon's own, and named by the hash of that copy: nothing that a worker
//! says or does to its file later matters. The reading is done on a thread apart, one image at a time for the whole host.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc, oneshot};
use vgpu_core::broker::SessionId;
use vgpu_proto::ImageDigest;
use vgpu_proto::limits::{IMAGE_BYTES_MAX, KEPT_IMAGE_BYTES_MIN};
use vgpu_sched::{Bucket, Instant, Rate, TenantId};
use vgpu_window::WindowError;
use vgpu_window::sealed::{Draft, read_file};

use super::daemon::Daemon;
use super::event::Event;
use super::images::{Admitted, ImageCopy};
use crate::wire::ToWorker;

/// Questions of a session in a second, in the long run and at once: more than a program has images of such a size. Each
/// answer may put a descriptor on its way, of which the system lets one user have only so many.
const QUESTIONS_PER_SECOND: u64 = 100;
const QUESTIONS_AT_ONCE: u64 = 256;

/// What a session may ask.
pub(super) fn questions() -> Bucket {
    let rate = Rate::new(QUESTIONS_PER_SECOND, QUESTIONS_AT_ONCE).expect("both are more than zero");
    Bucket::new(rate, Instant::default())
}

impl Daemon {
    /// A worker asks for an image. Who asks too often is told that there is none.
    pub(super) fn image_requested(&mut self, id: SessionId, request: u64, digest: ImageDigest, bytes: u64) {
        let now = self.clock.now();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let may_ask = session.questions.take(now, 1).is_ok();
        let cache = &mut self.images[session.tenant.0 as usize];
        let found = may_ask.then(|| cache.find(digest, bytes)).flatten();
        session.send_image(request, found.as_deref());
    }

    /// A worker offers an image.
    pub(super) fn image_offered(&mut self, id: SessionId, bytes: u64, file: Option<OwnedFd>) {
        let now = self.clock.now();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(file) = file else { return session.kill("the worker offered an image and sent none") };
        if !(KEPT_IMAGE_BYTES_MIN..=IMAGE_BYTES_MAX).contains(&bytes) {
            return session.kill("the worker offered an image of a size that nobody asks for");
        }
        let (offering, ended) = oneshot::channel();
        if session.offering.replace(offering).is_some() {
            return session.kill("the worker offered an image before the last one was taken");
        }
        let tenant = session.tenant;
        let Some(admitted) = self.images[tenant.0 as usize].admit(now, bytes) else {
            return self.image_done(id);
        };
        let offer = Offer { session: id, tenant, bytes, file, admitted, ended };
        tokio::spawn(offer.read(Arc::clone(&self.reading), self.events.clone()));
    }

    /// An offered image was read, or could not be.
    pub(super) fn image_read(&mut self, id: SessionId, tenant: TenantId, image: Result<ImageCopy, String>) {
        match image {
            Ok(image) => {
                tracing::debug!(session = id.0, digest = ?image.digest, bytes = image.bytes, "image kept");
                self.images[tenant.0 as usize].keep(image);
            }
            Err(error) => {
                tracing::warn!(session = id.0, error, "an offered image cannot be kept");
                self.images[tenant.0 as usize].refuse();
            }
        }
        self.image_done(id);
    }

    fn image_done(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.killed) {
            session.offering = None;
            session.send(&ToWorker::ImageTaken);
        }
    }
}

/// An image that a worker offered.
#[derive(Debug)]
struct Offer {
    session: SessionId,
    tenant: TenantId,
    bytes: u64,
    file: OwnedFd,
    /// It counts for as long as the file or the copy is held here.
    admitted: Admitted,
    /// Never sent anything; closed when the session is gone.
    ended: oneshot::Receiver<()>,
}

impl Offer {
    /// Reads it, once it is its turn. Each session has one offer at a time, so few wait; one whose session ends first is
    /// not read.
    async fn read(self, reading: Arc<Semaphore>, events: mpsc::Sender<Event>) {
        let Self { session, tenant, bytes, file, admitted, ended } = self;
        let copied = {
            let _turn = tokio::select! {
                biased;
                // It is never closed.
                turn = reading.acquire() => turn,
                _ = ended => return,
            };
            tokio::task::spawn_blocking(move || copy(&file, bytes)).await
        };
        let image = match copied {
            Ok(copied) => copied.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        // Nobody is left to keep it when the daemon is gone.
        let _ = events.send(Event::ImageRead { session, tenant, image }).await;
        drop(admitted);
    }
}

/// Copies an image that a worker holds, and hashes the copy.
fn copy(file: &OwnedFd, bytes: u64) -> Result<ImageCopy, WindowError> {
    let draft = Draft::new("vgpu-image")?;
    let mut hash = Sha256::new();
    read_file(file.as_fd(), bytes, |part| {
        hash.update(part);
        draft.append(part)
    })?;
    Ok(ImageCopy { digest: ImageDigest(hash.finalize().into()), file: draft.freeze()?, bytes })
}

#[cfg(test)]
mod tests;
