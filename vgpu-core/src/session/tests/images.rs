//! Images that the host keeps between sessions.

use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use vgpu_proto::control::ModuleDescription;
use vgpu_proto::limits::{CONTROL_BYTES_MAX, IMAGE_BYTES_MAX, KEPT_IMAGE_BYTES_MIN};
use vgpu_proto::{ImageDigest, ModuleId, Status, Violation, body, codec, window};
use vgpu_window::sealed::{Draft, Sealed};

use super::guest::{CONTEXT, Guest};
use super::mock::MockDevice;
use super::{session_of, session_that_keeps};
use crate::session::state::Session;
use crate::session::{CreditKind, CreditSource, ImageStore};

const MODULE: ModuleId = ModuleId::new(0, 1);
const DIGEST: ImageDigest = ImageDigest([7; 32]);
/// Where answers go, behind the images.
const ANSWER: u64 = 4 << 20;
const BYTES: u64 = KEPT_IMAGE_BYTES_MIN;

/// Keeps at most one image, under [`DIGEST`], and counts what it is offered.
#[derive(Debug, Default)]
struct Shelf {
    kept: Mutex<Option<Vec<u8>>>,
    offered: Mutex<Vec<usize>>,
}

impl ImageStore for Shelf {
    fn find(&self, digest: ImageDigest, bytes: u64) -> Option<Sealed> {
        let kept = self.kept.lock().clone().filter(|kept| digest == DIGEST && kept.len() as u64 == bytes)?;
        let draft = Draft::new("kept").unwrap();
        draft.append(&kept).unwrap();
        Some(Sealed::map(draft.freeze().unwrap().as_fd(), bytes).unwrap())
    }

    fn keep(&self, image: Vec<u8>) {
        self.offered.lock().push(image.len());
    }
}

fn guest(credit_bytes: u64) -> (Guest, Arc<Shelf>) {
    let shelf = Arc::new(Shelf::default());
    let guest = session_that_keeps(&Arc::new(MockDevice::default()), credit_bytes, shelf.clone());
    (guest.with_context(), shelf)
}

fn kept() -> body::ModuleLoadKept {
    body::ModuleLoadKept {
        context: CONTEXT.raw().into(),
        module: MODULE.raw().into(),
        image_bytes: BYTES.into(),
        reply_offset: ANSWER.into(),
        reply_bytes: CONTROL_BYTES_MAX.into(),
        digest: DIGEST.0,
        ..Default::default()
    }
}

/// Status, what was told, and whether the image is to be sent.
fn load_kept(guest: &mut Guest, body: &body::ModuleLoadKept) -> (Status, Vec<u8>, u64) {
    let (status, length) = guest.call(0, body, &[]);
    let second = guest.control.atomic_u64(window::reply(5, window::REPLY_VALUES) + 8).unwrap();
    let mut told = vec![0; usize::try_from(length).unwrap()];
    guest.session.staging.read(ANSWER, &mut told).unwrap();
    (status, told, second.load(Ordering::Relaxed))
}

fn send(guest: &mut Guest, index: u32, image: &[u8]) -> Status {
    guest.session.staging.write(0, image).unwrap();
    let body = body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: ModuleId::new(index, 1).raw().into(),
        image_bytes: (image.len() as u64).into(),
        image_region: 1.into(),
        reply_offset: ANSWER.into(),
        reply_bytes: CONTROL_BYTES_MAX.into(),
        ..Default::default()
    };
    guest.call(0, &body, &[]).0
}

#[test]
fn what_is_not_kept_is_to_be_sent_and_then_offered() {
    let (mut guest, shelf) = guest(u64::MAX);
    assert_eq!(load_kept(&mut guest, &kept()), (Status::ERROR_NOT_FOUND, vec![], 1));
    assert_eq!(shelf.offered.lock().len(), 0);
    assert_eq!(guest.session.counts().memory_bytes, 0);
    // The name is free again.
    let image = vec![b' '; BYTES as usize];
    assert_eq!(send(&mut guest, MODULE.index(), &image), Status::SUCCESS);
    assert_eq!(*shelf.offered.lock(), [image.len()]);
}

#[test]
fn what_is_kept_is_loaded_and_paid_for_as_any_other_image() {
    let (mut guest, shelf) = guest(u64::MAX);
    *shelf.kept.lock() = Some(vec![b' '; BYTES as usize]);
    let (status, told, is_wanted) = load_kept(&mut guest, &kept());
    assert_eq!((status, is_wanted), (Status::SUCCESS, 0));
    assert_eq!(codec::decode::<ModuleDescription>(&told).unwrap().functions, 1);
    assert_eq!(guest.session.counts().memory_bytes, 1 << 10);
    let other = body::ModuleLoadKept {
        module: ModuleId::new(1, 1).raw().into(),
        image_bytes: (BYTES + 1).into(),
        ..kept()
    };
    assert_eq!(load_kept(&mut guest, &other).2, 1, "an image of another length is another image");
    assert_eq!(guest.call(0, &body::ModuleUnload { module: MODULE.raw().into() }, &[]).0, Status::SUCCESS);
    assert_eq!(guest.session.counts().memory_bytes, 0);
    assert_eq!(shelf.offered.lock().len(), 0, "what is kept is not offered again");
}

#[test]
fn what_does_not_load_or_is_small_is_not_offered() {
    let (mut rich, shelf) = guest(u64::MAX);
    let mut bad = vec![b' '; BYTES as usize];
    bad[..3].copy_from_slice(b"bad");
    assert_eq!(send(&mut rich, 0, &bad), Status::ERROR_INVALID_PTX);
    assert_eq!(send(&mut rich, 0, &bad[3..]), Status::SUCCESS, "one that is too small");
    *shelf.kept.lock() = Some(bad);
    let refused =
        load_kept(&mut rich, &body::ModuleLoadKept { module: ModuleId::new(1, 1).raw().into(), ..kept() });
    assert_eq!(refused, (Status::ERROR_INVALID_PTX, b"line 1: bad".to_vec(), 0));
    assert_eq!(shelf.offered.lock().len(), 0);
    let (mut poor, shelf) = guest(1);
    assert_eq!(send(&mut poor, 0, &vec![b' '; BYTES as usize]), Status::ERROR_OUT_OF_MEMORY);
    assert_eq!(shelf.offered.lock().len(), 0);
}

/// A broker that notes, each time that it is asked, whether the session lets anybody else copy an image meanwhile.
#[derive(Debug, Default)]
struct Watcher {
    session: OnceLock<Weak<Session>>,
    seen: Mutex<Vec<bool>>,
}

impl CreditSource for Watcher {
    fn request(&self, _kind: CreditKind, bytes: u64, _minimum: u64) -> u64 {
        if let Some(session) = self.session.get().and_then(Weak::upgrade) {
            self.seen.lock().push(session.loading.is_locked());
        }
        bytes
    }

    fn release(&self, _kind: CreditKind, _bytes: u64) {}
}

#[test]
fn no_other_image_is_copied_while_the_broker_is_asked() {
    let broker = Arc::new(Watcher::default());
    let device = Arc::new(MockDevice::default());
    let mut guest = session_of(&device, broker.clone(), Arc::new(Shelf::default())).with_context();
    broker.session.set(Arc::downgrade(&guest.session)).unwrap();
    assert_eq!(send(&mut guest, 0, &vec![b' '; BYTES as usize]), Status::SUCCESS);
    assert_eq!(*broker.seen.lock(), [true]);
    assert!(!guest.session.loading.is_locked(), "the next may load");
}

#[test]
fn absurd_questions_answer_errors_or_end_the_session() {
    let (mut guest, _) = guest(u64::MAX);
    for image_bytes in [0, BYTES - 1, IMAGE_BYTES_MAX + 1, u64::MAX] {
        let body = body::ModuleLoadKept { image_bytes: image_bytes.into(), ..kept() };
        assert_eq!(load_kept(&mut guest, &body), (Status::ERROR_INVALID_IMAGE, vec![], 0));
    }
    for (body, options, violation) in [
        (body::ModuleLoadKept { reserved: 1.into(), ..kept() }, &[][..], Violation::ReservedBits),
        (body::ModuleLoadKept { reply_bytes: u32::MAX.into(), ..kept() }, &[], Violation::PayloadLimit),
        (body::ModuleLoadKept { reply_offset: u64::MAX.into(), ..kept() }, &[], Violation::RegionBounds),
        (body::ModuleLoadKept { module: 0.into(), ..kept() }, &[], Violation::HandleIndex),
        (kept(), &[0xff; 8], Violation::ReservedBits),
    ] {
        let (mut guest, _) = self::guest(u64::MAX);
        let reply = guest.reply(0);
        guest.send(0, Some(reply), &body, options);
        assert_eq!(guest.run().expect("the session ends").closing.reason, violation.to_string());
    }
}
