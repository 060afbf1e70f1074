//! Contexts: making, destroying, and what they tell.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use vgpu_client::Status;

use crate::current;
use crate::driver::{Driver, check_device, driver};
use crate::fail::{Call, Fail, INVALID_CONTEXT, INVALID_VALUE, NOT_SUPPORTED};
use crate::graph::capture;
use crate::pointers::{HostPointer, Out};

/// What `cuCtxGetApiVersion` answers for contexts of every CUDA 4 and later.
const API_VERSION: u32 = 3_020;

/// All flags that a context may be made with: the four ways to wait, mapped host memory, larger local memory, core
/// dumps, synchronous memory operations.
const FLAGS_KNOWN: u32 = 0xff;

/// `destructor(context, key, value)`.
pub(crate) type Destructor = Option<extern "C" fn(u64, HostPointer, HostPointer)>;

/// What libraries of NVIDIA keep with a context, by key.
pub(crate) type Storage = HashMap<u64, (u64, Destructor)>;

/// A context.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) handle: u64,
    /// Never used again, where the handle of the primary context is.
    pub(crate) id: u64,
    pub(crate) flags: AtomicU32,
    pub(crate) inner: vgpu_client::Context,
    storage: Mutex<Storage>,
}

impl Context {
    pub(crate) fn create(driver: &Driver, handle: u64, flags: u32) -> Call<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let inner = driver.client.create_context()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let flags = AtomicU32::new(flags);
        Ok(Arc::new(Self { handle, id, flags, inner, storage: Mutex::default() }))
    }

    pub(crate) fn storage(&self) -> parking_lot::MutexGuard<'_, Storage> {
        self.storage.lock()
    }

    /// Drops all that belongs to it. The handle leads nowhere any more.
    pub(crate) fn end(&self, driver: &Driver) {
        let kept: Vec<_> = self.storage().drain().collect();
        for (key, (value, destructor)) in kept {
            if let Some(destructor) = destructor {
                destructor(self.handle, HostPointer::unified(key), HostPointer::unified(value));
            }
        }
        driver.forget(self.id);
    }
}

/// The live context of that handle.
pub(crate) fn find(driver: &Driver, handle: u64) -> Call<Arc<Context>> {
    if let Some(primary) = driver.primary.lock().live(handle) {
        return Ok(primary);
    }
    driver.contexts.get(handle).ok_or(INVALID_CONTEXT)
}

/// The live context of that handle; the current one for 0.
pub(crate) fn find_or_current(handle: u64) -> Call<Arc<Context>> {
    if handle == 0 { current::context() } else { find(driver()?, handle) }
}

fn create(out: Out<u64>, flags: u32, device: i32) -> Call {
    let driver = check_device(device)?;
    out.required()?;
    if flags & !FLAGS_KNOWN != 0 {
        return Err(INVALID_VALUE);
    }
    let handle = driver.contexts.mint();
    let context = Context::create(driver, handle, flags)?;
    driver.contexts.insert(handle, context);
    current::push(handle)?;
    out.set(handle);
    Ok(())
}

fn destroy(handle: u64) -> Call {
    let driver = driver()?;
    let context = driver.contexts.remove(handle).ok_or(INVALID_CONTEXT)?;
    if current::handle() == handle {
        current::set(0);
    }
    context.end(driver);
    Ok(())
}

fn set_current(handle: u64) -> Call {
    if handle != 0 {
        find(driver()?, handle)?;
    }
    current::set(handle);
    Ok(())
}

fn push(handle: u64) -> Call {
    let handle = find(driver()?, handle)?.handle;
    current::push(handle)
}

fn pop(out: Out<u64>) -> Call {
    driver()?;
    out.set(current::pop()?);
    Ok(())
}

fn synchronize(handle: u64) -> Call {
    let context = find_or_current(handle)?;
    capture::check_context(context.id)?;
    context.inner.synchronize()?;
    let driver = driver()?;
    driver.pools.after_synchronise(driver);
    Ok(())
}

driver_calls! {
    fn cuCtxCreate_v2(out: Out<u64>, flags: u32, device: i32) { create(out, flags, device) }
    fn cuCtxCreate_v3(out: Out<u64>, affinity: HostPointer, count: i32, flags: u32, device: i32) {
        // An affinity asks for a part of the multiprocessors, which is MPS's to give.
        if count != 0 || !affinity.is_null() { Err(NOT_SUPPORTED) } else { create(out, flags, device) }
    }
    fn cuCtxCreate_v4(out: Out<u64>, params: HostPointer, flags: u32, device: i32) {
        if params.is_null() { create(out, flags, device) } else { Err(NOT_SUPPORTED) }
    }
    fn cuCtxDestroy_v2(context: u64) { destroy(context) }
    fn cuCtxDestroy(context: u64) { destroy(context) }
    fn cuCtxSetCurrent(context: u64) { set_current(context) }
    fn cuCtxGetCurrent(out: Out<u64>) {
        driver()?;
        out.required()?.set(current::handle());
        Ok(())
    }
    fn cuCtxPushCurrent_v2(context: u64) { push(context) }
    fn cuCtxPushCurrent(context: u64) { push(context) }
    fn cuCtxPopCurrent_v2(out: Out<u64>) { pop(out) }
    fn cuCtxPopCurrent(out: Out<u64>) { pop(out) }
    fn cuCtxGetDevice(out: Out<i32>) {
        current::context()?;
        out.required()?.set(0);
        Ok(())
    }
    fn cuCtxGetDevice_v2(out: Out<i32>, context: u64) {
        find_or_current(context)?;
        out.required()?.set(0);
        Ok(())
    }
    fn cuCtxGetFlags(out: Out<u32>) {
        out.required()?.set(current::context()?.flags.load(Ordering::Relaxed));
        Ok(())
    }
    fn cuCtxGetId(context: u64, out: Out<u64>) {
        out.required()?.set(find_or_current(context)?.id);
        Ok(())
    }
    fn cuCtxGetApiVersion(context: u64, out: Out<u32>) {
        find_or_current(context)?;
        out.required()?.set(API_VERSION);
        Ok(())
    }
    fn cuCtxSynchronize() { synchronize(0) }
    fn cuCtxSynchronize_v2(context: u64) { synchronize(context) }
    fn cuCtxSetFlags(flags: u32) {
        let context = current::context()?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(INVALID_VALUE);
        }
        context.flags.store(flags, Ordering::Relaxed);
        Ok(())
    }
    fn cuCtxGetExecAffinity(out: Out<[u32; 2]>, kind: u32) {
        current::context()?;
        out.required()?;
        if kind != 0 {
            return Err(INVALID_VALUE);
        }
        // CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY: a number of multiprocessors is MPS's to give.
        Err(Fail(Status(224)))
    }
    fn cuCtxEnablePeerAccess(peer: u64, flags: u32) {
        let context = current::context()?;
        if flags != 0 {
            return Err(INVALID_VALUE);
        }
        if find(driver()?, peer)?.id == context.id {
            return Err(INVALID_CONTEXT);
        }
        // CUDA_ERROR_PEER_ACCESS_UNSUPPORTED: a device is not its own peer.
        Err(Fail(Status(217)))
    }
    fn cuCtxDisablePeerAccess(peer: u64) {
        current::context()?;
        find(driver()?, peer)?;
        // CUDA_ERROR_PEER_ACCESS_NOT_ENABLED
        Err(Fail(Status(705)))
    }
    fn cuCtxGetCacheConfig(out: Out<u32>) {
        current::context()?;
        out.required()?.set(0);
        Ok(())
    }
    fn cuCtxSetCacheConfig(preference: u32) {
        current::context()?;
        // A preference, which the driver may ignore, and ignores on every GPU since Volta.
        if preference <= 3 { Ok(()) } else { Err(INVALID_VALUE) }
    }
    fn cuCtxGetSharedMemConfig(out: Out<u32>) {
        current::context()?;
        // Banks of four bytes: the only ones since Maxwell.
        out.required()?.set(1);
        Ok(())
    }
    fn cuCtxSetSharedMemConfig(config: u32) {
        current::context()?;
        if config <= 2 { Ok(()) } else { Err(INVALID_VALUE) }
    }
    fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) {
        current::context()?;
        least.set(crate::stream::PRIORITY_LEAST);
        greatest.set(driver()?.device().stream_priority_greatest);
        Ok(())
    }
}
