//! What a graph needs of the guest while it runs: host functions, and copies of pageable memory.
//!
//! Each is three nodes on two words of pinned memory: write the request, wait for the answer, take the answer back. The
//! thread of host functions (`callback`) looks at the requests of graphs that are under way and answers them. So
//! pageable memory is read, and written, when the graph gets there.

use std::sync::atomic::Ordering;

use vgpu_client::PinnedBuffer;
use vgpu_proto::graph::GraphWork;

use super::object::References;
use crate::boxes::BoxSide;
use crate::context::Context;
use crate::fail::{Call, INVALID_VALUE};
use crate::pointers::{HostMemory, HostPointer};

/// The work of a host node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostWork {
    pub(crate) function: extern "C" fn(data: u64),
    pub(crate) data: u64,
}

/// Offsets of the two words, in bytes.
const REQUEST: u64 = 0;
const ANSWER: u64 = 4;

/// A box of pageable memory, and its packed image in pinned memory.
#[derive(Debug)]
pub(crate) struct Shadow {
    side: BoxSide,
    extent: [u64; 3],
    image: PinnedBuffer<u8>,
}

impl Shadow {
    /// # Errors
    /// `INVALID_VALUE` for a size beyond all memory; out of memory.
    pub(crate) fn new(context: &Context, side: BoxSide, extent: [u64; 3]) -> Call<Self> {
        let bytes = extent.iter().try_fold(1u64, |all, side| all.checked_mul(*side)).ok_or(INVALID_VALUE)?;
        let image = context.inner.pinned::<u8>(usize::try_from(bytes).map_err(|_| INVALID_VALUE)?)?;
        Ok(Self { side, extent, image })
    }

    /// Where the copy on the device finds the image.
    pub(crate) fn packed(&self) -> BoxSide {
        BoxSide {
            base: self.image.address().0,
            pitch: self.extent[0],
            slice: self.extent[0] * self.extent[1],
        }
    }

    /// Calls `row` with each row of the program's memory and its place in the image.
    fn rows(&self, mut row: impl FnMut(HostMemory<'_>, usize) -> Call) -> Call {
        let [width, height, depth] = self.extent;
        let width = usize::try_from(width).map_err(|_| INVALID_VALUE)?;
        let mut at = 0;
        for z in 0..depth {
            for y in 0..height {
                let address = self.side.row(y, z);
                row(HostMemory::new(HostPointer::unified(address), width)?, at)?;
                at += width;
            }
        }
        Ok(())
    }
}

/// What is done when a graph asks for it.
#[derive(Debug)]
pub(crate) enum Service {
    Function(HostWork),
    /// Pageable memory to its image, before the device copies that.
    Gather(Shadow),
    /// The image to pageable memory, after the device has written that.
    Scatter(Shadow),
}

/// A service and the words by which a graph asks for it.
#[derive(Debug)]
pub(crate) struct Served {
    words: PinnedBuffer<u32>,
    service: Service,
}

impl Served {
    /// # Errors
    /// Out of memory.
    pub(crate) fn new(context: &Context, service: Service) -> Call<Self> {
        let words = context.inner.pinned::<u32>(2)?;
        words.write(0, &[0, 0])?;
        Ok(Self { words, service })
    }

    /// The nodes that ask for it and wait.
    pub(crate) fn works(&self) -> [GraphWork; 3] {
        let request = self.words.address().0 + REQUEST;
        let answer = self.words.address().0 + ANSWER;
        [
            GraphWork::WriteValue32 { address: request, value: 1 },
            // 1: the word is equal to the value.
            GraphWork::WaitValue32 { address: answer, value: 1, condition: 1 },
            GraphWork::WriteValue32 { address: answer, value: 0 },
        ]
    }

    /// Whether it is asked for; who asks next finds the word free.
    fn take_request(&self) -> bool {
        self.words
            .atomic_u32(REQUEST)
            .is_ok_and(|word| word.compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_ok())
    }

    fn run(&self) {
        match &self.service {
            Service::Function(HostWork { function, data }) => function(*data),
            Service::Gather(shadow) => {
                let image = &shadow.image;
                let _ = shadow.rows(|memory, at| Ok(image.write(at, memory.read())?));
            }
            Service::Scatter(shadow) => {
                let image = &shadow.image;
                let _ = shadow.rows(|mut memory, at| Ok(image.read(at, memory.write())?));
            }
        }
        // The graph goes on once the device sees this.
        if let Ok(word) = self.words.atomic_u32(ANSWER) {
            word.store(1, Ordering::Release);
        }
    }
}

/// What must live as long as a launch of a graph is under way.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) served: Vec<Served>,
    pub(crate) references: References,
}

impl Held {
    /// Whether nothing of it matters to a launch.
    pub(crate) fn is_empty(&self) -> bool {
        self.served.is_empty() && self.references.is_empty()
    }

    /// A service that is asked for.
    pub(crate) fn requested(&self) -> Option<usize> {
        self.served.iter().position(Served::take_request)
    }

    /// Does what [`Held::requested`] has named.
    pub(crate) fn serve(&self, at: usize) {
        self.served[at].run();
    }
}
