//! The daemon's images, from a worker's side: asked for when a guest names one, offered when a guest sent one.
//!
//! A daemon that is gone or slow costs its guests no more than the time to send their images.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use vgpu_core::session::ImageStore;
use vgpu_proto::ImageDigest;
use vgpu_proto::limits::IMAGE_BYTES_MAX;
use vgpu_window::WindowError;
use vgpu_window::sealed::{Draft, Sealed};

use crate::wire::{Channel, ChannelError, FromWorker};

/// How long a guest's load waits for the daemon's answer. An idle one answers within a tenth of a millisecond; sending the
/// largest image takes some 60 ms. A daemon that is late once is not asked again until that answer is there.
const ANSWER: Duration = Duration::from_millis(50);

/// Bytes of images that wait to be offered, at most, unless one alone is larger; others are not offered. Their memory is
/// the host's, and no quota counts it.
const WAITING_BYTES_MAX: u64 = IMAGE_BYTES_MAX;

/// The daemon's images.
#[derive(Debug)]
pub(super) struct Images {
    channel: Arc<Channel>,
    questions: Mutex<Questions>,
    answered: Condvar,
    offers: Mutex<Offers>,
    offered: Condvar,
}

/// Questions on their way. Each blocks the thread that asked, so there are no more than threads.
#[derive(Debug, Default)]
struct Questions {
    next: u64,
    /// By number; the answer once it came.
    open: BTreeMap<u64, Option<Option<OwnedFd>>>,
    /// An answer was waited for in vain and has not come yet.
    overdue: bool,
    /// The daemon is gone.
    closed: bool,
}

#[derive(Debug, Default)]
struct Offers {
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: u64,
    /// The daemon has not answered the latest one.
    under_way: bool,
    /// The daemon is gone.
    closed: bool,
}

/// Why the daemon is not offered an image. It answers nothing then.
#[derive(Debug, thiserror::Error)]
enum NotOffered {
    #[error(transparent)]
    File(#[from] WindowError),
    /// The system lets one user have so many descriptors on their way, for one.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl Images {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self {
            channel,
            questions: Mutex::default(),
            answered: Condvar::new(),
            offers: Mutex::default(),
            offered: Condvar::new(),
        }
    }

    /// The daemon answered a question.
    pub(super) fn answer(&self, request: u64, image: Option<OwnedFd>) {
        let mut questions = self.questions.lock();
        questions.overdue = false;
        if let Some(answer) = questions.open.get_mut(&request) {
            *answer = Some(image);
            self.answered.notify_all();
        }
    }

    /// The daemon is done with what it was offered.
    pub(super) fn taken(&self) {
        self.offers.lock().under_way = false;
        self.offered.notify_all();
    }

    /// The daemon is gone.
    pub(super) fn close(&self) {
        self.questions.lock().closed = true;
        self.answered.notify_all();
        *self.offers.lock() = Offers { closed: true, ..Offers::default() };
        self.offered.notify_all();
    }

    /// Starts the thread that offers images, so that no guest waits for that.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let images = Arc::clone(self);
        std::thread::Builder::new().name("images".into()).spawn(move || images.offer_all()).map(drop)
    }

    fn offer_all(&self) {
        while let Some(image) = self.next_offer() {
            if let Err(error) = self.offer(&image) {
                tracing::warn!(%error, bytes = image.len(), "an image is not offered to later sessions");
                self.taken();
            }
        }
    }

    /// Waits until the daemon may be offered something; nothing once it is gone.
    fn next_offer(&self) -> Option<Vec<u8>> {
        let mut offers = self.offers.lock();
        loop {
            if offers.closed {
                return None;
            }
            if !offers.under_way
                && let Some(image) = offers.waiting.pop_front()
            {
                offers.waiting_bytes -= image.len() as u64;
                offers.under_way = true;
                return Some(image);
            }
            self.offered.wait(&mut offers);
        }
    }

    fn offer(&self, image: &[u8]) -> Result<(), NotOffered> {
        let draft = Draft::new("vgpu-image")?;
        draft.append(image)?;
        let file = draft.freeze()?;
        let offer = FromWorker::ImageOffered { bytes: image.len() as u64 };
        match self.channel.send_descriptor(&offer, file.as_fd()) {
            // A daemon that is gone closes this as well, from the thread that hears it.
            Ok(()) | Err(ChannelError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn ask(&self, digest: ImageDigest, bytes: u64) -> Option<OwnedFd> {
        let mut questions = self.questions.lock();
        if questions.closed || questions.overdue {
            return None;
        }
        let request = questions.next;
        questions.next += 1;
        questions.open.insert(request, None);
        drop(questions);
        // Where it would block the daemon reads nothing: that is as if it were late.
        let asked = self.channel.try_send(&FromWorker::ImageRequest { request, digest, bytes }, None);
        let mut questions = self.questions.lock();
        if asked.is_ok() {
            let is_open = |questions: &mut Questions| {
                !questions.closed && questions.open.get(&request).is_some_and(Option::is_none)
            };
            self.answered.wait_while_for(&mut questions, is_open, ANSWER);
        }
        let answer = questions.open.remove(&request).flatten();
        questions.overdue |= asked.is_ok() && answer.is_none();
        answer.flatten()
    }
}

impl ImageStore for Images {
    fn find(&self, digest: ImageDigest, bytes: u64) -> Option<Sealed> {
        let file = self.ask(digest, bytes)?;
        let mapped = Sealed::map(file.as_fd(), bytes);
        mapped.inspect_err(|error| tracing::warn!(%error, "the host's image cannot be used")).ok()
    }

    fn keep(&self, image: Vec<u8>) {
        let mut offers = self.offers.lock();
        let bytes = image.len() as u64;
        let is_full = !offers.waiting.is_empty() && offers.waiting_bytes + bytes > WAITING_BYTES_MAX;
        if offers.closed || is_full {
            return;
        }
        offers.waiting.push_back(image);
        offers.waiting_bytes += bytes;
        self.offered.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Packet;

    const DIGEST: ImageDigest = ImageDigest([7; 32]);

    fn ends() -> (Channel, Arc<Images>) {
        let (daemon, worker) = Channel::pair().unwrap();
        (daemon, Arc::new(Images::new(Arc::new(Channel::adopt(worker).unwrap()))))
    }

    fn ask(images: &Arc<Images>, bytes: u64) -> std::thread::JoinHandle<Option<Vec<u8>>> {
        let images = Arc::clone(images);
        std::thread::spawn(move || images.find(DIGEST, bytes).map(|image| image.to_vec()))
    }

    fn asked(daemon: &Channel) -> (u64, u64) {
        match daemon.recv().unwrap().message {
            FromWorker::ImageRequest { request, digest: DIGEST, bytes } => (request, bytes),
            other => panic!("{other:?}"),
        }
    }

    fn frozen(bytes: &[u8]) -> OwnedFd {
        let draft = Draft::new("frozen").unwrap();
        draft.append(bytes).unwrap();
        draft.freeze().unwrap()
    }

    #[test]
    fn answers_reach_who_asked_in_any_order() {
        let (daemon, images) = ends();
        // A busy machine may be late; the answer after that is the first that counts.
        let mut found = Vec::new();
        for _ in 0..100 {
            let threads = [ask(&images, 3), ask(&images, 5)];
            let mut questions = Vec::new();
            while questions.len() < 2 && !threads.iter().all(std::thread::JoinHandle::is_finished) {
                if let Ok(Packet { message: FromWorker::ImageRequest { request, bytes, .. }, .. }) =
                    daemon.try_recv()
                {
                    questions.push((request, bytes));
                }
            }
            for (request, bytes) in questions.into_iter().rev() {
                images.answer(request, Some(frozen(&vec![bytes as u8; bytes as usize])));
            }
            found = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
            if found.len() == 2 {
                break;
            }
        }
        assert_eq!(found, [vec![3; 3], vec![5; 5]]);
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_waited_for_once() {
        let (daemon, images) = ends();
        assert_eq!(ask(&images, 4).join().unwrap(), None);
        let (request, _) = asked(&daemon);
        assert_eq!(ask(&images, 4).join().unwrap(), None);
        assert!(daemon.try_recv::<FromWorker>().is_err(), "it is not asked again");
        images.answer(request, None);
        let asking = ask(&images, 4);
        asked(&daemon);
        images.close();
        assert_eq!(asking.join().unwrap(), None);
        assert_eq!(ask(&images, 4).join().unwrap(), None);
        assert!(daemon.try_recv::<FromWorker>().is_err(), "it is not asked when it is gone");
    }

    #[test]
    fn a_daemon_whose_queue_is_full_is_not_waited_for() {
        let (_daemon, images) = ends();
        while images.channel.try_send(&FromWorker::Ready, None).is_ok() {}
        assert_eq!(ask(&images, 4).join().unwrap(), None);
    }

    #[test]
    fn an_offer_that_cannot_be_sent_holds_up_no_other() {
        let (daemon, images) = ends();
        // A full queue fails a socket that does not wait, as does a limit of the system.
        rustix::io::ioctl_fionbio(images.channel.as_fd(), true).unwrap();
        while images.channel.try_send(&FromWorker::Ready, None).is_ok() {}
        for number in 0..3 {
            images.keep(vec![number; 4]);
        }
        images.start().unwrap();
        let soon = std::time::Instant::now() + Duration::from_secs(20);
        let is_idle = |offers: &Offers| offers.waiting.is_empty() && !offers.under_way;
        while !is_idle(&images.offers.lock()) {
            assert!(std::time::Instant::now() < soon, "what comes behind it waits");
            std::thread::sleep(Duration::from_millis(1));
        }
        while daemon.try_recv::<FromWorker>().is_ok() {}
        images.keep(vec![7; 4]);
        assert!(matches!(daemon.recv().unwrap().message, FromWorker::ImageOffered { bytes: 4 }));
    }

    #[test]
    fn one_image_at_a_time_is_offered_and_few_wait() {
        let (daemon, images) = ends();
        images.start().unwrap();
        for number in 0..3 {
            images.keep(vec![number; 4]);
        }
        for number in 0..3 {
            let Packet { message: FromWorker::ImageOffered { bytes: 4 }, fd: Some(fd) } =
                daemon.recv().unwrap()
            else {
                panic!("no offer")
            };
            assert_eq!(*Sealed::map(fd.as_fd(), 4).unwrap(), [number; 4]);
            assert!(daemon.try_recv::<FromWorker>().is_err(), "the next waits");
            images.taken();
        }
        images.offers.lock().under_way = true;
        for _ in 0..3 {
            images.keep(vec![0; IMAGE_BYTES_MAX as usize / 2]);
        }
        assert_eq!(images.offers.lock().waiting_bytes, WAITING_BYTES_MAX);
        images.close();
        images.keep(vec![0; 4]);
        assert!(images.offers.lock().waiting.is_empty());
    }
}
