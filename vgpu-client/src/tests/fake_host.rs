//! A host in a thread: reads the ring with the protocol's own code, keeps device memory in a map, and misbehaves on
//! order. It runs kernels by name only: `double_it` doubles `n` floats.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use vgpu_proto::control::{Closing, GuestMessage, HostMessage};
use vgpu_proto::frame::{FrameHeader, HEADER_BYTES, ReplyTo};
use vgpu_proto::handshake::{
    Answer, DeviceDescription, FEATURE_COHERENT, FEATURE_IMAGES, Hello, Limits, RegionDescription, Welcome,
};
use vgpu_proto::limits::{self, CONTROL_BYTES_MAX, RING_BYTES};
use vgpu_proto::{Order, Request, Status, StreamId, codec, ring, window};
use vgpu_window::link::Link;
use vgpu_window::{Region, futex};

use crate::{Builder, Client, Result};

use super::requests;

/// Clients that are open at once: each holds an address plan of this process, and there are four.
const CLIENTS_MAX: u32 = 3;

static OPEN: Mutex<u32> = Mutex::new(0);
static CLOSED: Condvar = Condvar::new();

/// The right to open a client.
#[derive(Debug)]
pub(super) struct Permit;

impl Permit {
    pub(super) fn take() -> Self {
        let mut open = OPEN.lock();
        while *open == CLIENTS_MAX {
            CLOSED.wait(&mut open);
        }
        *open += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *OPEN.lock() -= 1;
        CLOSED.notify_all();
    }
}

/// A stream-ordered command that waits for its turn.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) request: Request,
    pub(super) payload: Vec<u8>,
    pub(super) bytes: u64,
    pub(super) reply: Option<ReplyTo>,
}

/// What tests set.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Whether streams stand still.
    pub(super) hold: AtomicBool,
    /// Whether streams stand still before each mark that a guest asked for.
    pub(super) hold_marks: AtomicBool,
    /// Whether the ring is not read at all.
    pub(super) stall: AtomicBool,
    /// Whether answers are kept back.
    pub(super) mute: AtomicBool,
    /// `CUresult` that the next launch fails with, and whether it stays.
    pub(super) fail_launch: AtomicU32,
    pub(super) fail_sticky: AtomicBool,
    /// Whether regions are refused above this many bytes; 0 for no bound.
    pub(super) region_bytes_max: AtomicU64,
    pub(super) stop: AtomicBool,
}

/// What both host threads share.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) control: Region,
    pub(super) staging: Region,
    pub(super) link: Link,
    pub(super) orders: Orders,
    pub(super) heap_base: u64,
    /// Regions of the pinned heap by address.
    pub(super) heap: Mutex<BTreeMap<u64, (u32, Region)>>,
    /// Operations in the order of their execution.
    pub(super) executed: Mutex<Vec<(u32, Request)>>,
}

/// The host.
#[derive(Debug)]
pub(super) struct FakeHost {
    pub(super) machine: Arc<Machine>,
    threads: Vec<JoinHandle<()>>,
    _permit: Permit,
}

pub(super) fn limits_of_tests() -> Limits {
    let largest = Limits::largest(1 << 30, 1 << 30);
    Limits { streams: 16, events: 16, modules: 4, functions: 16, regions: 16, ..largest }
}

pub(super) fn device_of_tests() -> DeviceDescription {
    DeviceDescription {
        name: "fake".into(),
        warp_size: 32,
        threads_per_block_max: 512,
        block_dim_max: [512, 512, 64],
        grid_dim_max: [1 << 20, 65_535, 65_535],
        shared_bytes_per_block_max: 48 << 10,
        shared_bytes_per_block_optin_max: 96 << 10,
        ..Default::default()
    }
}

/// A welcome for the first plan, with the regions and descriptors that belong to it.
pub(super) fn welcome() -> (Welcome, Region, Region, Vec<OwnedFd>) {
    let (control, control_fd) = Region::create_shared("control", window::CONTROL_BYTES).unwrap();
    let (staging, staging_fd) = Region::create_shared("staging", limits::STAGING_BYTES).unwrap();
    control.atomic_u64(window::MAGIC_OFFSET).unwrap().store(window::MAGIC, Ordering::Release);
    let welcome = Welcome {
        version: 1,
        features: FEATURE_COHERENT | FEATURE_IMAGES,
        plan: 0,
        session: 7,
        regions: vec![
            RegionDescription { id: 0, bytes: window::CONTROL_BYTES, address: 0 },
            RegionDescription { id: 1, bytes: limits::STAGING_BYTES, address: 0 },
        ],
        limits: limits_of_tests(),
        device: device_of_tests(),
    };
    (welcome, control, staging, vec![control_fd, staging_fd])
}

pub(super) fn send_answer(link: &Link, answer: &Answer, fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    link.send(&codec::encode(answer).unwrap(), &fds).unwrap();
}

/// Opens a session with a fake host.
pub(super) fn open() -> (FakeHost, Client) {
    open_with(Builder::new().synchronous(false), |_| {})
}

pub(super) fn open_with(builder: Builder, change: impl FnOnce(&mut Limits)) -> (FakeHost, Client) {
    let permit = Permit::take();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut welcome, control, staging, fds) = welcome();
    change(&mut welcome.limits);
    let greeter = std::thread::spawn(move || {
        let link = Link::new(ours, CONTROL_BYTES_MAX);
        let hello: Hello = codec::decode(&link.recv().unwrap().body).unwrap();
        assert_eq!(hello.check(), Ok(1));
        send_answer(&link, &Answer::Welcome(welcome), &fds);
        (link, hello.plans[0].heap_base, hello.plans[0].arena_base)
    });
    let client: Result<Client> = builder.connect_over(theirs);
    let (link, heap_base, arena_base) = greeter.join().unwrap();
    let machine = Arc::new(Machine {
        control,
        staging,
        link,
        orders: Orders::default(),
        heap_base,
        heap: Mutex::default(),
        executed: Mutex::default(),
    });
    let (for_ring, for_link) = (Arc::clone(&machine), Arc::clone(&machine));
    let threads = vec![
        std::thread::spawn(move || Reader::new(for_ring, arena_base).run()),
        std::thread::spawn(move || for_link.answer_questions()),
    ];
    (FakeHost { machine, threads, _permit: permit }, client.unwrap())
}

impl FakeHost {
    pub(super) fn orders(&self) -> &Orders {
        &self.machine.orders
    }

    pub(super) fn say(&self, message: &HostMessage) {
        let _ = self.machine.link.send(&codec::encode(message).unwrap(), &[]);
    }

    /// Ends the session with a reason, as a host does.
    pub(super) fn close(&self, status: Status, reason: &str) {
        let closing = Closing { status: status.0, reason: reason.into(), text: "because".into() };
        self.say(&HostMessage::Closing(closing));
        self.machine.set(window::SESSION_ERROR, status.0);
        self.machine.link.shutdown();
    }

    /// Is gone without a word.
    pub(super) fn vanish(&self) {
        self.machine.orders.stop.store(true, Ordering::Relaxed);
        self.machine.link.shutdown();
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        self.vanish();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Machine {
    pub(super) fn word32(&self, offset: u64) -> &AtomicU32 {
        self.control.atomic_u32(offset).unwrap()
    }

    pub(super) fn word64(&self, offset: u64) -> &AtomicU64 {
        self.control.atomic_u64(offset).unwrap()
    }

    /// Sets an error word and draws attention to it.
    pub(super) fn set(&self, offset: u64, value: u32) {
        self.word32(offset).store(value, Ordering::SeqCst);
        self.word32(window::ATTENTION).fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn reply(&self, to: ReplyTo, status: Status, values: [u64; 4]) {
        while self.orders.mute.load(Ordering::Relaxed) && !self.orders.stop.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        for (at, value) in values.into_iter().enumerate() {
            let offset = window::reply(to.slot, window::REPLY_VALUES + at as u64 * 8);
            self.word64(offset).store(value, Ordering::Relaxed);
        }
        self.word32(window::reply(to.slot, window::REPLY_STATUS)).store(status.0, Ordering::Relaxed);
        let tag = self.word32(window::reply(to.slot, window::REPLY_TAG));
        tag.store(to.tag, Ordering::SeqCst);
        if self.word32(window::reply(to.slot, window::REPLY_NEED_WAKE)).swap(0, Ordering::SeqCst) != 0 {
            futex::wake_all(tag);
        }
    }

    fn answer_questions(&self) {
        let mut next_id = 2;
        while let Ok(message) = self.link.recv() {
            match codec::decode(&message.body).unwrap() {
                GuestMessage::RegionAdd { request, bytes } => self.add_region(request, bytes, &mut next_id),
                GuestMessage::RegionAddAt { request, .. } => {
                    let answer =
                        HostMessage::RegionRefused { request, status: Status::ERROR_NOT_SUPPORTED.0 };
                    let _ = self.link.send(&codec::encode(&answer).unwrap(), &[]);
                }
                GuestMessage::RegionRemove { request, id } => {
                    self.heap.lock().retain(|_, (live, _)| *live != id);
                    let answer = HostMessage::RegionRemoved { request };
                    let _ = self.link.send(&codec::encode(&answer).unwrap(), &[]);
                }
            }
        }
    }

    fn add_region(&self, request: u32, bytes: u64, next_id: &mut u32) {
        let max = self.orders.region_bytes_max.load(Ordering::Relaxed);
        if max != 0 && bytes > max {
            let answer = HostMessage::RegionRefused { request, status: Status::ERROR_OUT_OF_MEMORY.0 };
            self.link.send(&codec::encode(&answer).unwrap(), &[]).unwrap();
            return;
        }
        let (region, descriptor) = Region::create_shared("heap", bytes).unwrap();
        let mut heap = self.heap.lock();
        let top = heap.iter().next_back().map(|(address, (_, region))| address + region.len());
        let address = top.unwrap_or(self.heap_base);
        let description = RegionDescription { id: *next_id, bytes, address };
        heap.insert(address, (*next_id, region));
        *next_id += 1;
        let answer = HostMessage::RegionAdded { request, region: description };
        self.link.send(&codec::encode(&answer).unwrap(), &[descriptor.as_fd()]).unwrap();
    }
}

/// A host that fails an assertion hangs up, so that its guest does not wait for it.
struct HangUp(Arc<Machine>);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.link.shutdown();
    }
}

/// The ring's consumer.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) machine: Arc<Machine>,
    pub(super) memory: BTreeMap<u64, Vec<u8>>,
    pub(super) next_address: u64,
    /// Pieces of memory that were taken so far.
    pub(super) memories: u64,
    pub(super) functions: HashMap<u64, String>,
    /// Length and SHA-256 of each image that was loaded.
    pub(super) images: HashSet<(u64, [u8; 32])>,
    pub(super) live: HashSet<(&'static str, u32)>,
    /// Legacy stream of each context, by slots.
    pub(super) legacy: HashMap<u32, u32>,
    head: u64,
    queues: HashMap<u32, VecDeque<Queued>>,
}

impl Reader {
    fn new(machine: Arc<Machine>, arena: u64) -> Self {
        Self {
            machine,
            memory: BTreeMap::new(),
            next_address: arena,
            memories: 0,
            functions: HashMap::new(),
            images: HashSet::new(),
            live: HashSet::new(),
            legacy: HashMap::new(),
            head: 0,
            queues: HashMap::new(),
        }
    }

    fn run(mut self) {
        let _hang_up = HangUp(Arc::clone(&self.machine));
        let orders = Arc::clone(&self.machine);
        let orders = &orders.orders;
        while !orders.stop.load(Ordering::Relaxed) {
            let stalled = orders.stall.load(Ordering::Relaxed);
            let read = !stalled && self.read();
            if !(self.submit() || read) {
                self.sleep();
            }
        }
    }

    /// Reads what the guest published; says whether there was anything.
    fn read(&mut self) -> bool {
        let tail = self.machine.word64(window::RING_TAIL).load(Ordering::SeqCst);
        let published = ring::published(self.head, tail).unwrap();
        let mut left = published;
        while left != 0 {
            let mut header = [0; HEADER_BYTES as usize];
            let at = self.head % RING_BYTES;
            self.machine.control.read(window::RING + at, &mut header).unwrap();
            let header = FrameHeader::parse(header).unwrap();
            ring::contains(self.head, left, header.length_bytes).unwrap();
            self.frame(&header, at);
            self.head += u64::from(header.length_bytes);
            left -= u64::from(header.length_bytes);
            self.machine.word64(window::RING_HEAD).store(self.head, Ordering::SeqCst);
            let bed = self.machine.word32(window::RING_NEED_WAKE);
            if bed.swap(0, Ordering::SeqCst) != 0 {
                futex::wake_all(bed);
            }
        }
        published != 0
    }

    fn frame(&mut self, header: &FrameHeader, at: u64) {
        let Some(op) = header.op else { return };
        let mut rest = vec![0; (header.length_bytes - HEADER_BYTES) as usize];
        self.machine.control.read(window::RING + at + u64::from(HEADER_BYTES), &mut rest).unwrap();
        let (request, payload) = Request::decode(op, header.payload_bytes, &rest).unwrap();
        if op.order() == Order::Stream {
            let queued = Queued {
                request,
                payload: payload.to_vec(),
                bytes: u64::from(header.length_bytes),
                reply: header.reply,
            };
            let stream = StreamId::from_raw(header.stream).index();
            let queue = self.queues.entry(stream).or_default();
            queue.push_back(queued);
            assert!(queue.len() as u64 <= limits::STREAM_COMMANDS_MAX, "credit overrun");
            assert!(queue.iter().map(|queued| queued.bytes).sum::<u64>() <= limits::STREAM_BYTES_MAX);
            return;
        }
        let (status, values) = requests::answer(self, header.stream, &request, payload);
        if let Some(to) = header.reply {
            self.machine.reply(to, status, values);
        }
    }

    /// Runs what the streams hold; says whether there was anything.
    fn submit(&mut self) -> bool {
        if self.machine.orders.hold.load(Ordering::Relaxed) {
            return false;
        }
        let mut any = false;
        for (stream, mut queue) in std::mem::take(&mut self.queues) {
            while let Some(queued) = queue.pop_front_if(|queued| !self.is_held(queued)) {
                any = true;
                self.machine.executed.lock().push((stream, queued.request));
                let status = requests::execute(self, stream, &queued);
                if let Some(to) = queued.reply {
                    self.machine.reply(to, status, [0; 4]);
                }
                self.retire(stream, queued.bytes);
            }
            if !queue.is_empty() {
                self.queues.insert(stream, queue);
            }
        }
        any
    }

    fn is_held(&self, queued: &Queued) -> bool {
        matches!(queued.request, Request::StreamSynchronize(_))
            && self.machine.orders.hold_marks.load(Ordering::Relaxed)
    }

    fn retire(&self, stream: u32, bytes: u64) {
        let word = |field| self.machine.word64(window::stream(stream, field));
        word(window::STREAM_RETIRED_BYTES).fetch_add(bytes, Ordering::SeqCst);
        word(window::STREAM_RETIRED).fetch_add(1, Ordering::SeqCst);
        word(window::STREAM_COMPLETED).fetch_add(1, Ordering::SeqCst);
        if self.machine.word32(window::stream(stream, window::STREAM_NEED_WAKE)).swap(0, Ordering::SeqCst)
            != 0
        {
            let epoch = self.machine.word32(window::stream(stream, window::STREAM_EPOCH));
            epoch.fetch_add(1, Ordering::SeqCst);
            futex::wake_all(epoch);
        }
    }

    /// Sleeps until the guest kicks; wakes now and then to see what tests ordered.
    fn sleep(&self) {
        let bed = self.machine.word32(window::NEED_KICK);
        bed.store(1, Ordering::SeqCst);
        if self.machine.word64(window::RING_TAIL).load(Ordering::SeqCst) == self.head
            || self.machine.orders.stall.load(Ordering::Relaxed)
        {
            futex::wait(bed, 1, Some(Duration::from_millis(2)));
        }
    }
}
