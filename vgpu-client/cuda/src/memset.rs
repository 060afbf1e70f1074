//! Fills.

use vgpu_client::DevicePtr;

use crate::driver::driver;
use crate::fail::{Call, INVALID_VALUE};
use crate::graph::{FillParams, FillWork, Work, capture};
use crate::stream::{self, DefaultStream};

use DefaultStream::{Legacy, PerThread};

/// An element of a fill.
#[derive(Clone, Copy, Debug)]
enum Element {
    Byte(u8),
    Half(u16),
    Word(u32),
}

impl Element {
    const fn bytes(self) -> u64 {
        match self {
            Self::Byte(_) => 1,
            Self::Half(_) => 2,
            Self::Word(_) => 4,
        }
    }

    /// The number, in its lowest bytes.
    const fn value(self) -> u32 {
        match self {
            Self::Byte(value) => value as u32,
            Self::Half(value) => value as u32,
            Self::Word(value) => value,
        }
    }
}

/// Fills `height` rows of `width` elements, `pitch` bytes apart. Where the rows are packed they are one.
fn fill(
    to: u64,
    pitch: u64,
    element: Element,
    extent: [u64; 2],
    stream: Option<u64>,
    default: DefaultStream,
) -> Call {
    let driver = driver()?;
    let target = stream::resolve(driver, stream.unwrap_or(0), default)?;
    let [width, height] = extent;
    let row = width.checked_mul(element.bytes()).ok_or(INVALID_VALUE)?;
    if row == 0 || height == 0 {
        return Ok(());
    }
    let (rows, count) = if height == 1 || pitch == row {
        (1, width.checked_mul(height).ok_or(INVALID_VALUE)?)
    } else {
        (height, width)
    };
    if rows > 1 && pitch < row {
        return Err(INVALID_VALUE);
    }
    let node = || {
        let params = FillParams {
            destination: to,
            pitch,
            value: element.value(),
            element_bytes: element.bytes() as u32,
            width: count,
            height: rows,
        };
        Ok(Work::Fill(FillWork::new(target.context.handle, params)?))
    };
    if capture::record(driver, &target, node)? {
        return Ok(());
    }
    for y in 0..rows {
        let address = DevicePtr(to.wrapping_add(y.wrapping_mul(pitch)));
        match element {
            Element::Byte(value) => target.stream.memset(address, value, count)?,
            Element::Half(value) => target.stream.memset(address, value, count)?,
            Element::Word(value) => target.stream.memset(address, value, count)?,
        }
    }
    // A fill of device memory is asynchronous in either form; the program can see pinned memory only, and what it has set
    // to be synchronous.
    let is_seen = || {
        let seen = driver.allocations.find(to, |found| found.sync_memops || !found.memory.is_device());
        seen == Some(true)
    };
    if stream.is_none() && is_seen() {
        target.stream.synchronize()?;
    }
    Ok(())
}

macro_rules! memsets {
    ($($element:ident $value:ty: $plain:ident $plain_ptds:ident $queued:ident $queued_ptsz:ident
        $flat:ident $flat_ptds:ident $flat_queued:ident $flat_queued_ptsz:ident;)*) => {
        $(driver_calls! {
            fn $plain(to: u64, value: $value, count: u64) {
                fill(to, 0, Element::$element(value), [count, 1], None, Legacy)
            }
            fn $plain_ptds(to: u64, value: $value, count: u64) {
                fill(to, 0, Element::$element(value), [count, 1], None, PerThread)
            }
            fn $queued(to: u64, value: $value, count: u64, stream: u64) {
                fill(to, 0, Element::$element(value), [count, 1], Some(stream), Legacy)
            }
            fn $queued_ptsz(to: u64, value: $value, count: u64, stream: u64) {
                fill(to, 0, Element::$element(value), [count, 1], Some(stream), PerThread)
            }
            fn $flat(to: u64, pitch: u64, value: $value, width: u64, height: u64) {
                fill(to, pitch, Element::$element(value), [width, height], None, Legacy)
            }
            fn $flat_ptds(to: u64, pitch: u64, value: $value, width: u64, height: u64) {
                fill(to, pitch, Element::$element(value), [width, height], None, PerThread)
            }
            fn $flat_queued(to: u64, pitch: u64, value: $value, width: u64, height: u64, stream: u64) {
                fill(to, pitch, Element::$element(value), [width, height], Some(stream), Legacy)
            }
            fn $flat_queued_ptsz(to: u64, pitch: u64, value: $value, width: u64, height: u64, stream: u64) {
                fill(to, pitch, Element::$element(value), [width, height], Some(stream), PerThread)
            }
        })*
    };
}

memsets! {
    Byte u8: cuMemsetD8_v2 cuMemsetD8_v2_ptds cuMemsetD8Async cuMemsetD8Async_ptsz
        cuMemsetD2D8_v2 cuMemsetD2D8_v2_ptds cuMemsetD2D8Async cuMemsetD2D8Async_ptsz;
    Half u16: cuMemsetD16_v2 cuMemsetD16_v2_ptds cuMemsetD16Async cuMemsetD16Async_ptsz
        cuMemsetD2D16_v2 cuMemsetD2D16_v2_ptds cuMemsetD2D16Async cuMemsetD2D16Async_ptsz;
    Word u32: cuMemsetD32_v2 cuMemsetD32_v2_ptds cuMemsetD32Async cuMemsetD32Async_ptsz
        cuMemsetD2D32_v2 cuMemsetD2D32_v2_ptds cuMemsetD2D32Async cuMemsetD2D32Async_ptsz;
}
