//! A guest without manners: the handshake by hand, and the window to scribble on.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use vgpu_proto::codec;
use vgpu_proto::control::{Closing, HostMessage};
use vgpu_proto::frame::{self, ReplyTo};
use vgpu_proto::handshake::{AddressPlan, Answer, FEATURE_COHERENT, GuestProcess, Hello, Refusal, Welcome};
use vgpu_proto::limits::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX, PLANS_MAX, RING_BYTES};
use vgpu_proto::operation::Operation;
use vgpu_proto::{ContextId, FrameHeader, Status, StreamId, body, ring, window};
use vgpu_window::Region;
use vgpu_window::link::{Link, LinkError};
use zerocopy::{Immutable, IntoBytes};

use crate::wait::{DEADLINE, eventually};

/// An open session, and everything of it that a guest can reach.
#[derive(Debug)]
pub struct RawGuest {
    /// The control channel.
    pub link: Link,
    /// What the host said.
    pub welcome: Welcome,
    /// The control region.
    pub control: Region,
    /// The staging region.
    pub staging: Region,
    tail: u64,
    tag: u32,
}

/// The first context that [`RawGuest::with_context`] makes.
pub const CONTEXT: ContextId = ContextId::new(0, 1);
/// Its legacy stream.
pub const LEGACY: StreamId = StreamId::new(0, 1);

/// A greeting that an honest guest would send. It offers plans that this process has not reserved: the host cannot know.
pub fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        features: FEATURE_COHERENT,
        plans: AddressPlan::CANDIDATES[..PLANS_MAX].to_vec(),
        variables: Vec::new(),
        process: GuestProcess { pid: std::process::id(), name: "raw".into() },
    }
}

/// Connects to a tenant's socket and says nothing.
///
/// # Panics
/// When nobody listens.
pub fn connect(socket: &Path) -> Link {
    Link::new(UnixStream::connect(socket).expect("the host listens"), CONTROL_BYTES_MAX)
}

/// Greets with `hello`; what the host answered.
///
/// # Panics
/// When the host does not answer.
#[track_caller]
pub fn greet(socket: &Path, hello: &Hello) -> Result<RawGuest, Refusal> {
    let link = connect(socket);
    link.send(&codec::encode(hello).expect("a greeting is short"), &[]).expect("the host reads");
    let message = link.recv_timeout(DEADLINE).expect("the host answers");
    match codec::decode(&message.body).expect("the host's answer decodes") {
        Answer::Refused(refusal) => Err(refusal),
        Answer::Welcome(welcome) => {
            let map = |at: usize| {
                Region::map_shared(message.fds[at].as_fd(), welcome.regions[at].bytes)
                    .expect("a sealed region")
            };
            Ok(RawGuest { control: map(0), staging: map(1), link, welcome, tail: 0, tag: 0 })
        }
    }
}

impl RawGuest {
    /// Opens a session as an honest guest would.
    ///
    /// # Panics
    /// When the host refuses.
    #[track_caller]
    pub fn open(socket: &Path) -> Self {
        greet(socket, &hello()).expect("the host welcomes")
    }

    /// The same with a context and its legacy stream.
    ///
    /// # Panics
    /// When the context cannot be made.
    #[track_caller]
    pub fn with_context(socket: &Path) -> Self {
        let mut guest = Self::open(socket);
        let body = body::CtxCreate {
            context: CONTEXT.raw().into(),
            legacy_stream: LEGACY.raw().into(),
            ..Default::default()
        };
        assert_eq!(guest.call(0, &body, &[]).0, Status::SUCCESS);
        guest
    }

    /// A reply slot with a new tag.
    pub fn reply(&mut self, slot: u32) -> ReplyTo {
        self.tag += 1;
        ReplyTo { slot, tag: self.tag }
    }

    /// Bytes ever written to the ring.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Sends a frame, without regard to credit.
    ///
    /// # Panics
    /// When the frame is over its limit.
    pub fn send<B: Operation + IntoBytes + Immutable>(
        &mut self,
        stream: u64,
        reply: Option<ReplyTo>,
        body: &B,
        payload: &[u8],
    ) {
        let mut out = [0; FRAME_BYTES_MAX as usize];
        let frame = frame::encode(&mut out, stream, reply, body, payload).expect("within the limit");
        self.send_bytes(frame);
    }

    /// Puts bytes into the ring and publishes them. Nothing is sent while a broken head says that there is no room.
    ///
    /// # Panics
    /// When the frame is longer than any frame.
    pub fn send_bytes(&mut self, frame: &[u8]) {
        let head = self.control.atomic_u64(window::RING_HEAD).expect("in the layout").load(Ordering::Acquire);
        let length = u32::try_from(frame.len()).expect("a frame is short");
        let Some(slot) = ring::place(self.tail, head, length) else { return };
        if slot.padding_bytes > 0 {
            let padding = FrameHeader {
                length_bytes: slot.padding_bytes,
                op: None,
                stream: 0,
                reply: None,
                payload_bytes: 0,
            };
            self.control
                .write(window::RING + self.tail % RING_BYTES, &padding.to_bytes())
                .expect("in the ring");
        }
        self.control.write(window::RING + slot.offset, frame).expect("in the ring");
        self.tail = slot.tail;
        self.publish(self.tail);
    }

    /// Publishes a tail, true or not, and kicks.
    ///
    /// # Panics
    /// Never: the words are in the layout.
    pub fn publish(&self, tail: u64) {
        self.control.atomic_u64(window::RING_TAIL).expect("in the layout").store(tail, Ordering::SeqCst);
        self.kick();
    }

    /// Wakes the host.
    ///
    /// # Panics
    /// Never: the words are in the layout.
    pub fn kick(&self) {
        let kick = self.control.atomic_u32(window::NEED_KICK).expect("in the layout");
        kick.store(0, Ordering::SeqCst);
        vgpu_window::futex::wake_all(kick);
    }

    /// Sends a frame that answers, and waits for the status and the first value.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn call<B: Operation + IntoBytes + Immutable>(
        &mut self,
        stream: u64,
        body: &B,
        payload: &[u8],
    ) -> (Status, u64) {
        let reply = self.reply(3);
        self.send(stream, Some(reply), body, payload);
        eventually("an answer", || {
            let word = |field| {
                let offset = window::reply(reply.slot, field);
                self.control.atomic_u32(offset).expect("in the layout").load(Ordering::Acquire)
            };
            let value = self
                .control
                .atomic_u64(window::reply(reply.slot, window::REPLY_VALUES))
                .expect("in the layout");
            (word(window::REPLY_TAG) == reply.tag)
                .then(|| (Status(word(window::REPLY_STATUS)), value.load(Ordering::Relaxed)))
        })
    }

    /// Waits until the host says why it closes.
    ///
    /// # Panics
    /// When it closes without a word, or not at all.
    #[track_caller]
    pub fn closing(&self) -> Closing {
        loop {
            let message = self.link.recv_timeout(DEADLINE).expect("the host says why it closes");
            if let HostMessage::Closing(closing) =
                codec::decode(&message.body).expect("the host's message decodes")
            {
                return closing;
            }
        }
    }

    /// Whether the host has ended the session.
    ///
    /// # Panics
    /// When the connection breaks in an unexpected way.
    pub fn is_over(&self) -> bool {
        match self.link.recv_timeout(Duration::from_millis(1)) {
            Err(LinkError::Closed) => true,
            Err(LinkError::TimedOut) => false,
            Ok(message) => matches!(codec::decode(&message.body), Ok(HostMessage::Closing(_))),
            Err(error) => panic!("the host breaks the protocol: {error}"),
        }
    }
}
