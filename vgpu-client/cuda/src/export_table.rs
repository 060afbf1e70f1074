//! `cuGetExportTable`: tables of functions that NVIDIA's libraries call without a name.
//!
//! Only what those libraries were seen to call is served; other slots answer `CUDA_ERROR_NOT_SUPPORTED`. Slot 0 of most
//! tables is their size in bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::context::{self, Destructor};
use crate::current;
use crate::driver::driver;
use crate::entry::shield_driver;
use crate::export_clusters;
use crate::export_kernels;
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED};
use crate::image::Origin;
use crate::integrity::{self, Claim};
use crate::jit::Jit;
use crate::module;
use crate::pointers::{HostPointer, In, Out};
use crate::primary;
use crate::stream::{self, DefaultStream};

/// A slot: a function's address, or a size.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Slot(*const ());

// SAFETY: functions and numbers, which any thread may use.
unsafe impl Sync for Slot {}

impl Slot {
    const UNSERVED: Self = Self(unserved as *const ());

    const fn size<const SLOTS: usize>() -> Self {
        Self(std::ptr::without_provenance(SLOTS * size_of::<Self>()))
    }
}

/// A table of `SLOTS` slots, with the functions that are served.
const fn table<const SLOTS: usize>(served: &[(usize, *const ())]) -> [Slot; SLOTS] {
    let mut slots = [Slot::UNSERVED; SLOTS];
    slots[0] = Slot::size::<SLOTS>();
    let mut at = 0;
    while at < served.len() {
        slots[served[at].0] = Slot(served[at].1);
        at += 1;
    }
    slots
}

/// `CUDART_INTERFACE`: what the runtime needs of modules and the primary context.
static CUDART_INTERFACE: [Slot; 13] = table(&[
    (1, load_wrapper as *const ()),
    (2, primary_context as *const ()),
    (6, load_wrapper as *const ()),
    (7, size_hint as *const ()),
    (8, load_container as *const ()),
]);

/// `TOOLS_RUNTIME_CALLBACK_HOOKS`: memory in which profilers would leave their callbacks.
static RUNTIME_HOOKS: [Slot; 7] = table(&[
    (1, hook_nothing as *const ()),
    (2, hook_functions as *const ()),
    (4, hook_nothing as *const ()),
    (6, hook_domains as *const ()),
]);

/// `CONTEXT_CHECKS`.
static CONTEXT_CHECKS: [Slot; 15] =
    table(&[(2, context_check as *const ()), (3, context_check_mode as *const ())]);

/// `INTEGRITY_CHECK`.
static INTEGRITY_CHECK: [Slot; 3] = table(&[(1, integrity_check as *const ())]);

/// `CONTEXT_LOCAL_STORAGE`, which has no size slot.
static CONTEXT_LOCAL_STORAGE: [Slot; 3] =
    [Slot(storage_put as *const ()), Slot(storage_delete as *const ()), Slot(storage_get as *const ())];

/// `TOOLS_TLS`.
static TOOLS_TLS: [Slot; 3] = table(&[(2, tools_context as *const ())]);

/// What cuBLAS and cuBLASLt ask of contexts and streams. Its slots have no public names: 4 answers a context's id, 51 and
/// then 39 the id of a stream, as those libraries call them. As long as in the newest driver that was looked at, because
/// callers take a slot without asking for the size.
static CONTEXT_INTERFACE: [Slot; 95] = table(&[
    (4, context_id as *const ()),
    (39, stream_object_id as *const ()),
    (51, stream_object as *const ()),
]);

/// Where multiprocessors lie: asked for by cuBLASLt.
static CLUSTERS: [Slot; 17] =
    table(&[(4, export_clusters::get as *const ()), (13, export_clusters::give_back as *const ())]);

/// Kernels of a module whose names the caller does not know: asked for by cuFFT.
static MODULE_INTERFACE: [Slot; 99] = table(&[(7, export_kernels::each as *const ())]);

/// The table of an id.
fn find(id: u128) -> Option<&'static [Slot]> {
    Some(match id {
        0x6bd5_fb6c_5bf4_e74a_8987_d939_12fd_9df9 => &CUDART_INTERFACE,
        0xa094_798c_2e74_2e74_93f2_0800_200c_0a66 => &RUNTIME_HOOKS,
        0x263e_8860_7cd2_6143_92f6_bbd5_006d_fa7e => &CONTEXT_CHECKS,
        0xd408_2055_bde6_704b_8d34_ba12_3c66_e1f2 => &INTEGRITY_CHECK,
        0xc693_336e_1121_df11_a8c3_68f3_55d8_9593 => &CONTEXT_LOCAL_STORAGE,
        0x42d8_5a81_23f6_cb47_8298_f6e7_8a3a_ecdc => &TOOLS_TLS,
        0x2131_8c60_9714_3248_8ca6_41ff_7324_c8f2 => &CONTEXT_INTERFACE,
        0x1734_dc26_800d_4745_8726_c0f1_e7dd_8bca => &CLUSTERS,
        0x6e16_3fbe_b958_444d_835c_e182_aff1_991e => &MODULE_INTERFACE,
        _ => return None,
    })
}

fn get(out: Out<u64>, id: In<[u8; 16]>) -> Call {
    out.required()?;
    let id = u128::from_be_bytes(id.read()?);
    let table = find(id);
    crate::log::debug(format_args!(
        "  table {id:032x}: {}",
        if table.is_some() { "served" } else { "unknown" }
    ));
    out.set(table.map_or(0, |table| table.as_ptr() as u64));
    table.map(drop).ok_or(NOT_FOUND)
}

driver_calls! {
    fn cuGetExportTable(out: Out<u64>, id: In<[u8; 16]>) { get(out, id) }
}

/// Runs a slot's function, refused where the process can have no driver; `name` is for the log.
pub(crate) fn slot(name: &str, call: impl FnOnce() -> Call) -> u32 {
    let status = shield_driver(call).0;
    crate::log::debug(format_args!("  table function {name} = {status}"));
    status
}

extern "C" fn unserved() -> u32 {
    static SAID: AtomicU64 = AtomicU64::new(0);
    slot("unserved", || {
        if SAID.fetch_add(1, Ordering::Relaxed) == 0 {
            crate::log::write(format_args!(
                "a function of an export table is not supported; see docs/compatibility.md"
            ));
        }
        Err(NOT_SUPPORTED)
    })
}

extern "C" fn load_wrapper(out: Out<u64>, wrapper: HostPointer) -> u32 {
    slot("load_wrapper", || module::load(out, Origin::Memory(wrapper), &Jit::default()))
}

extern "C" fn load_container(container: HostPointer, out: Out<u64>) -> u32 {
    slot("load_container", || module::load(out, Origin::Memory(container), &Jit::default()))
}

extern "C" fn primary_context(out: Out<u64>, device: i32) -> u32 {
    slot("primary_context", || {
        out.required()?.set(primary::context(device)?.handle);
        Ok(())
    })
}

extern "C" fn size_hint(_bytes: u64) {}

extern "C" fn hook_nothing() -> u32 {
    0
}

/// Words of the memory for callbacks, and of that for domains.
const HOOK_WORDS: usize = 512;
const DOMAIN_WORDS: usize = 14;

static HOOKS: [AtomicU64; HOOK_WORDS] = [const { AtomicU64::new(0) }; HOOK_WORDS];
static DOMAINS: [AtomicU64; DOMAIN_WORDS] = [const { AtomicU64::new(0) }; DOMAIN_WORDS];

extern "C" fn hook_functions(out: Out<u64>, size: Out<u64>) {
    out.set(HOOKS.as_ptr() as u64);
    size.set(2 * HOOK_WORDS as u64);
}

extern "C" fn hook_domains(out: Out<u64>, size: Out<u64>) {
    out.set(DOMAINS.as_ptr() as u64);
    size.set(DOMAIN_WORDS as u64);
}

/// Says that a context is fine.
extern "C" fn context_check(context: u64, result: Out<u32>) -> u32 {
    slot("context_check", || {
        crate::log::debug(format_args!("  context {context:#x}"));
        result.set(0);
        Ok(())
    })
}

extern "C" fn context_check_mode() -> u32 {
    0
}

extern "C" fn integrity_check(version: u32, unix_seconds: u64, result: Out<[u8; 16]>) -> u32 {
    slot("integrity_check", || {
        let driver = driver()?;
        result.required()?;
        // SAFETY: it takes nothing, and every thread has an identity.
        let thread = unsafe { libc::pthread_self() };
        let claim = Claim {
            version,
            process: std::process::id(),
            // The digest covers the low half.
            thread: thread as u32,
            interface_table: CUDART_INTERFACE.as_ptr() as u64,
            integrity_table: INTEGRITY_CHECK.as_ptr() as u64,
            function: integrity_check as *const () as u64,
            unix_seconds,
        };
        result.set(integrity::digest(&claim, &driver.device().uuid));
        Ok(())
    })
}

/// Context of a storage call: 0 and all ones name the current one.
fn storage_context(context: u64) -> Call<std::sync::Arc<context::Context>> {
    context::find_or_current(if context == u64::MAX { 0 } else { context })
}

/// Keys of one context, at most: a handful of libraries use one each.
const STORAGE_KEYS_MAX: usize = 4_096;

extern "C" fn storage_put(context: u64, key: u64, value: u64, destructor: Destructor) -> u32 {
    slot("storage_put", || {
        let context = storage_context(context)?;
        let mut storage = context.storage();
        if storage.len() >= STORAGE_KEYS_MAX {
            return Err(INVALID_VALUE);
        }
        storage.insert(key, (value, destructor));
        Ok(())
    })
}

extern "C" fn storage_delete(context: u64, key: u64) -> u32 {
    slot("storage_delete", || {
        storage_context(context)?.storage().remove(&key).map(drop).ok_or(INVALID_HANDLE)
    })
}

extern "C" fn storage_get(out: Out<u64>, context: u64, key: u64) -> u32 {
    slot("storage_get", || {
        out.required()?;
        let found = storage_context(context)?.storage().get(&key).map(|(value, _)| *value);
        out.set(found.ok_or(INVALID_HANDLE)?);
        Ok(())
    })
}

extern "C" fn tools_context(out: Out<u64>) -> u32 {
    slot("tools_context", || {
        out.set(current::handle());
        Ok(())
    })
}

/// As `cuCtxGetId`.
extern "C" fn context_id(context: u64, out: Out<u64>) -> u32 {
    slot("context_id", || {
        out.required()?.set(context::find_or_current(context)?.id);
        Ok(())
    })
}

/// What stands for a stream where `stream_object_id` is asked: its handle, where 0 became the one that it means.
/// `is_per_thread` says which that is.
extern "C" fn stream_object(context: u64, stream: u64, out: Out<u64>, is_per_thread: u32) -> u32 {
    slot("stream_object", || {
        context::find_or_current(context)?;
        let default = if is_per_thread != 0 { DefaultStream::PerThread } else { DefaultStream::Legacy };
        // The ids of the default streams are their handles.
        stream::id(stream, out, default)
    })
}

/// The id of a stream: libraries keep scratch memory by it.
extern "C" fn stream_object_id(context: u64, object: u64, out: Out<u64>) -> u32 {
    slot("stream_object_id", || {
        context::find_or_current(context)?;
        stream::id(object, out, DefaultStream::Legacy)
    })
}
