//! Every bound of the protocol, in one place, with its reason.
//!
//! A host tells its limits in the handshake ([`crate::handshake::Limits`]); these are the start values and the hard
//! bounds that the layout of the window rests on.

/// Texture processing clusters of a device in its description. The largest have some 80.
pub const DEVICE_CLUSTERS_MAX: usize = 512;

/// Bytes of the command ring. Holds about 6,500 launches of a few parameters; a quarter of it is 1,600 of them, more
/// than a stream may queue. A power of two, so that an index is a mask.
pub const RING_BYTES: u64 = 1 << 20;

/// Alignment and smallest size of a frame, in bytes. The header fills one unit, so a padding frame always fits.
pub const FRAME_ALIGN_BYTES: u32 = 32;

/// Largest frame, in bytes: the CUDA limit of [`PARAMS_BYTES_MAX`] parameters, the most launch attributes, header and
/// body, rounded up.
pub const FRAME_BYTES_MAX: u32 = 36 * 1024;

/// Largest kernel parameter block, in bytes. CUDA 12.1 and later allow 32,764 on Volta and newer.
pub const PARAMS_BYTES_MAX: u32 = 32_764;

/// Attributes of a launch: CUDA has 17 kinds, and a launch names each once.
pub const LAUNCH_ATTRIBUTES_MAX: usize = 32;

/// Bytes of a launch's attributes: as many of the largest, an access policy window.
pub const LAUNCH_ATTRIBUTE_BYTES_MAX: u32 = LAUNCH_ATTRIBUTES_MAX as u32 * 40;

/// Attributes of a device, in the list that a description carries. CUDA 13.0 numbers them 1 to 147.
pub const DEVICE_ATTRIBUTES_MAX: usize = 512;

/// Attributes of a kernel, in the list that a description carries. CUDA 13.0 numbers them 0 to 15.
pub const FUNCTION_ATTRIBUTES_MAX: usize = 64;

/// Largest control message, in bytes. A table of some 600 kernels fits; a decoder never allocates more than this.
pub const CONTROL_BYTES_MAX: u32 = 64 * 1024;

/// Reply slots of a session: so many guest threads can wait at once. Also the bound on pool threads in the worker.
pub const REPLY_SLOTS: u32 = 256;

/// Contexts of a session, the primary one included. Programs use one or two; a table entry is 64 bytes of window.
pub const CONTEXTS_MAX: u32 = 16;

/// Streams of a session, the legacy stream of each context included. PyTorch uses 32 per device and priority.
pub const STREAMS_MAX: u32 = 1_024;

/// Events of a session. Caching allocators keep thousands alive.
pub const EVENTS_MAX: u32 = 65_536;

/// Modules of a session. PyTorch with lazy loading holds some hundreds.
pub const MODULES_MAX: u32 = 4_096;

/// Functions of a session. cuBLAS alone has some thousands.
pub const FUNCTIONS_MAX: u32 = 65_536;

/// Instantiated graphs of a session. Decoders keep one for each batch size, at most some hundreds.
pub const GRAPHS_MAX: u32 = 4_096;

/// Nodes of one graph. A captured training step of a large model has some ten thousand.
pub const GRAPH_NODES_MAX: u32 = 65_536;

/// Edges of one graph: four for each node. Captures make little more than one.
pub const GRAPH_EDGES_MAX: u32 = 262_144;

/// Bytes of one graph's description: a kilobyte for each node. Most kernels have less than 200 bytes of parameters.
pub const GRAPH_BYTES_MAX: u64 = 64 << 20;

/// Event nodes of one graph. Captures have one for each stream that joins from outside; each launch makes so many records.
pub const GRAPH_EVENTS_MAX: u32 = 1_024;

/// Nodes of a session's graphs together: sixteen of the largest. No quota counts what a driver keeps for each in the
/// worker's memory; what it takes of the card is the tenant's.
pub const SESSION_GRAPH_NODES_MAX: u64 = 16 * GRAPH_NODES_MAX as u64;

/// Edges of a session's graphs together.
pub const SESSION_GRAPH_EDGES_MAX: u64 = 16 * GRAPH_EDGES_MAX as u64;

/// Bytes of the descriptions of a session's graphs together.
pub const SESSION_GRAPH_BYTES_MAX: u64 = 4 * GRAPH_BYTES_MAX;

/// Device allocations of a session: each is a mapping, of which Linux gives a process 65,530.
pub const ALLOCATIONS_MAX: u32 = 32_768;

/// Regions of a window, control and staging included. Each is a mapping on both sides, of which Linux gives a process
/// 65,530; a program that pins memory of its own needs one for each piece.
pub const REGIONS_MAX: u32 = 4_096;

/// Lowest address at which a guest may ask for a region. A host that follows a null pointer, plus an offset, must not find
/// a guest's bytes there; programs have their data above.
pub const REGION_ADDRESS_MIN: u64 = 4 << 20;

/// Bytes of the staging region: pageable copies pass through it in chunks. Pages that are never used cost nothing.
pub const STAGING_BYTES: u64 = 16 << 20;

/// Bytes of one chunk of a staged copy, at most. Small enough that the second copy of each byte reads from cache, large
/// enough that a frame per chunk does not matter.
pub const STAGING_CHUNK_BYTES: u64 = 256 << 10;

/// Largest module image, in bytes. The largest cubins in use are some tens of MiB.
pub const IMAGE_BYTES_MAX: u64 = 64 << 20;

/// Smallest image that a host keeps and a guest asks for by its digest, in bytes. Smaller ones travel through staging: a
/// mebibyte takes a tenth of a millisecond once staging was used, and its SHA-256 alone five times as long. Larger ones need
/// pinned memory of their own, whose pages cost both ends four times as much as the SHA-256.
pub const KEPT_IMAGE_BYTES_MIN: u64 = (1 << 20) + 1;

/// Images of one tenant that a host keeps. Each is a descriptor; of the smallest ones so many are 256 MiB.
pub const KEPT_IMAGES_MAX: usize = 256;

/// Options of one compilation. CUDA has some thirty kinds.
pub const JIT_OPTIONS_MAX: usize = 32;

/// Bytes of a compiler's log that travel. Verbose logs have some 200 bytes for each kernel.
pub const JIT_LOG_BYTES_MAX: usize = 32 << 10;

/// Inputs of one link: one for each object file of a program.
pub const LINK_INPUTS_MAX: usize = 4_096;

/// Linkers of a session that have inputs and no result yet. Programs have one; each holds its inputs in the guest.
pub const LINKERS_MAX: usize = 256;

/// Longest kernel or variable name, in bytes. Mangled names of templates in templates pass 4 KiB; a frame holds 32.
pub const NAME_BYTES_MAX: u32 = 16 << 10;

/// Commands that one stream may hold, from the guest's enqueue to the worker's submission to the device. As many as a driver
/// queues before it blocks its caller, so that no program waits sooner than natively.
pub const STREAM_COMMANDS_MAX: u64 = 1_024;

/// Bytes of frames that one stream may hold: a quarter of the ring, so that a stuck stream never fills it.
pub const STREAM_BYTES_MAX: u64 = RING_BYTES / 4;

/// Commands that a worker leaves pending on one stream of the device. Drivers block the caller at about 1,024.
pub const STREAM_PENDING_MAX: u32 = 512;

/// Sessions of one tenant at once, unless its configuration says less.
pub const TENANT_SESSIONS_MAX: u32 = 64;

/// Sessions of one host at once: each is a process with some threads and descriptors.
pub const HOST_SESSIONS_MAX: u32 = 1_024;

/// Step of memory credit that a worker asks from the broker, in bytes.
pub const CREDIT_STEP_BYTES: u64 = 64 << 20;

/// Address plans that a guest offers in its greeting.
pub const PLANS_MAX: usize = 8;

/// CUDA variables that a guest may pass on in its greeting, and the length of each name and value, in bytes.
pub const VARIABLES_MAX: usize = 32;
/// See [`VARIABLES_MAX`].
pub const VARIABLE_BYTES_MAX: usize = 1_024;

/// Longest text in a message, in bytes: a reason, a process name.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Bytes of kernel output (`printf`, `assert`) in one message.
pub const OUTPUT_CHUNK_BYTES_MAX: usize = 32 * 1024;

/// Bytes of kernel output that wait in the worker for a guest that does not read; more is dropped and counted, as
/// CUDA's own 1 MiB buffer does.
pub const OUTPUT_BUFFER_BYTES: usize = 1 << 20;

/// Nanoseconds that a peer may stay silent after it connected before it is closed.
pub const HANDSHAKE_TIMEOUT_NS: u64 = 2_000_000_000;

/// Bytes of the pinned heap's address range. Reserving addresses costs nothing; 64 GiB is more than a guest pins.
pub const HEAP_RANGE_BYTES: u64 = 64 << 30;

/// Bytes of the device arena's address range. The host places allocations in the first [`ARENA_HOST_BYTES`]; in the rest
/// the guest places what it reserves for itself. Programs reserve more than the card has, several times over: PyTorch 9/8
/// of it for each of its expandable segments.
pub const ARENA_RANGE_BYTES: u64 = 3 << 39;

/// Unit of memory that a guest maps itself, in bytes: what every CUDA GPU since Pascal asks for
/// (`cuMemGetAllocationGranularity`).
pub const MEMORY_UNIT_BYTES: u64 = 2 << 20;

/// Address ranges that a guest reserves at once. Programs have one for each growing array or pool; each may cost a mapping.
pub const ADDRESS_RANGES_MAX: u32 = 4_096;

/// Pieces of memory that a guest maps itself, and mappings of them: the largest card in pieces of one unit.
pub const MEMORIES_MAX: u32 = 131_072;

/// Bytes of the arena, from its base, in which the host places memory: that of the largest card several times over.
pub const ARENA_HOST_BYTES: u64 = 1 << 39;
