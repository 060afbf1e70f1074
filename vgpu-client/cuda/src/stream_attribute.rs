//! Attributes of a stream: kept here, and given to each launch in it.
//!
//! A launch's own attribute goes before the stream's. How a thread waits for a stream is the guest library's to choose, so
//! that policy is kept and has no effect.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::driver::driver;
use crate::fail::{Call, INVALID_VALUE};
use crate::launch_attribute::{Attribute, Value, attribute, id};
use crate::pointers::{In, Out};
use crate::stream::{self, DefaultStream, Resolved};

use DefaultStream::{Legacy, PerThread};

/// Attributes that a stream has.
const KINDS: [u32; 5] = [
    id::ACCESS_POLICY_WINDOW,
    id::SYNCHRONIZATION_POLICY,
    id::PRIORITY,
    id::MEM_SYNC_DOMAIN_MAP,
    id::MEM_SYNC_DOMAIN,
];

/// Values of `CUsynchronizationPolicy` and the first of them: automatic, spin, yield, blocking.
const POLICIES: std::ops::RangeInclusive<u32> = 1..=4;

/// `CU_LAUNCH_MEM_SYNC_DOMAIN_*` map to themselves at first: 0 for the default domain, 1 for the remote one.
const DOMAIN_MAP: u32 = 0x0100;

/// Attributes with their values.
type Values = Vec<(u32, Value)>;

/// Attributes that were set, by context and stream. Streams are never named again, so what is left of one means nothing;
/// it goes with its context.
#[derive(Debug, Default)]
pub(crate) struct StreamAttributes {
    set: Mutex<HashMap<(u64, u64), Values>>,
    /// Whether any stream ever had one, so that launches of other programs do not look.
    used: AtomicBool,
}

impl StreamAttributes {
    fn of(&self, stream: &Resolved) -> Values {
        if !self.used.load(Ordering::Acquire) {
            return Values::new();
        }
        self.set.lock().get(&stream.key()).cloned().unwrap_or_default()
    }

    fn put(&self, stream: &Resolved, which: u32, value: Value) {
        self.used.store(true, Ordering::Release);
        let mut set = self.set.lock();
        let values = set.entry(stream.key()).or_default();
        values.retain(|(kind, _)| *kind != which);
        values.push((which, value));
    }

    /// Forgets the streams of a context that is about to go.
    pub(crate) fn forget(&self, context: u64) {
        self.set.lock().retain(|(owner, _), _| *owner != context);
    }

    /// Adds a stream's attributes to those of a launch in it.
    pub(crate) fn extend(&self, stream: &Resolved, attributes: &mut Vec<Attribute>) -> Call {
        for (which, value) in self.of(stream) {
            let is_given = attributes.iter().any(|attribute| attribute.id() == which);
            if which != id::SYNCHRONIZATION_POLICY && !is_given {
                attributes.push(attribute(which, &value)?);
            }
        }
        Ok(())
    }
}

/// What a stream has where nothing was set.
fn start_value(handle: u64, which: u32, default: DefaultStream) -> Call<Value> {
    let mut words = [0; 16];
    words[0] = match which {
        id::SYNCHRONIZATION_POLICY => *POLICIES.start(),
        id::PRIORITY => stream::options(handle, default)?.priority.cast_unsigned(),
        id::MEM_SYNC_DOMAIN_MAP => DOMAIN_MAP,
        _ => 0,
    };
    Ok(Value(words))
}

fn get(handle: u64, which: u32, out: Out<Value>, default: DefaultStream) -> Call {
    let driver = driver()?;
    let stream = stream::resolve(driver, handle, default)?;
    out.required()?;
    if !KINDS.contains(&which) {
        return Err(INVALID_VALUE);
    }
    let set = driver.stream_attributes.of(&stream).into_iter().find(|(kind, _)| *kind == which);
    out.set(match set {
        Some((_, value)) => value,
        None => start_value(handle, which, default)?,
    });
    Ok(())
}

fn set(handle: u64, which: u32, value: In<Value>, default: DefaultStream) -> Call {
    let driver = driver()?;
    let stream = stream::resolve(driver, handle, default)?;
    let value = value.read()?;
    if !KINDS.contains(&which) {
        return Err(INVALID_VALUE);
    }
    if which == id::SYNCHRONIZATION_POLICY {
        if !POLICIES.contains(&value.0[0]) {
            return Err(INVALID_VALUE);
        }
    } else {
        attribute(which, &value)?;
    }
    driver.stream_attributes.put(&stream, which, value);
    Ok(())
}

fn copy(to: u64, from: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    let to = stream::resolve(driver, to, default)?;
    let from = stream::resolve(driver, from, default)?;
    if to.context.id != from.context.id {
        return Err(INVALID_VALUE);
    }
    for (which, value) in driver.stream_attributes.of(&from) {
        driver.stream_attributes.put(&to, which, value);
    }
    Ok(())
}

driver_calls! {
    fn cuStreamGetAttribute(stream: u64, which: u32, out: Out<Value>) { get(stream, which, out, Legacy) }
    fn cuStreamGetAttribute_ptsz(stream: u64, which: u32, out: Out<Value>) { get(stream, which, out, PerThread) }
    fn cuStreamSetAttribute(stream: u64, which: u32, value: In<Value>) { set(stream, which, value, Legacy) }
    fn cuStreamSetAttribute_ptsz(stream: u64, which: u32, value: In<Value>) {
        set(stream, which, value, PerThread)
    }
    fn cuStreamCopyAttributes(to: u64, from: u64) { copy(to, from, Legacy) }
    fn cuStreamCopyAttributes_ptsz(to: u64, from: u64) { copy(to, from, PerThread) }
}
