//! What the cases share: a device with a context, ears for its events, and small calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use vgpu_proto::Status;
use vgpu_proto::control::{FunctionDescription, OutputStream};
use vgpu_proto::limits::STREAM_PENDING_MAX;
use vgpu_window::Region;

use super::{DEADLINE, Make};
use crate::device::{
    Context, Device, DeviceError, DeviceEvents, EventKey, FunctionKey, LaunchConfig, Mark, ModuleKey, Place,
    StreamKey, WaitCondition, Work,
};

pub(in crate::device) const TINY: &str = include_str!("../../../fixtures/tiny.ptx");
pub(in crate::device) const VECTOR_ADD: &str = include_str!("../../../fixtures/vector_add.ptx");
pub(in crate::device) const PRODUCER_CONSUMER: &str = include_str!("../../../fixtures/producer_consumer.ptx");
pub(in crate::device) const ENDLESS: &str = include_str!("../../../fixtures/endless.ptx");
pub(in crate::device) const WILD_ACCESS: &str = include_str!("../../../fixtures/wild_access.ptx");
pub(in crate::device) const GRID_BARRIER: &str = include_str!("../../../fixtures/grid_barrier.ptx");
pub(in crate::device) const PRINTF_ASSERT: &str = include_str!("../../../fixtures/printf_assert.ptx");
pub(in crate::device) const CONST_GLOBAL: &str = include_str!("../../../fixtures/const_global.ptx");
pub(in crate::device) const SCAN: &str = include_str!("../../../fixtures/scan.ptx");

/// Something that a context told, or a mark that it signalled, in the order of telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::device) enum Told {
    Fault(Status),
    Failed(Status),
    Mark(u64),
    Progress,
}

/// Listens to a context and takes its marks.
#[derive(Debug)]
pub(in crate::device) struct Ears {
    told: Mutex<Vec<Told>>,
    heard: Condvar,
    output: Mutex<[Vec<u8>; 2]>,
    word: Arc<Region>,
}

impl Ears {
    fn new() -> Arc<Self> {
        let word = Region::anonymous(8).expect("a page");
        Arc::new(Self {
            told: Mutex::default(),
            heard: Condvar::new(),
            output: Mutex::default(),
            word: Arc::new(word),
        })
    }

    fn tell(&self, told: Told) {
        self.told.lock().push(told);
        self.heard.notify_all();
    }

    /// Everything told so far.
    pub(in crate::device) fn told(&self) -> Vec<Told> {
        self.told.lock().clone()
    }

    /// Marks of the case told so far.
    pub(in crate::device) fn marks(&self) -> Vec<u64> {
        let marks = |told: &Told| match told {
            Told::Mark(value) if *value < WAIT_MARKS => Some(*value),
            _ => None,
        };
        self.told.lock().iter().filter_map(marks).collect()
    }

    /// Waits until it was told.
    pub(in crate::device) fn wait_for(&self, wanted: &Told) {
        let until = Instant::now() + DEADLINE;
        let mut told = self.told.lock();
        while !told.contains(wanted) {
            assert!(!self.heard.wait_until(&mut told, until).timed_out(), "never told {wanted:?}: {told:?}");
        }
    }

    /// What kernels printed so far to a stream.
    pub(in crate::device) fn output(&self, stream: OutputStream) -> String {
        String::from_utf8_lossy(&self.output.lock()[stream as usize]).into_owned()
    }
}

impl DeviceEvents for Ears {
    fn fault(&self, error: &DeviceError) {
        // A mark that does not wait until this is told comes first now.
        let_it_block();
        self.tell(Told::Fault(error.status));
    }

    fn failed(&self, error: &DeviceError) {
        self.tell(Told::Failed(error.status));
    }

    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.output.lock()[stream as usize].extend_from_slice(bytes);
    }

    fn progress(&self) {
        self.tell(Told::Progress);
    }
}

impl Mark for Ears {
    fn signal(&self, value: u64) {
        self.word.atomic_u64(0).expect("the word is there").store(value, Ordering::Release);
        self.tell(Told::Mark(value));
    }

    fn word(&self) -> (&Arc<Region>, u64) {
        (&self.word, 0)
    }
}

/// Marks from here on are those of [`Rig::wait`].
const WAIT_MARKS: u64 = 1 << 32;

/// A context and its ears.
#[derive(Debug)]
pub(in crate::device) struct Rig {
    pub(in crate::device) device: Arc<dyn Device>,
    pub(in crate::device) context: Arc<dyn Context>,
    pub(in crate::device) ears: Arc<Ears>,
    /// A mapped page, for copies to and from the host.
    staging: Arc<Region>,
}

/// Bytes of a rig's staging region.
pub(in crate::device) const STAGING_BYTES: u64 = 16 << 20;

impl Rig {
    /// On a fresh device.
    pub(in crate::device) fn new(make: &Make) -> Self {
        Self::on(make())
    }

    /// A further context of a device.
    pub(in crate::device) fn on(device: Arc<dyn Device>) -> Self {
        let ears = Ears::new();
        let context = device.context_create(0, Arc::clone(&ears) as _).expect("a context");
        let staging = Arc::new(Region::anonymous(STAGING_BYTES).expect("staging"));
        Self { device, context, ears, staging }
    }

    pub(in crate::device) fn stream(&self) -> StreamKey {
        self.context.stream_create(true, 0).expect("a stream")
    }

    pub(in crate::device) fn event(&self) -> EventKey {
        self.context.event_create(true).expect("an event")
    }

    pub(in crate::device) fn alloc(&self, bytes: u64) -> u64 {
        self.context.memory_alloc(bytes).expect("memory")
    }

    /// Submits what must be accepted.
    pub(in crate::device) fn submit(&self, stream: StreamKey, work: Work) {
        self.context.submit(stream, work).expect("the work is accepted");
    }

    /// Submits what must be refused, and tells with which status.
    pub(in crate::device) fn refused(&self, stream: StreamKey, work: Work) -> Status {
        self.context.submit(stream, work).expect_err("the work is refused").status
    }

    pub(in crate::device) fn mark(&self, stream: StreamKey, value: u64) {
        self.submit(stream, Work::Mark(Arc::clone(&self.ears) as _, value));
    }

    pub(in crate::device) fn synchronize(&self) {
        self.context.synchronize().expect("no sticky error");
    }

    /// Waits until all earlier work of the stream is complete.
    pub(in crate::device) fn wait(&self, stream: StreamKey) {
        static LAST: AtomicU64 = AtomicU64::new(WAIT_MARKS);
        let value = LAST.fetch_add(1, Ordering::Relaxed);
        self.mark(stream, value);
        self.ears.wait_for(&Told::Mark(value));
    }

    /// Copies bytes to the device through the legacy stream and waits for them.
    pub(in crate::device) fn upload(&self, address: u64, bytes: &[u8]) {
        self.staging.write(0, bytes).expect("staging is large enough");
        let source = Place::Region(Arc::clone(&self.staging), 0);
        let copy = Work::Copy { destination: Place::Address(address), source, bytes: bytes.len() as u64 };
        self.submit(self.context.legacy_stream(), copy);
        self.wait(self.context.legacy_stream());
    }

    /// Copies bytes from the device through a stream that waits for nothing, and waits for them.
    pub(in crate::device) fn download(&self, address: u64, bytes: usize) -> Vec<u8> {
        let stream = self.context.stream_create(false, 0).expect("a stream");
        let destination = Place::Region(Arc::clone(&self.staging), 0);
        let copy = Work::Copy { destination, source: Place::Address(address), bytes: bytes as u64 };
        self.submit(stream, copy);
        self.wait(stream);
        self.context.stream_destroy(stream);
        let mut read = vec![0; bytes];
        self.staging.read(0, &mut read).expect("staging is large enough");
        read
    }

    pub(in crate::device) fn upload_words(&self, address: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.upload(address, &bytes);
    }

    pub(in crate::device) fn download_words(&self, address: u64, count: usize) -> Vec<u32> {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("chunks of four"));
        self.download(address, count * 4).chunks_exact(4).map(word).collect()
    }

    pub(in crate::device) fn word(&self, address: u64) -> u32 {
        self.download_words(address, 1)[0]
    }

    /// Loads a module and describes its kernels.
    pub(in crate::device) fn load(&self, ptx: &str) -> Described {
        let loaded = self.context.module_load(ptx.as_bytes(), &[]).expect("the module loads");
        let names = self.context.module_functions(loaded.module).expect("it is there");
        assert_eq!(names.len(), loaded.functions as usize);
        let describe =
            |name: &String| self.context.module_function(loaded.module, name, &()).expect("it is there");
        let functions = names.iter().map(describe).collect();
        Described { module: loaded.module, functions, memory_bytes: loaded.memory_bytes }
    }

    /// The kernel of that name, from a module loaded for it.
    pub(in crate::device) fn kernel(&self, ptx: &str, name: &str) -> FunctionKey {
        find(&self.load(ptx), name)
    }

    /// Waits until the stream has room, as a session does.
    pub(in crate::device) fn make_room(&self, stream: StreamKey) {
        let until = Instant::now() + DEADLINE;
        while self.context.stream_pending(stream) >= STREAM_PENDING_MAX {
            assert!(Instant::now() < until, "the stream stays full");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Pinned memory, mapped where kernels and copies find it.
    pub(in crate::device) fn pin(&self, bytes: u64) -> Arc<Region> {
        let region = Arc::new(Region::anonymous(bytes).expect("memory"));
        self.device.host_region_add(region.address(), &region).expect("the region is added");
        region
    }
}

/// Gives a thread that must block the time to do so, where nothing tells that it does. A device that keeps its
/// promise passes without it too.
pub(in crate::device) fn let_it_block() {
    thread::sleep(Duration::from_millis(5));
}

/// A loaded module with all its kernels.
#[derive(Debug)]
pub(in crate::device) struct Described {
    pub(in crate::device) module: ModuleKey,
    pub(in crate::device) functions: Vec<(FunctionKey, FunctionDescription)>,
    pub(in crate::device) memory_bytes: u64,
}

/// The kernel of that name.
pub(in crate::device) fn find(module: &Described, name: &str) -> FunctionKey {
    let found = module.functions.iter().find(|(_, description)| description.name == name);
    found.unwrap_or_else(|| panic!("no kernel {name}: {:?}", module.functions)).0
}

/// A one-dimensional launch.
pub(in crate::device) fn launch(function: FunctionKey, blocks: u32, threads: u32, params: &[Param]) -> Work {
    Work::Launch(launch_config(function, blocks, threads, params))
}

/// See [`launch`].
pub(in crate::device) fn launch_config(
    function: FunctionKey,
    blocks: u32,
    threads: u32,
    params: &[Param],
) -> LaunchConfig {
    LaunchConfig {
        function,
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        shared_bytes: 0,
        cooperative: false,
        attributes: Vec::new(),
        params: pack(params),
    }
}

/// A kernel parameter.
#[derive(Clone, Copy, Debug)]
pub(in crate::device) enum Param {
    Address(u64),
    Word(u32),
}

/// Lays parameters out as C does.
fn pack(params: &[Param]) -> Arc<[u8]> {
    let mut block = Vec::new();
    for param in params {
        match param {
            Param::Address(address) => {
                block.resize(block.len().next_multiple_of(8), 0);
                block.extend_from_slice(&address.to_le_bytes());
            }
            Param::Word(word) => block.extend_from_slice(&word.to_le_bytes()),
        }
    }
    block.into()
}

/// Fills memory with one word.
pub(in crate::device) fn fill_words(address: u64, value: u32, count: u64) -> Work {
    Work::Memset { destination: address, value, element_bytes: 4, count }
}

/// Copies within device and pinned memory.
pub(in crate::device) fn copy(destination: u64, source: u64, bytes: u64) -> Work {
    Work::Copy { destination: Place::Address(destination), source: Place::Address(source), bytes }
}

/// Waits until a word is at least `value`.
pub(in crate::device) fn wait_value(address: u64, value: u32) -> Work {
    Work::WaitValue { address, value, condition: WaitCondition::GreaterOrEqual }
}

/// Writes a word.
pub(in crate::device) fn write_value(address: u64, value: u32) -> Work {
    Work::WriteValue { address, value }
}
