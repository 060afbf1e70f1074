//! The driver: what all calls of a process share.

use std::sync::OnceLock;

use parking_lot::Mutex;
use vgpu_client::{Client, DeviceDescription, Status};

use crate::context::Context;
use crate::event::EventEntry;
use crate::fail::{Call, Fail};
use crate::function::FunctionEntry;
use crate::graph::object::UserObject;
use crate::graph::{self, Exec, Graph, capture};
use crate::kernel::Kernel;
use crate::library::Library;
use crate::link::Linker;
use crate::memory::Allocations;
use crate::module::ModuleEntry;
use crate::output::CStream;
use crate::pools::Pools;
use crate::primary::Primary;
use crate::stream::StreamEntry;
use crate::stream_attribute::StreamAttributes;
use crate::table::{Kind, Table};

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// The session of this process and its objects.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) client: Client,
    pub(crate) primary: Mutex<Primary>,
    pub(crate) contexts: Table<Context>,
    pub(crate) streams: Table<StreamEntry>,
    pub(crate) events: Table<EventEntry>,
    pub(crate) modules: Table<ModuleEntry>,
    pub(crate) functions: Table<FunctionEntry>,
    pub(crate) libraries: Table<Library>,
    pub(crate) kernels: Table<Kernel>,
    pub(crate) linkers: Table<Linker>,
    pub(crate) allocations: Allocations,
    pub(crate) pools: Pools,
    pub(crate) graphs: Table<Graph>,
    /// The graph of each node.
    pub(crate) nodes: Table<Graph>,
    pub(crate) execs: Table<Exec>,
    pub(crate) objects: Table<UserObject>,
    pub(crate) stream_attributes: StreamAttributes,
}

/// The driver, once `cuInit` has succeeded.
///
/// A child of `fork` has none, as natively: its parent's session is not its own.
pub(crate) fn driver() -> Call<&'static Driver> {
    match DRIVER.get() {
        Some(driver) if !vgpu_client::is_forked() => Ok(driver),
        _ => Err(Fail(Status::ERROR_NOT_INITIALIZED)),
    }
}

/// Opens the session, once per process. A failed try may be repeated.
pub(crate) fn start() -> Call {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock();
    if DRIVER.get().is_some() {
        return driver().map(drop);
    }
    let client = Client::builder().output(CStream::Stdout).error_output(CStream::Stderr).connect()?;
    let driver = Driver {
        client,
        primary: Mutex::default(),
        contexts: Table::new(Kind::Context),
        streams: Table::new(Kind::Stream),
        events: Table::new(Kind::Event),
        modules: Table::new(Kind::Module),
        functions: Table::new(Kind::Function),
        libraries: Table::new(Kind::Library),
        kernels: Table::new(Kind::Kernel),
        linkers: Table::new(Kind::Linker),
        allocations: Allocations::default(),
        pools: Pools::new(),
        graphs: Table::new(Kind::Graph),
        nodes: Table::new(Kind::GraphNode),
        execs: Table::new(Kind::GraphExec),
        objects: Table::new(Kind::UserObject),
        stream_attributes: StreamAttributes::default(),
    };
    let _ = DRIVER.set(driver);
    crate::calls::watch_exit();
    Ok(())
}

impl Driver {
    /// The GPU. There is one, with the number 0.
    pub(crate) fn device(&self) -> &DeviceDescription {
        self.client.device()
    }

    /// Drops all that belongs to a context which is about to go.
    pub(crate) fn forget(&self, context: u64) {
        capture::forget_context(self, context);
        drop(self.execs.take(|exec| exec.context == context));
        graph::memory::forget(self, context);
        drop(self.functions.take(|function| function.context == context));
        drop(self.modules.take(|module| module.context.id == context));
        drop(self.linkers.take(|linker| linker.context.id == context));
        for kernel in self.kernels.all() {
            kernel.forget(context);
        }
        for library in self.libraries.all() {
            library.forget(context);
        }
        drop(self.events.take(|event| event.context == context));
        drop(self.streams.take(|stream| stream.context.id == context));
        drop(self.allocations.take(context));
        self.pools.forget(context);
        self.stream_attributes.forget(context);
    }
}

/// Fails for a device number other than 0.
pub(crate) fn check_device(device: i32) -> Call<&'static Driver> {
    let driver = driver()?;
    if device == 0 { Ok(driver) } else { Err(Fail(Status::ERROR_INVALID_DEVICE)) }
}
