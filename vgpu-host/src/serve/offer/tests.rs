//! Workers that ask and offer, honestly and not, with a daemon that runs in the test.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use vgpu_sched::Deadline;
use vgpu_window::Region;
use vgpu_window::sealed::Sealed;

use super::*;
use crate::api::ImagesBody;
use crate::config::Config;
use crate::serve::launch::WorkerCommand;
use crate::serve::session::Session;
use crate::wire::{Channel, FromWorker, Packet};

const SOON: Duration = Duration::from_secs(20);
const BYTES: u64 = KEPT_IMAGE_BYTES_MIN;

#[test]
fn the_copy_is_named_by_its_own_bytes_and_does_not_follow_the_workers_file() {
    let (region, file) = Region::create_shared("offered", 4096).unwrap();
    region.write(0, b"abc").unwrap();
    let image = copy(&file, 4096).unwrap();
    region.write(0, b"xyz").unwrap();
    let kept = Sealed::map(image.file.as_fd(), 4096).unwrap();
    assert_eq!(&kept[..4], b"abc\0");
    assert_eq!(image.digest.0, <[u8; 32]>::from(Sha256::digest(&*kept)));
}

#[test]
fn what_is_no_memory_file_of_that_length_is_not_copied() {
    let (_region, file) = Region::create_shared("offered", 4096).unwrap();
    assert!(matches!(copy(&file, 4097), Err(WindowError::SizeMismatch { .. })));
    assert!(matches!(copy(&null(), 4096), Err(WindowError::NotMemfd)));
}

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

fn frozen(bytes: &[u8]) -> OwnedFd {
    let draft = Draft::new("offered").unwrap();
    draft.append(bytes).unwrap();
    draft.freeze().unwrap()
}

/// The daemon's state, without its loop, and the workers' ends of three sessions: two of tenant 0, one of tenant 1.
struct Rig {
    daemon: Daemon,
    workers: Vec<Channel>,
    events: mpsc::Receiver<Event>,
    runtime: Runtime,
}

impl Rig {
    fn new(images_bytes: u64) -> Self {
        let tenant = |name| {
            format!(
                "[[tenant]]\nname = \"{name}\"\ngpu = \"g\"\nmemory_bytes = 1\nimages_bytes = {images_bytes}\n"
            )
        };
        let text = format!(
            "host = {{ runtime_dir = \"/nowhere\" }}\ngpu = [{{ name = \"g\", device = \"soft\" }}]\n{}{}",
            tenant("a"),
            tenant("b")
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sender, events) = mpsc::channel(16);
        let config = Config::from_toml(&text).unwrap();
        let store = crate::state::Store::open(std::path::Path::new("/nowhere"), false).unwrap();
        let turns = crate::serve::turns::Takers::start(&config, &sender).unwrap();
        let daemon = Daemon::new(config, vec![], store, turns, WorkerCommand::new("/nowhere"), sender);
        let mut rig = Self { daemon, workers: vec![], events, runtime };
        for (id, tenant) in [(0, 0), (1, 0), (2, 1)] {
            rig.admit(id, tenant);
        }
        rig
    }

    /// Lets a session of a tenant begin.
    fn admit(&mut self, id: u64, tenant: u32) {
        let (ours, theirs) = Channel::pair().unwrap();
        let channel = {
            let _guard = self.runtime.enter();
            Arc::new(ours.watch().unwrap())
        };
        let now = self.daemon.clock.now();
        let deadline = Deadline::after(now, vgpu_sched::Duration::from_millis(1));
        let session = Session::new(TenantId(tenant), 0, now, deadline, channel, Arc::new(Notify::new()));
        self.daemon.sessions.insert(SessionId(id), session);
        self.workers.push(Channel::adopt(theirs).unwrap());
    }

    /// Lets what was spawned go on until it waits.
    fn settle(&self) {
        self.runtime.block_on(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
    }

    fn offer(&mut self, session: u64, bytes: u64, file: Option<OwnedFd>) {
        let _guard = self.runtime.enter();
        self.daemon.said(SessionId(session), FromWorker::ImageOffered { bytes }, file);
    }

    /// Lets an offer that was admitted be read.
    fn read(&mut self) {
        let events = &mut self.events;
        let event = self
            .runtime
            .block_on(async { tokio::time::timeout(SOON, events.recv()).await.unwrap().unwrap() });
        let Event::ImageRead { session, tenant, image } = event else { panic!("{event:?}") };
        self.daemon.image_read(session, tenant, image);
    }

    /// What the daemon answers a worker that asks.
    fn ask(&mut self, session: u64, digest: [u8; 32], bytes: u64) -> Option<OwnedFd> {
        let question = FromWorker::ImageRequest { request: 7, digest: ImageDigest(digest), bytes };
        self.daemon.said(SessionId(session), question, None);
        match self.workers[session as usize].try_recv().unwrap() {
            Packet { message: ToWorker::ImageAnswer { request: 7 }, fd } => fd,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn is_taken(&self, session: u64) {
        let answer = self.workers[session as usize].try_recv::<ToWorker>().unwrap();
        assert!(matches!(answer.message, ToWorker::ImageTaken) && answer.fd.is_none());
    }

    fn cause(&self, session: u64) -> Option<&str> {
        let session = &self.daemon.sessions[&SessionId(session)];
        assert_eq!(session.killed, session.reason.is_some());
        session.reason.as_deref()
    }

    fn images(&self, tenant: usize) -> ImagesBody {
        self.daemon.tenants_body().tenants[tenant].images
    }
}

fn has(file: Option<OwnedFd>, bytes: &[u8]) -> bool {
    let mapped = |file: BorrowedFd<'_>| *Sealed::map(file, bytes.len() as u64).unwrap() == *bytes;
    file.is_some_and(|file| mapped(file.as_fd()))
}

#[test]
fn an_image_reaches_later_sessions_of_its_tenant_and_no_other() {
    let mut rig = Rig::new(64 << 20);
    let image = vec![7; BYTES as usize];
    let digest = Sha256::digest(&image).into();
    assert!(rig.ask(1, digest, BYTES).is_none());
    rig.offer(0, BYTES, Some(frozen(&image)));
    rig.read();
    rig.is_taken(0);
    assert!(has(rig.ask(1, digest, BYTES), &image) && has(rig.ask(0, digest, BYTES), &image));
    assert!(rig.ask(1, digest, BYTES + 1).is_none());
    assert!(rig.ask(2, digest, BYTES).is_none(), "another tenant does not even learn of it");
    let kept = rig.images(0);
    assert_eq!((kept.kept, kept.kept_bytes, kept.hits, kept.misses, kept.refused), (1, BYTES, 2, 2, 0));
    let other = rig.images(1);
    assert_eq!((other.kept, other.hits, other.misses), (0, 0, 1));
    // The session that offered it may be gone.
    rig.daemon.sessions.remove(&SessionId(0));
    assert!(has(rig.ask(1, digest, BYTES), &image));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let mut rig = Rig::new(64 << 20);
    for file in [null(), frozen(b"short")] {
        rig.offer(0, BYTES, Some(file));
        rig.read();
        rig.is_taken(0);
    }
    assert_eq!((rig.images(0).kept, rig.images(0).refused, rig.cause(0)), (0, 2, None));
}

#[test]
fn what_no_worker_does_ends_its_session() {
    let mut rig = Rig::new(64 << 20);
    rig.offer(0, BYTES, None);
    assert!(rig.cause(0).unwrap().contains("sent none"));
    for bytes in [0, BYTES - 1, IMAGE_BYTES_MAX + 1, u64::MAX] {
        let mut rig = Rig::new(64 << 20);
        rig.offer(0, bytes, Some(null()));
        assert!(rig.cause(0).unwrap().contains("size"));
    }
    let mut rig = Rig::new(64 << 20);
    for _ in 0..2 {
        rig.offer(0, BYTES, Some(frozen(&[0; 8])));
    }
    assert!(rig.cause(0).unwrap().contains("before the last one"));
    assert_eq!(rig.cause(1), None);
}

#[test]
fn who_offers_or_asks_too_much_is_refused() {
    let mut rig = Rig::new(2 << 20);
    rig.offer(0, 3 << 20, Some(null()));
    rig.is_taken(0);
    let image = vec![1; BYTES as usize];
    rig.offer(0, BYTES, Some(frozen(&image)));
    rig.read();
    rig.is_taken(0);
    // Used up in a future that the clock does not reach while the test runs.
    let later = vgpu_sched::Instant::from_nanos(u64::MAX / 2);
    assert!(rig.daemon.images[0].admit(later, 2 << 20).is_some());
    rig.offer(1, BYTES, Some(frozen(&image)));
    rig.is_taken(1);
    assert_eq!((rig.images(0).kept, rig.images(0).refused), (1, 2));
    let digest = Sha256::digest(&image).into();
    let questions = &mut rig.daemon.sessions.get_mut(&SessionId(1)).unwrap().questions;
    assert_eq!(questions.take(later, QUESTIONS_AT_ONCE), Ok(()));
    assert!(rig.ask(1, digest, BYTES).is_none());
    assert!(rig.ask(0, digest, BYTES).is_some(), "other sessions may ask");
    assert_eq!((rig.cause(0), rig.cause(1)), (None, None));
}

#[test]
fn what_waits_to_be_read_is_bounded_and_goes_with_its_session() {
    let mut rig = Rig::new(1 << 30);
    let reading = Arc::clone(&rig.daemon.reading);
    let turn = reading.try_acquire().unwrap();
    // Each is a pipe, whose other end tells when the daemon lets go of what was offered.
    let offer = |rig: &mut Rig, session| {
        let (held, gone) = rustix::pipe::pipe().unwrap();
        rig.offer(session, IMAGE_BYTES_MAX, Some(held));
        rig.settle();
        move || rustix::io::write(&gone, b"x") == Err(rustix::io::Errno::PIPE)
    };
    let first = offer(&mut rig, 0);
    let second = offer(&mut rig, 1);
    let other = offer(&mut rig, 2);
    assert!(!first() && !second() && !other());
    assert_eq!((rig.images(0).refused, rig.images(1).refused), (0, 0));
    // Who else comes is refused, and does not wait.
    rig.admit(3, 0);
    let third = offer(&mut rig, 3);
    assert!(third());
    assert_eq!(rig.images(0).refused, 1);
    // Sessions that come, offer and end leave nothing behind.
    for id in [0, 1, 3] {
        rig.daemon.sessions.remove(&SessionId(id));
    }
    rig.settle();
    assert!(first() && second() && !other());
    for id in 4..12 {
        rig.admit(id, 0);
        let is_gone = offer(&mut rig, id);
        assert!(!is_gone());
        rig.daemon.sessions.remove(&SessionId(id));
        rig.settle();
        assert!(is_gone());
    }
    assert_eq!(rig.images(0).refused, 1);
    drop(turn);
    // The other tenant's is read as soon as it is its turn.
    rig.read();
    rig.is_taken(2);
    assert_eq!(rig.images(1).refused, 1, "a pipe is no image");
}
