//! A guest without a library: greets by hand and writes to the window as it likes. Only for the hostile example; honest
//! programs use `vgpu-client`, which cannot break the protocol.

use std::error::Error;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vgpu_proto::control::{Closing, HostMessage};
use vgpu_proto::frame::{self, HEADER_BYTES, RawHeader, ReplyTo};
use vgpu_proto::handshake::{AddressPlan, Answer, FEATURE_COHERENT, GuestProcess, Hello};
use vgpu_proto::limits::{CONTROL_BYTES_MAX, FRAME_BYTES_MAX, PLANS_MAX, RING_BYTES};
use vgpu_proto::operation::Operation;
use vgpu_proto::{ContextId, Status, StreamId, body, codec, window};
use vgpu_window::link::Link;
use vgpu_window::{Region, futex};
use zerocopy::{Immutable, IntoBytes};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long the host may take for anything.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The context of [`RawGuest::create_context`].
pub const CONTEXT: ContextId = ContextId::new(0, 1);
/// Its legacy stream.
pub const STREAM: StreamId = StreamId::new(0, 1);

/// An open session, and all of it that a guest can write to.
#[derive(Debug)]
pub struct RawGuest {
    /// The socket.
    pub link: Link,
    control: Region,
    tail: u64,
    tag: u32,
}

impl RawGuest {
    /// Greets the host as an honest guest does, but for the address ranges, which it does not reserve.
    ///
    /// # Errors
    /// When the host does not welcome it.
    pub fn connect(socket: &Path) -> Result<Self> {
        let link = Link::new(UnixStream::connect(socket)?, CONTROL_BYTES_MAX);
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            features: FEATURE_COHERENT,
            plans: AddressPlan::CANDIDATES.into_iter().take(PLANS_MAX).collect(),
            variables: Vec::new(),
            process: GuestProcess { pid: std::process::id(), name: "hostile".into() },
        };
        link.send(&codec::encode(&hello)?, &[])?;
        let message = link.recv_timeout(TIMEOUT)?;
        match codec::decode(&message.body)? {
            Answer::Refused(refusal) => Err(refusal.text.into()),
            Answer::Welcome(_) => {
                let control = message.fds.first().ok_or("the welcome lacks the control region")?;
                let control = Region::map_shared(control.as_fd(), window::CONTROL_BYTES)?;
                Ok(Self { link, control, tail: 0, tag: 0 })
            }
        }
    }

    /// Puts a well-formed frame into the ring, whatever it says.
    ///
    /// # Errors
    /// When it is longer than frames can be, or the host does not read the ring.
    pub fn send<B: Operation + IntoBytes + Immutable>(
        &mut self,
        stream: u64,
        reply: Option<ReplyTo>,
        body: &B,
        payload: &[u8],
    ) -> Result<()> {
        let mut buffer = [0; FRAME_BYTES_MAX as usize];
        let frame = frame::encode(&mut buffer, stream, reply, body, payload)?.to_vec();
        self.write(&frame, frame.len() as u64)
    }

    /// Sends a frame and waits for the first value of its answer.
    ///
    /// # Errors
    /// When no answer comes, or one with an error.
    pub fn call<B: Operation + IntoBytes + Immutable>(&mut self, body: &B) -> Result<u64> {
        self.tag += 1;
        let reply = ReplyTo { slot: 0, tag: self.tag };
        self.send(0, Some(reply), body, &[])?;
        let start = Instant::now();
        while self.control.atomic_u32(window::reply(0, window::REPLY_TAG))?.load(Ordering::Acquire)
            != reply.tag
        {
            if start.elapsed() > TIMEOUT {
                return Err("the host does not answer".into());
            }
            std::thread::yield_now();
        }
        let status = self.control.atomic_u32(window::reply(0, window::REPLY_STATUS))?.load(Ordering::Relaxed);
        Status(status).ok()?;
        Ok(self.control.atomic_u64(window::reply(0, window::REPLY_VALUES))?.load(Ordering::Relaxed))
    }

    /// Puts a bare header of a 64-byte frame into the ring.
    ///
    /// # Errors
    /// When the host does not read the ring.
    pub fn send_header(&mut self, header: RawHeader) -> Result<()> {
        self.write(header.as_bytes(), 64)
    }

    /// Fills the ring up to `left` bytes before its end.
    ///
    /// # Errors
    /// When the host does not read the ring.
    pub fn pad_until(&mut self, left: u64) -> Result<()> {
        // The last frame is a call, and so is one now and then, as an answer says that the host has read so far.
        let end = RING_BYTES - left - u64::from(HEADER_BYTES);
        while self.tail < end {
            let bytes = u64::from(FRAME_BYTES_MAX).min(end - self.tail);
            let padding = RawHeader { length_bytes: u32::try_from(bytes)?.into(), ..Default::default() };
            self.write(padding.as_bytes(), bytes)?;
            if self.tail < end {
                self.call(&body::Ping {})?;
            }
        }
        self.call(&body::Ping {}).map(drop)
    }

    /// Makes [`CONTEXT`] and its legacy stream [`STREAM`].
    ///
    /// # Errors
    /// What the host answers.
    pub fn create_context(&mut self) -> Result<()> {
        let body = body::CtxCreate {
            context: CONTEXT.raw().into(),
            legacy_stream: STREAM.raw().into(),
            ..Default::default()
        };
        self.call(&body).map(drop)
    }

    /// Makes [`STREAM`] wait for a word that nobody writes.
    ///
    /// # Errors
    /// What the host answers.
    pub fn block_stream(&mut self) -> Result<()> {
        self.create_context()?;
        let address = self.call(&body::MemAlloc { context: CONTEXT.raw().into(), bytes: 64.into() })?;
        let wait = body::StreamWaitValue32 { address: address.into(), value: 1.into(), condition: 1.into() };
        self.send(STREAM.raw(), None, &wait, &[])
    }

    /// Writes bytes at the tail and publishes a frame of `length` bytes there.
    fn write(&mut self, bytes: &[u8], length: u64) -> Result<()> {
        // A whole frame and its padding always fit behind what is read.
        self.wait_read((self.tail + 3 * u64::from(FRAME_BYTES_MAX)).saturating_sub(RING_BYTES))?;
        let left = RING_BYTES - self.tail % RING_BYTES;
        if left < bytes.len() as u64 {
            let padding = RawHeader { length_bytes: u32::try_from(left)?.into(), ..Default::default() };
            self.control.write(window::RING + self.tail % RING_BYTES, padding.as_bytes())?;
            self.tail += left;
        }
        self.control.write(window::RING + self.tail % RING_BYTES, bytes)?;
        self.tail += length;
        self.publish(self.tail)
    }

    /// Tells the host that the ring is written up to `tail`.
    ///
    /// # Errors
    /// Never, as the words lie in the region.
    pub fn publish(&self, tail: u64) -> Result<()> {
        self.control.atomic_u64(window::RING_TAIL)?.store(tail, Ordering::SeqCst);
        let kick = self.control.atomic_u32(window::NEED_KICK)?;
        if kick.swap(0, Ordering::SeqCst) != 0 {
            futex::wake_all(kick);
        }
        Ok(())
    }

    fn wait_read(&self, upto: u64) -> Result<()> {
        let start = Instant::now();
        while self.control.atomic_u64(window::RING_HEAD)?.load(Ordering::Acquire) < upto {
            // A host that has ended the session reads no more; what it says is what the caller wants to know.
            if self.control.atomic_u32(window::SESSION_ERROR)?.load(Ordering::Acquire) != 0 {
                return Ok(());
            }
            if start.elapsed() > TIMEOUT {
                return Err("the host does not read the ring".into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Reads the socket until the host says why it closes.
    ///
    /// # Errors
    /// When it does not.
    pub fn closing(&self) -> Result<Closing> {
        loop {
            let message = self.link.recv_timeout(TIMEOUT)?;
            if let HostMessage::Closing(closing) = codec::decode(&message.body)? {
                return Ok(closing);
            }
        }
    }
}
