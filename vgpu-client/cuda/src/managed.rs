//! Managed memory, in its first form: pinned memory, which host and device reach at the same address at any time.

use crate::advice::{Advice, Advised, Location, NUMBER_NONE};
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::graph::capture;
use crate::memory::Memory;
use crate::pointers::{HostPointer, In, Out};
use crate::stream::{self, DefaultStream};

use DefaultStream::{Legacy, PerThread};

/// `CU_MEM_ATTACH_GLOBAL`, `HOST` and `SINGLE`.
const ATTACH_GLOBAL: u32 = 1;
const ATTACH_HOST: u32 = 2;
const ATTACH_SINGLE: u32 = 4;

/// `CU_STREAM_LEGACY`.
const STREAM_LEGACY: u64 = 1;

/// Attributes of a range (`CU_MEM_RANGE_ATTRIBUTE_*`).
mod attribute {
    pub(super) const READ_MOSTLY: u32 = 1;
    pub(super) const PREFERRED_LOCATION: u32 = 2;
    pub(super) const ACCESSED_BY: u32 = 3;
    pub(super) const LAST_PREFETCH_LOCATION: u32 = 4;
    pub(super) const PREFERRED_LOCATION_TYPE: u32 = 5;
    pub(super) const PREFERRED_LOCATION_ID: u32 = 6;
    pub(super) const LAST_PREFETCH_LOCATION_TYPE: u32 = 7;
    pub(super) const LAST_PREFETCH_LOCATION_ID: u32 = 8;
}

fn alloc(out: Out<u64>, bytes: u64, flags: u32) -> Call {
    let context = current::context()?;
    out.required()?;
    if !matches!(flags, ATTACH_GLOBAL | ATTACH_HOST) {
        return Err(INVALID_VALUE);
    }
    capture::check_unseen()?;
    let bytes = usize::try_from(bytes).map_err(|_| INVALID_VALUE)?;
    let buffer = context.inner.pinned::<u8>(bytes)?;
    out.set(driver()?.allocations.add(&context, Memory::Managed(buffer, Advised::default())));
    Ok(())
}

/// Shows the advice for `bytes` bytes at `address`, more than 0, all of one managed allocation.
fn advised<T>(driver: &Driver, address: u64, bytes: u64, look: impl FnOnce(&Advised) -> T) -> Call<T> {
    let found = driver.allocations.find(address, |allocation| match &allocation.memory {
        Memory::Managed(_, advised) => {
            let left = allocation.bytes() - (address - allocation.base());
            (bytes > 0 && bytes <= left).then(|| look(advised))
        }
        _ => None,
    });
    found.flatten().ok_or(INVALID_VALUE)
}

fn place(location: Option<Location>) -> Call<Location> {
    location.ok_or(Fail(vgpu_client::Status::ERROR_INVALID_DEVICE))
}

fn advise(address: u64, bytes: u64, advice: u32, location: Option<Location>) -> Call {
    let change: fn(&mut Advice, Location) = match advice {
        1 => |advice, _| advice.read_mostly = true,
        2 => |advice, _| advice.read_mostly = false,
        3 => |advice, location| advice.preferred = Some(location),
        4 => |advice, _| advice.preferred = None,
        5 | 6 => accessed_by(advice == 5),
        _ => return Err(INVALID_VALUE),
    };
    // Reading mostly, and no preference, go without a place.
    let location = match advice {
        1 | 2 | 4 => Location::Device,
        _ => place(location)?,
    };
    advised(driver()?, address, bytes, |advised| {
        advised.change(address, bytes, |advice| change(advice, location));
    })
}

fn accessed_by(set: bool) -> fn(&mut Advice, Location) {
    if set {
        |advice, location| match location {
            Location::Device => advice.accessed_by_device = true,
            Location::Host | Location::Node(_) => advice.accessed_by_host = true,
        }
    } else {
        |advice, location| match location {
            Location::Device => advice.accessed_by_device = false,
            Location::Host | Location::Node(_) => advice.accessed_by_host = false,
        }
    }
}

/// There is nothing to move: the memory stays where both sides reach it.
fn prefetch(
    address: u64,
    bytes: u64,
    location: Option<Location>,
    flags: u32,
    stream: u64,
    default: DefaultStream,
) -> Call {
    let driver = driver()?;
    capture::refuse(&stream::resolve(driver, stream, default)?)?;
    if flags != 0 {
        return Err(INVALID_VALUE);
    }
    let location = place(location)?;
    advised(driver, address, bytes, |advised| {
        advised.change(address, bytes, |advice| advice.prefetched = Some(location));
    })
}

/// A stream gets no memory of its own: all may use it at any time, which is more than the call asks for.
fn attach(stream: u64, address: u64, bytes: u64, flags: u32, default: DefaultStream) -> Call {
    let driver = driver()?;
    capture::refuse(&stream::resolve(driver, stream, default)?)?;
    let null = matches!((stream, default), (0, Legacy) | (STREAM_LEGACY, _));
    match flags {
        ATTACH_GLOBAL | ATTACH_HOST => {}
        ATTACH_SINGLE if !null => {}
        _ => return Err(INVALID_VALUE),
    }
    let whole = driver.allocations.find(address, |allocation| {
        let managed = matches!(allocation.memory, Memory::Managed(..));
        managed && allocation.base() == address && (bytes == 0 || bytes == allocation.bytes())
    });
    if whole == Some(true) { Ok(()) } else { Err(INVALID_VALUE) }
}

/// Writes an attribute of a range into `room` bytes.
fn range(out: HostPointer, room: u64, which: u32, address: u64, bytes: u64) -> Call {
    if out.is_null() {
        return Err(INVALID_VALUE);
    }
    let one = |value: i32| {
        if room != 4 {
            return Err(INVALID_VALUE);
        }
        out.out().set(value);
        Ok(())
    };
    let number = |location: Option<Location>| location.map_or(NUMBER_NONE, Location::number);
    let kind = |location: Option<Location>| location.map_or(0, |place| place.parts().0).cast_signed();
    let id = |location: Option<Location>| location.map_or(0, |place| place.parts().1);
    advised(driver()?, address, bytes, |advised| {
        let preferred = || advised.common(address, bytes, |advice| advice.preferred).flatten();
        let prefetched = || advised.common(address, bytes, |advice| advice.prefetched).flatten();
        match which {
            attribute::READ_MOSTLY => {
                one(i32::from(advised.common(address, bytes, |advice| advice.read_mostly) == Some(true)))
            }
            attribute::PREFERRED_LOCATION => one(number(preferred())),
            attribute::ACCESSED_BY => {
                let all = |look: fn(&Advice) -> bool| advised.common(address, bytes, look) == Some(true);
                let by = [
                    (all(|advice| advice.accessed_by_device), 0),
                    (all(|advice| advice.accessed_by_host), -1),
                ];
                list(out.out(), room, by.into_iter().filter(|(set, _)| *set).map(|(_, number)| number))
            }
            attribute::LAST_PREFETCH_LOCATION => one(number(prefetched())),
            attribute::PREFERRED_LOCATION_TYPE => one(kind(preferred())),
            attribute::PREFERRED_LOCATION_ID => one(id(preferred())),
            attribute::LAST_PREFETCH_LOCATION_TYPE => one(kind(prefetched())),
            attribute::LAST_PREFETCH_LOCATION_ID => one(id(prefetched())),
            _ => Err(INVALID_VALUE),
        }
    })?
}

/// Writes numbers of devices, and none in the rest of the room.
fn list(out: Out<i32>, room: u64, numbers: impl Iterator<Item = i32>) -> Call {
    if room == 0 || !room.is_multiple_of(4) {
        return Err(INVALID_VALUE);
    }
    for (at, number) in (0..room as usize / 4).zip(numbers.chain(std::iter::repeat(NUMBER_NONE))) {
        out.at(at).set(number);
    }
    Ok(())
}

fn ranges(
    outs: In<HostPointer>,
    rooms: In<u64>,
    which: In<u32>,
    count: u64,
    address: u64,
    bytes: u64,
) -> Call {
    if count == 0 {
        return Err(INVALID_VALUE);
    }
    for at in 0..count as usize {
        range(outs.at(at)?, rooms.at(at)?, which.at(at)?, address, bytes)?;
    }
    Ok(())
}

driver_calls! {
    fn cuMemAllocManaged(out: Out<u64>, bytes: u64, flags: u32) { alloc(out, bytes, flags) }
    fn cuMemAdvise(address: u64, bytes: u64, advice: u32, device: i32) {
        advise(address, bytes, advice, Location::from_number(device))
    }
    fn cuMemAdvise_v2(address: u64, bytes: u64, advice: u32, location: u64) {
        advise(address, bytes, advice, Location::from_word(location))
    }
    fn cuMemPrefetchAsync(address: u64, bytes: u64, device: i32, stream: u64) {
        prefetch(address, bytes, Location::from_number(device), 0, stream, Legacy)
    }
    fn cuMemPrefetchAsync_ptsz(address: u64, bytes: u64, device: i32, stream: u64) {
        prefetch(address, bytes, Location::from_number(device), 0, stream, PerThread)
    }
    fn cuMemPrefetchAsync_v2(address: u64, bytes: u64, location: u64, flags: u32, stream: u64) {
        prefetch(address, bytes, Location::from_word(location), flags, stream, Legacy)
    }
    fn cuMemPrefetchAsync_v2_ptsz(address: u64, bytes: u64, location: u64, flags: u32, stream: u64) {
        prefetch(address, bytes, Location::from_word(location), flags, stream, PerThread)
    }
    fn cuMemRangeGetAttribute(out: HostPointer, room: u64, which: u32, address: u64, bytes: u64) {
        range(out, room, which, address, bytes)
    }
    fn cuMemRangeGetAttributes(
        outs: In<HostPointer>,
        rooms: In<u64>,
        which: In<u32>,
        count: u64,
        address: u64,
        bytes: u64,
    ) {
        ranges(outs, rooms, which, count, address, bytes)
    }
    fn cuStreamAttachMemAsync(stream: u64, address: u64, bytes: u64, flags: u32) {
        attach(stream, address, bytes, flags, Legacy)
    }
    fn cuStreamAttachMemAsync_ptsz(stream: u64, address: u64, bytes: u64, flags: u32) {
        attach(stream, address, bytes, flags, PerThread)
    }
}
