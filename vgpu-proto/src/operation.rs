//! The one table of operations.
//!
//! [`for_each_operation!`](crate::for_each_operation) hands the table to a macro. This crate makes the operation numbers and the decoder from it; a
//! session and a client match on [`Op`] or on [`crate::Request`] without a wildcard, so a missing arm does not compile.

use core::fmt;

/// Who answers an operation and how long that may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "both ends handle each class")]
pub enum Class {
    /// The guest answers by itself; the operation never travels.
    Local,
    /// Fire and forget: no answer unless the frame asks for one.
    Async,
    /// Answered by the dispatcher at once: it never blocks.
    Quick,
    /// May block or take long: runs on a pool thread, and answers.
    Blocking,
}

/// What an operation waits for before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "both ends handle each order")]
pub enum Order {
    /// Nothing: it runs when it is read.
    Free,
    /// Its stream's predecessors are submitted; it takes credit of that stream.
    Stream,
    /// All earlier commands of its context's streams are submitted.
    Context,
}

/// Hands the table of operations to the macro `$callback`, as rows of
/// `number Name class order lease since: "what it does"`.
///
/// `lease` says whether the operation needs the compute lease (`yes` or `no`); `since` is the first protocol version
/// that has it. Numbers are never used again.
#[macro_export]
macro_rules! for_each_operation {
    ($callback:ident) => {
        $callback! {
            0x01 Ping Quick Free no 1: "answers at once, to measure a round trip",
            0x10 CtxCreate Blocking Free no 1: "creates a context and its legacy stream (cuCtxCreate)",
            0x11 CtxDestroy Blocking Context no 1: "destroys a context and all that belongs to it (cuCtxDestroy)",
            0x12 CtxSynchronize Blocking Context no 1: "waits for all work of a context (cuCtxSynchronize)",
            0x13 CtxGetLimit Blocking Free no 1: "reads a limit of a context (cuCtxGetLimit)",
            0x14 CtxSetLimit Blocking Context no 1: "sets a limit of a context (cuCtxSetLimit)",
            0x15 CtxResetPersistingL2 Blocking Context no 1: "lets the cache forget what it was asked to keep (cuCtxResetPersistingL2Cache)",
            0x20 StreamCreate Blocking Free no 1: "creates a stream (cuStreamCreateWithPriority)",
            0x21 StreamDestroy Async Stream no 1: "destroys a stream once its work is done (cuStreamDestroy)",
            0x22 StreamSynchronize Async Stream no 1: "asks for the stream's completion mark now (cuStreamSynchronize)",
            0x23 StreamQuery Local Free no 1: "whether a stream's work is done, from its counter (cuStreamQuery)",
            0x24 StreamWaitEvent Async Stream no 1: "makes a stream wait for an event (cuStreamWaitEvent)",
            0x25 StreamWaitValue32 Async Stream no 1: "makes a stream wait for a value in memory (cuStreamWaitValue32)",
            0x26 StreamWriteValue32 Async Stream no 1: "writes a value to memory in stream order (cuStreamWriteValue32)",
            0x27 StreamWaitValue64 Async Stream no 1: "makes a stream wait for a 64-bit value in memory (cuStreamWaitValue64)",
            0x28 StreamWriteValue64 Async Stream no 1: "writes a 64-bit value to memory in stream order (cuStreamWriteValue64)",
            0x30 EventCreate Async Free no 1: "creates an event (cuEventCreate)",
            0x31 EventDestroy Async Free no 1: "destroys an event (cuEventDestroy)",
            0x32 EventRecord Async Stream no 1: "records an event (cuEventRecord)",
            0x33 EventSynchronize Blocking Free no 1: "waits for an event's latest record (cuEventSynchronize)",
            0x34 EventQuery Local Free no 1: "whether an event is complete, from its stream's counter (cuEventQuery)",
            0x35 EventElapsedTime Quick Free no 1: "nanoseconds between two complete events (cuEventElapsedTime)",
            0x40 MemGetInfo Quick Free no 1: "the tenant's quota, and what is left of it beside this session's own use (cuMemGetInfo)",
            0x41 MemAlloc Blocking Free no 1: "allocates device memory (cuMemAlloc)",
            0x42 MemFree Blocking Context no 1: "frees device memory once earlier work has passed (cuMemFree)",
            0x43 Memcpy Async Stream yes 1: "copies between device memory and pinned memory (cuMemcpyAsync)",
            0x44 MemcpyFromStaging Async Stream no 1: "copies pageable bytes, staged, to the device (cuMemcpyHtoD)",
            0x45 MemcpyToStaging Async Stream no 1: "copies device memory to staging (cuMemcpyDtoH)",
            0x46 Memset Async Stream yes 1: "fills device or pinned memory (cuMemsetD8, D16, D32)",
            0x47 PointerGetAttribute Local Free no 1: "what a pointer is, from the guest's tables (cuPointerGetAttribute)",
            0x50 ModuleLoad Blocking Free no 1: "loads a module from a region (cuModuleLoadData)",
            0x51 ModuleUnload Blocking Context no 1: "unloads a module (cuModuleUnload)",
            0x52 ModuleGetFunction Blocking Free no 1: "finds a kernel (cuModuleGetFunction)",
            0x53 ModuleGetGlobal Quick Free no 1: "finds a variable (cuModuleGetGlobal)",
            0x54 ModuleEnumerateFunctions Blocking Free no 1: "names of a module's kernels (cuModuleEnumerateFunctions)",
            0x55 ModuleLoadKept Blocking Free no 1: "loads a module whose image the host keeps (cuModuleLoadData)",
            0x58 FuncSetAttribute Quick Free no 1: "sets an attribute of a kernel (cuFuncSetAttribute)",
            0x59 FuncGetAttribute Local Free no 1: "reads an attribute of a kernel, from its description (cuFuncGetAttribute)",
            0x60 LaunchKernel Async Stream yes 1: "launches a kernel (cuLaunchKernel, cuLaunchCooperativeKernel)",
            0x70 GraphInstantiate Blocking Free no 1: "instantiates a graph from a region (cuGraphInstantiate)",
            0x71 GraphLaunch Async Stream yes 1: "launches an instantiated graph (cuGraphLaunch)",
            0x72 GraphUpdate Blocking Context no 1: "gives an instantiated graph the parameters of another (cuGraphExecUpdate)",
            0x73 GraphDestroy Blocking Context no 1: "destroys an instantiated graph (cuGraphExecDestroy)",
            0x74 GraphUpload Async Stream yes 1: "prepares an instantiated graph for its launch (cuGraphUpload)",
            0x90 AddressReserve Blocking Free no 1: "reserves device addresses that the guest chose (cuMemAddressReserve)",
            0x91 AddressFree Blocking Free no 1: "frees such a range (cuMemAddressFree)",
            0x92 MemoryCreate Blocking Free no 1: "takes device memory without an address (cuMemCreate)",
            0x93 MemoryRelease Blocking Free no 1: "gives it back once it is mapped nowhere (cuMemRelease)",
            0x94 MemoryMap Blocking Free no 1: "maps it at reserved addresses (cuMemMap)",
            0x95 MemoryUnmap Blocking Free no 1: "unmaps whole mappings (cuMemUnmap)",
            0x96 MemorySetAccess Blocking Free no 1: "sets what the device may do with whole mappings (cuMemSetAccess)",
            0xb0 ModuleLink Blocking Free no 1: "links code for the device (cuLinkComplete)",
            0xc0 Occupancy Quick Free no 1: "how much of a kernel a multiprocessor or the device holds (cuOccupancy*)",
            0xc1 TensorMapEncode Quick Free no 1: "encodes a tensor map (cuTensorMapEncodeTiled, Im2col, Im2colWide)",
            0xc2 TensorMapReplaceAddress Quick Free no 1: "gives a tensor map another address (cuTensorMapReplaceAddress)",
        }
    };
}

macro_rules! define_operations {
    ($($number:literal $name:ident $class:ident $order:ident $lease:ident $since:literal: $text:literal,)*) => {
        /// An operation. The number is what travels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(clippy::exhaustive_enums, reason = "a missing arm must not compile")]
        #[repr(u16)]
        pub enum Op {
            $(#[doc = $text] $name = $number,)*
        }

        impl Op {
            /// Every operation, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The operation with that number, if there is one.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Name in the table.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it does, and the driver call behind it.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Who answers, and how long that may take.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// What it waits for.
            pub const fn order(self) -> Order {
                match self { $(Self::$name => Order::$order,)* }
            }

            /// Whether it needs the compute lease.
            pub const fn needs_lease(self) -> bool {
                match self { $(Self::$name => define_operations!(@lease $lease),)* }
            }

            /// First protocol version that has it.
            pub const fn since(self) -> u16 {
                match self { $(Self::$name => $since,)* }
            }
        }
    };
    (@lease yes) => { true };
    (@lease no) => { false };
}

for_each_operation!(define_operations);

impl Op {
    /// The number that travels.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether a frame of this operation must name a reply slot.
    pub const fn needs_reply(self) -> bool {
        matches!(self.class(), Class::Quick | Class::Blocking)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A body type: ties the bytes to their operation.
pub trait Operation {
    /// The operation whose body this is.
    const OP: Op;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_come_back() {
        for (at, op) in Op::ALL.iter().enumerate() {
            assert_eq!(Op::from_number(op.number()), Some(*op));
            assert!(
                Op::ALL[..at].iter().all(|earlier| earlier.number() < op.number()),
                "{op} is out of order"
            );
        }
        assert_eq!(Op::from_number(0), None, "0 is the padding frame");
    }

    #[test]
    fn what_blocks_or_answers_needs_a_reply_and_only_async_goes_through_streams() {
        for op in Op::ALL {
            assert_eq!(op.needs_reply(), matches!(op.class(), Class::Quick | Class::Blocking));
            assert_eq!(op.order() == Order::Stream, op.class() == Class::Async && op.order() != Order::Free);
        }
    }
}
