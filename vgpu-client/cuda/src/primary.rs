//! The primary context of the device: shared by all who retain it.

use std::sync::Arc;

use crate::context::Context;
use crate::driver::{Driver, check_device};
use crate::fail::{Call, INVALID_VALUE};
use crate::pointers::Out;

/// Flags that `cuDevicePrimaryCtxSetFlags` takes: as for other contexts.
const FLAGS_KNOWN: u32 = 0xff;

/// State of the primary context.
#[derive(Debug, Default)]
pub(crate) struct Primary {
    /// Minted once: programs keep the handle over a reset.
    handle: u64,
    retained: u64,
    flags: u32,
    active: Option<Arc<Context>>,
}

impl Primary {
    /// The context, where it is active and `handle` is its name.
    pub(crate) fn live(&self, handle: u64) -> Option<Arc<Context>> {
        if handle == self.handle { self.active.clone() } else { None }
    }

    fn handle(&mut self, driver: &Driver) -> u64 {
        if self.handle == 0 {
            self.handle = driver.contexts.mint();
        }
        self.handle
    }
}

fn retain(out: Out<u64>, device: i32) -> Call {
    let driver = check_device(device)?;
    out.required()?;
    let mut primary = driver.primary.lock();
    let handle = primary.handle(driver);
    if primary.active.is_none() {
        primary.active = Some(Context::create(driver, handle, primary.flags)?);
    }
    primary.retained += 1;
    out.set(handle);
    Ok(())
}

fn release(device: i32) -> Call {
    let driver = check_device(device)?;
    let ended = {
        let mut primary = driver.primary.lock();
        // A release too many succeeds, as natively.
        primary.retained = primary.retained.saturating_sub(1);
        if primary.retained == 0 { primary.active.take() } else { None }
    };
    if let Some(context) = ended {
        context.end(driver);
    }
    Ok(())
}

/// Destroys the context under those who retain it. The next retain makes a new one.
fn reset(device: i32) -> Call {
    let driver = check_device(device)?;
    let ended = driver.primary.lock().active.take();
    if let Some(context) = ended {
        context.end(driver);
    }
    Ok(())
}

fn set_flags(device: i32, flags: u32) -> Call {
    let driver = check_device(device)?;
    if flags & !FLAGS_KNOWN != 0 {
        return Err(INVALID_VALUE);
    }
    driver.primary.lock().flags = flags;
    Ok(())
}

/// The primary context, which is made if need be. Does not retain it.
pub(crate) fn context(device: i32) -> Call<Arc<Context>> {
    let driver = check_device(device)?;
    let mut primary = driver.primary.lock();
    let handle = primary.handle(driver);
    if let Some(context) = &primary.active {
        return Ok(Arc::clone(context));
    }
    let context = Context::create(driver, handle, primary.flags)?;
    primary.active = Some(Arc::clone(&context));
    Ok(context)
}

driver_calls! {
    fn cuDevicePrimaryCtxRetain(out: Out<u64>, device: i32) { retain(out, device) }
    fn cuDevicePrimaryCtxRelease(device: i32) { release(device) }
    fn cuDevicePrimaryCtxRelease_v2(device: i32) { release(device) }
    fn cuDevicePrimaryCtxReset(device: i32) { reset(device) }
    fn cuDevicePrimaryCtxReset_v2(device: i32) { reset(device) }
    fn cuDevicePrimaryCtxSetFlags(device: i32, flags: u32) { set_flags(device, flags) }
    fn cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32) { set_flags(device, flags) }
    fn cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) {
        let driver = check_device(device)?;
        let primary = driver.primary.lock();
        flags.required()?.set(primary.flags);
        active.required()?.set(i32::from(primary.active.is_some()));
        Ok(())
    }
}
