//! What the fake host does with each operation.

use sha2::{Digest as _, Sha256};
use vgpu_proto::control::{
    CompileReport, FunctionDescription, FunctionNames, ModuleDescription, ParamDescription,
};
use vgpu_proto::jit::{decode_inputs, decode_options};
use vgpu_proto::{ContextId, EventId, Request, Status, StreamId, body, codec, window};

use super::fake_host::{Queued, Reader};

type Answer = (Status, [u64; 4]);

const DONE: Answer = (Status::SUCCESS, [0; 4]);

fn value(value: u64) -> Answer {
    (Status::SUCCESS, [value, 0, 0, 0])
}

fn failed(status: Status) -> Answer {
    (status, [0; 4])
}

/// The kernels of every module.
fn kernels() -> Vec<FunctionDescription> {
    let kernel = |name: &str, sizes: &[u32]| {
        let mut offset = 0_u32;
        let params = sizes.iter().map(|size| {
            let offset_bytes = offset.next_multiple_of(*size);
            offset = offset_bytes + size;
            ParamDescription { offset_bytes, size_bytes: *size }
        });
        FunctionDescription {
            name: name.into(),
            params: params.collect(),
            threads_per_block_max: 256,
            shared_bytes: 1024,
            dynamic_shared_bytes_max: 47 << 10,
            ..Default::default()
        }
    };
    vec![kernel("double_it", &[8, 4]), kernel("nothing", &[]), kernel("mixed", &[1, 8, 2, 4])]
}

/// Answers an operation that is not stream-ordered.
pub(super) fn answer(host: &mut Reader, stream: u64, request: &Request, payload: &[u8]) -> Answer {
    match request {
        Request::Ping(_) | Request::FuncSetAttribute(_) => DONE,
        Request::CtxCreate(body) => {
            let context = ContextId::from_raw(body.context.get()).index();
            assert!(host.live.insert(("context", context)), "minted twice");
            let legacy = StreamId::from_raw(body.legacy_stream.get()).index();
            assert!(host.live.insert(("stream", legacy)), "minted twice");
            host.legacy.insert(context, legacy);
            DONE
        }
        Request::CtxDestroy(body) => {
            let context = ContextId::from_raw(body.context.get()).index();
            host.live.remove(&("context", context));
            if let Some(legacy) = host.legacy.remove(&context) {
                host.live.remove(&("stream", legacy));
            }
            DONE
        }
        Request::CtxSynchronize(_) | Request::EventSynchronize(_) | Request::ModuleUnload(_) => DONE,
        Request::StreamCreate(_) => {
            let fresh = host.live.insert(("stream", StreamId::from_raw(stream).index()));
            assert!(fresh, "minted twice");
            DONE
        }
        Request::EventCreate(body) => {
            let fresh = host.live.insert(("event", EventId::from_raw(body.event.get()).index()));
            assert!(fresh, "minted twice");
            DONE
        }
        Request::EventDestroy(body) => {
            host.live.remove(&("event", EventId::from_raw(body.event.get()).index()));
            DONE
        }
        Request::EventElapsedTime(_) => value(1_500),
        Request::MemGetInfo(_) => (Status::SUCCESS, [1 << 29, 1 << 30, 0, 0]),
        Request::MemAlloc(body) => {
            if body.bytes.get() > 1 << 29 {
                return failed(Status::ERROR_OUT_OF_MEMORY);
            }
            let address = host.next_address;
            host.next_address += body.bytes.get().next_multiple_of(512);
            host.memory.insert(address, vec![0; body.bytes.get() as usize]);
            value(address)
        }
        Request::MemFree(body) => match host.memory.remove(&body.address.get()) {
            Some(_) => DONE,
            None => failed(Status::ERROR_INVALID_VALUE),
        },
        Request::ModuleLoad(body) => load(host, body, payload),
        Request::ModuleLoadKept(body) => load_kept(host, body),
        Request::ModuleEnumerateFunctions(body) => enumerate(host, body),
        Request::ModuleLink(body) => link(host, body),
        Request::ModuleGetFunction(body) => look_up(host, body, payload),
        Request::ModuleGetGlobal(_) => {
            let address = host.next_address;
            host.next_address += 512;
            host.memory.insert(address, vec![0; 64]);
            (Status::SUCCESS, [address, 64, 0, 0])
        }
        Request::CtxGetLimit(body) => value(u64::from(body.limit.get()) << 10),
        Request::CtxSetLimit(body) => value(body.value.get().next_multiple_of(16)),
        Request::CtxResetPersistingL2(_) => DONE,
        Request::Occupancy(body) => {
            // Counts the questions, so that one which should not have travelled shows.
            host.next_address += 1;
            value(u64::from(body.block[0].get()) + (host.next_address << 32))
        }
        other => answer_mapping(host, other),
    }
}

/// Answers an operation about virtual memory.
fn answer_mapping(host: &mut Reader, request: &Request) -> Answer {
    match request {
        Request::AddressReserve(_)
        | Request::AddressFree(_)
        | Request::MemoryRelease(_)
        | Request::MemoryMap(_)
        | Request::MemoryUnmap(_)
        | Request::MemorySetAccess(_) => DONE,
        Request::MemoryCreate(_) => {
            host.memories += 1;
            value(host.memories)
        }
        other => panic!("{other:?} is stream-ordered or never travels"),
    }
}

fn load(host: &mut Reader, body: &body::ModuleLoad, options: &[u8]) -> Answer {
    let mut image = vec![0; body.image_bytes.get() as usize];
    let read = if body.image_region.get() == 1 {
        host.machine.staging.read(body.image_offset.get(), &mut image)
    } else {
        let heap = host.machine.heap.lock();
        let (_, region) = heap.values().find(|(id, _)| *id == body.image_region.get()).unwrap();
        region.read(body.image_offset.get(), &mut image)
    };
    read.unwrap();
    if image.starts_with(b"bad") {
        let text = "line 1: expected a directive";
        host.machine.staging.write(body.reply_offset.get(), text.as_bytes()).unwrap();
        return (Status::ERROR_INVALID_PTX, [text.len() as u64, 0, 0, 0]);
    }
    host.images.insert((body.image_bytes.get(), Sha256::digest(&image).into()));
    describe(host, body.reply_offset.get(), format!("{:?}", decode_options(options).unwrap()))
}

/// Keeps the images that it was sent.
fn load_kept(host: &Reader, body: &body::ModuleLoadKept) -> Answer {
    if !host.images.contains(&(body.image_bytes.get(), body.digest)) {
        return (Status::ERROR_NOT_FOUND, [0, 1, 0, 0]);
    }
    describe(host, body.reply_offset.get(), "kept".into())
}

fn describe(host: &Reader, offset: u64, log: String) -> Answer {
    let report = CompileReport { log, ..Default::default() };
    let description = ModuleDescription { functions: kernels().len() as u32, report };
    let bytes = codec::encode(&description).unwrap();
    host.machine.staging.write(offset, &bytes).unwrap();
    value(bytes.len() as u64)
}

/// Names two kernels at a time.
fn enumerate(host: &Reader, body: &body::ModuleEnumerateFunctions) -> Answer {
    let names = kernels().into_iter().skip(body.first.get() as usize).take(2).map(|kernel| kernel.name);
    let bytes = codec::encode(&FunctionNames { names: names.collect() }).unwrap();
    host.machine.staging.write(body.reply_offset.get(), &bytes).unwrap();
    value(bytes.len() as u64)
}

/// Makes 3 MiB of the first input's first byte.
fn link(host: &Reader, body: &body::ModuleLink) -> Answer {
    let heap = host.machine.heap.lock();
    let (_, region) = heap.values().find(|(id, _)| *id == body.region.get()).unwrap();
    let mut bytes = vec![0; body.input_bytes.get() as usize];
    region.read(body.offset.get(), &mut bytes).unwrap();
    let image = vec![decode_inputs(&bytes).unwrap()[0].data[0]; 3 << 20];
    if image.len() as u64 <= body.room_bytes.get() {
        region.write(body.offset.get(), &image).unwrap();
    }
    let told = codec::encode(&CompileReport::default()).unwrap();
    host.machine.staging.write(body.reply_offset.get(), &told).unwrap();
    (Status::SUCCESS, [told.len() as u64, image.len() as u64, 0, 0])
}

fn look_up(host: &mut Reader, body: &body::ModuleGetFunction, payload: &[u8]) -> Answer {
    let name = String::from_utf8(payload.to_vec()).unwrap();
    let Some(kernel) = kernels().into_iter().find(|kernel| kernel.name == name) else {
        return failed(Status::ERROR_NOT_FOUND);
    };
    host.functions.insert(body.function.get(), name);
    let bytes = codec::encode(&kernel).unwrap();
    host.machine.staging.write(body.reply_offset.get(), &bytes).unwrap();
    value(bytes.len() as u64)
}

/// Runs a stream-ordered operation.
pub(super) fn execute(host: &mut Reader, stream: u32, queued: &Queued) -> Status {
    use std::sync::atomic::Ordering;
    match &queued.request {
        Request::StreamDestroy(_) => {
            host.live.remove(&("stream", stream));
        }
        Request::Memcpy(body) => {
            let bytes = host.load(body.source.get(), body.bytes.get());
            host.store(body.destination.get(), &bytes);
        }
        Request::MemcpyFromStaging(body) => {
            let mut bytes = vec![0; body.bytes.get() as usize];
            host.machine.staging.read(body.staging_offset.get(), &mut bytes).unwrap();
            host.store(body.destination.get(), &bytes);
        }
        Request::MemcpyToStaging(body) => {
            let bytes = host.load(body.source.get(), body.bytes.get());
            host.machine.staging.write(body.staging_offset.get(), &bytes).unwrap();
        }
        Request::Memset(body) => {
            let element = &body.value.get().to_le_bytes()[..body.element_bytes.get() as usize];
            host.store(body.destination.get(), &element.repeat(body.count.get() as usize));
        }
        Request::StreamWriteValue32(body) => {
            host.store(body.address.get(), &body.value.get().to_le_bytes());
        }
        Request::LaunchKernel(body) => {
            let status = Status(host.machine.orders.fail_launch.swap(0, Ordering::SeqCst));
            if !status.is_success() {
                let sticky = host.machine.orders.fail_sticky.load(Ordering::SeqCst);
                let word = if sticky { window::context_error(0) } else { window::DEFERRED_ERROR };
                if queued.reply.is_none() || sticky {
                    host.machine.set(word, status.0);
                }
                return status;
            }
            if host.functions[&body.function.get()] == "double_it" {
                let address = u64::from_le_bytes(queued.payload[..8].try_into().unwrap());
                let count = u32::from_le_bytes(queued.payload[8..12].try_into().unwrap());
                let mut bytes = host.load(address, u64::from(count) * 4);
                for float in bytes.as_chunks_mut::<4>().0 {
                    *float = (f32::from_le_bytes(*float) * 2.0).to_le_bytes();
                }
                host.store(address, &bytes);
            }
        }
        // Streams of this host run one after another, so there is nothing to wait for.
        _ => {}
    }
    Status::SUCCESS
}

impl Reader {
    fn load(&self, address: u64, bytes: u64) -> Vec<u8> {
        let mut out = vec![0; bytes as usize];
        if address >= self.machine.heap_base && address < self.machine.heap_base + (1 << 36) {
            let heap = self.machine.heap.lock();
            let (base, (_, region)) = heap.range(..=address).next_back().unwrap();
            region.read(address - base, &mut out).unwrap();
        } else {
            let (base, memory) = self.memory.range(..=address).next_back().unwrap();
            let at = (address - base) as usize;
            out.copy_from_slice(&memory[at..at + bytes as usize]);
        }
        out
    }

    fn store(&mut self, address: u64, bytes: &[u8]) {
        if address >= self.machine.heap_base && address < self.machine.heap_base + (1 << 36) {
            let heap = self.machine.heap.lock();
            let (base, (_, region)) = heap.range(..=address).next_back().unwrap();
            region.write(address - base, bytes).unwrap();
        } else {
            let (base, memory) = self.memory.range_mut(..=address).next_back().unwrap();
            let at = (address - base) as usize;
            memory[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}
