//! Graphs of a session.
//!
//! A description comes in a region. A pool thread copies it into private memory once, decodes and checks it; the dispatcher
//! then finds what it names, and a second job gives it to the device. A graph that lost a module is kept as a name whose
//! launches are refused.

mod budget;
mod launch;
mod resolve;

use std::sync::Arc;

use vgpu_proto::frame::ReplyTo;
use vgpu_proto::graph::{
    GRAPH_AUTO_FREE_ON_LAUNCH, GRAPH_DEVICE_LAUNCH, GRAPH_USE_NODE_PRIORITY, GraphDescription, UpdateResult,
};
use vgpu_proto::limits::GRAPH_BYTES_MAX;
use vgpu_proto::{ContextId, GraphId, ModuleId, Status, Violation, body};

pub(super) use self::budget::GraphBudget;
use self::budget::{Charge, Memory};
pub(super) use self::launch::HeldLaunch;
use self::resolve::{Links, Shape};
use super::dispatcher::Core;
use super::job::{Done, Job, Values, one};
use super::region::Lent;
use super::state::Session;
use crate::device::{Context, DeviceError, GraphKey};

/// Flags that an instantiation may carry.
const FLAGS: u32 = GRAPH_AUTO_FREE_ON_LAUNCH | GRAPH_DEVICE_LAUNCH | GRAPH_USE_NODE_PRIORITY;

/// An instantiated graph.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) context: u32,
    /// The context's name, which each node of an update must carry.
    name: ContextId,
    device: Arc<dyn Context>,
    /// The device's graph. `None` once a module of its kernels was unloaded.
    there: Option<There>,
    links: Links,
    shape: Shape,
    /// Stream slot and number of its latest launch.
    last: Option<(u32, u64)>,
    /// The frame of the update under way. Its slot is not free before the answer, so no other update has it.
    updating: Option<ReplyTo>,
    charge: Charge,
}

/// A graph of a device, and what it takes of its memory. Whoever takes it away has the device destroy it first.
#[derive(Debug)]
pub(super) struct There {
    key: GraphKey,
    memory: Memory,
}

impl There {
    /// Destroys it. May block.
    pub(super) fn destroy(self, device: &dyn Context) {
        device.graph_destroy(self.key);
    }
}

/// Where a description lies.
#[derive(Debug)]
struct Source {
    region: Lent,
    offset: u64,
    bytes: u64,
}

/// A description that was read and keeps the rules.
type Read = (GraphDescription, Charge);

impl Source {
    /// Copies the description into private memory, decodes and checks it.
    fn read(&self, session: &Arc<Session>) -> Result<Read, Status> {
        let _turn = session.graphs.decoding.lock();
        let bytes = usize::try_from(self.bytes).map_err(|_| Status::ERROR_INVALID_VALUE)?;
        let mut copy = vec![0; bytes];
        self.region.read(self.offset, &mut copy).map_err(|_| Status::ERROR_INVALID_VALUE)?;
        let description = GraphDescription::decode(&copy).map_err(|_| Status::ERROR_INVALID_VALUE)?;
        let charge = Charge::take(session, &description, self.bytes)?;
        Ok((description, charge))
    }
}

impl Core {
    /// The part of a region that a frame names; the status where the description cannot have that size.
    fn description_at(
        &self,
        region: u32,
        offset: u64,
        bytes: u64,
    ) -> Result<Result<Source, Status>, Violation> {
        let region = self.session.regions.lock().get(region).cloned().ok_or(Violation::UnknownRegion)?;
        let end = offset.checked_add(bytes).ok_or(Violation::RegionBounds)?;
        if end > region.len() {
            return Err(Violation::RegionBounds);
        }
        Ok(if bytes == 0 || bytes > GRAPH_BYTES_MAX {
            Err(Status::ERROR_INVALID_VALUE)
        } else {
            Ok(Source { region, offset, bytes })
        })
    }

    pub(super) fn graph_instantiate(
        &mut self,
        body: &body::GraphInstantiate,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = GraphId::from_raw(body.graph.get());
        let context = ContextId::from_raw(body.context.get());
        let flags = body.flags.get();
        let source = self.description_at(body.region.get(), body.offset.get(), body.bytes.get())?;
        let refused = match (self.context(body.context.get())?, source) {
            (Err(status), _) | (_, Err(status)) => status,
            _ if flags & !FLAGS != 0 => Status::ERROR_INVALID_VALUE,
            (Ok(entry), Ok(source)) => {
                let device = entry.device.clone();
                self.graphs.claim(id.index(), id.generation())?;
                jobs.push(Job::changing(&self.session, &self.done, move |session| {
                    let read = source.read(session);
                    Box::new(move |core: &mut Self| {
                        core.graph_read(Making { id, context, device, reply }, flags, read);
                    }) as Done
                }));
                return Ok(());
            }
        };
        self.words().answer(reply, refused, Values::default());
        Ok(())
    }

    fn graph_read(&mut self, making: Making, flags: u32, read: Result<Read, Status>) {
        let resolved = read.and_then(|(description, charge)| {
            let shape = Shape::of(&description);
            let (plan, links) = self.resolve(making.context, description)?;
            Ok((plan, links, shape, charge))
        });
        let (plan, links, shape, charge) = match resolved {
            Ok(resolved) => resolved,
            Err(status) => return self.graph_refused(&making, status),
        };
        let job = Job::changing(&self.session, &self.done, move |session| {
            let made = Memory::take(session, &plan).and_then(|memory| {
                let key = making.device.graph_instantiate(plan, flags)?;
                Ok(There { key, memory })
            });
            Box::new(move |core: &mut Self| core.graph_made(making, made, links, shape, charge)) as Done
        });
        self.follow(job);
    }

    fn graph_made(
        &mut self,
        making: Making,
        made: Result<There, DeviceError>,
        links: Links,
        shape: Shape,
        charge: Charge,
    ) {
        let there = match made {
            Ok(there) => there,
            Err(error) => return self.graph_refused(&making, error.status),
        };
        let gone = if !self.is_current(making.context.index(), &making.device) {
            Some(Status::ERROR_INVALID_CONTEXT)
        } else if !self.all_loaded(&links.modules) {
            Some(Status::ERROR_INVALID_HANDLE)
        } else {
            None
        };
        if let Some(status) = gone {
            self.graphs.fill(making.id.index(), None);
            let job = Job::answering(&self.session, making.reply, move |_session| {
                there.destroy(&*making.device);
                Err(status)
            });
            return self.follow(job);
        }
        let Making { id, context: name, device, reply } = making;
        let graph = Graph {
            context: name.index(),
            name,
            device,
            there: Some(there),
            links,
            shape,
            last: None,
            updating: None,
            charge,
        };
        self.graphs.fill(id.index(), Some(graph));
        self.words().answer(reply, Status::SUCCESS, Values::default());
    }

    fn graph_refused(&mut self, making: &Making, status: Status) {
        self.graphs.fill(making.id.index(), None);
        self.words().answer(making.reply, status, Values::default());
    }

    fn all_loaded(&self, modules: &[ModuleId]) -> bool {
        modules.iter().all(|id| matches!(self.modules.get(id.index(), id.generation()), Ok(Ok(_))))
    }

    /// Takes the device's graphs that have kernels of a module away; their names answer `INVALID_HANDLE` from now on.
    pub(super) fn take_graphs_of(&mut self, module: ModuleId) -> Vec<There> {
        let graphs = self.graphs.iter_mut();
        let using = graphs.filter(|graph| graph.links.modules.binary_search(&module).is_ok());
        using.filter_map(|graph| graph.there.take()).collect()
    }

    /// Forgets the graphs of a context that goes; tells what they take of its memory.
    pub(super) fn leave_graphs(&mut self, context: u32) -> u64 {
        let graphs = self.graphs.iter_mut().filter(|graph| graph.context == context);
        let bytes = graphs.filter_map(|graph| Some(graph.there.take()?.memory.leave())).sum();
        self.graphs.remove_all(|graph| graph.context == context);
        bytes
    }

    pub(super) fn graph_update(
        &mut self,
        body: &body::GraphUpdate,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let id = GraphId::from_raw(body.graph.get());
        let source = self.description_at(body.region.get(), body.offset.get(), body.bytes.get())?;
        let refused = match (self.graphs.get_mut(id.index(), id.generation())?, source) {
            (Err(status), _) | (_, Err(status)) => status,
            (Ok(Graph { there: None, .. }), _) => Status::ERROR_INVALID_HANDLE,
            // CUDA leaves it to the program that only one thread at a time changes a graph.
            (Ok(Graph { updating: Some(_), .. }), _) => Status::ERROR_ILLEGAL_STATE,
            (Ok(graph), Ok(source)) => {
                graph.updating = Some(reply);
                let context = graph.context;
                let job = Job::changing(&self.session, &self.done, move |session| {
                    let read = source.read(session);
                    Box::new(move |core: &mut Self| core.update_read(id, read, reply)) as Done
                });
                self.after_context(context, job, jobs);
                return Ok(());
            }
        };
        self.words().answer(reply, refused, one(UpdateResult::ERROR.0.into()));
        Ok(())
    }

    /// The graph of an update under way, if it is still there: the name may stand for another one by now.
    fn updated(&mut self, id: GraphId, reply: ReplyTo) -> Result<&mut Graph, Status> {
        match self.graphs.get_mut(id.index(), id.generation()) {
            Ok(Ok(graph)) if graph.there.is_some() && graph.updating == Some(reply) => Ok(graph),
            _ => Err(Status::ERROR_INVALID_HANDLE),
        }
    }

    fn update_read(&mut self, id: GraphId, read: Result<Read, Status>, reply: ReplyTo) {
        let resolved = read.and_then(|(description, charge)| {
            let shape = Shape::of(&description);
            let graph = self.updated(id, reply)?;
            let key = graph.there.as_ref().map(|there| there.key);
            let (name, device, takes) = (graph.name, graph.device.clone(), graph.shape.takes(&shape));
            if takes != UpdateResult::SUCCESS {
                return Ok(Err(takes));
            }
            let (plan, links) = self.resolve(name, description)?;
            let key = key.ok_or(Status::ERROR_INVALID_HANDLE)?;
            Ok(Ok((plan, links, charge, device, key)))
        });
        let (plan, links, charge, device, key) = match resolved {
            Ok(Ok(resolved)) => resolved,
            Ok(Err(result)) => return self.update_done(id, Ok(result), reply),
            Err(status) => return self.update_done(id, Err(status), reply),
        };
        let job = Job::changing(&self.session, &self.done, move |_session| {
            let result = device.graph_update(key, plan).map_err(|error| error.status);
            Box::new(move |core: &mut Self| core.update_made(id, result, (links, charge), reply)) as Done
        });
        self.follow(job);
    }

    fn update_made(
        &mut self,
        id: GraphId,
        result: Result<UpdateResult, Status>,
        (links, charge): (Links, Charge),
        reply: ReplyTo,
    ) {
        let all_loaded = self.all_loaded(&links.modules);
        let dead = match self.updated(id, reply) {
            Err(status) => return self.update_done(id, result.and(Err(status)), reply),
            Ok(graph) => {
                if result == Ok(UpdateResult::SUCCESS) {
                    (graph.links, graph.charge) = (links, charge);
                } else {
                    // The device keeps what the update names, in case that it did a part.
                    graph.links.join(links.modules);
                }
                if all_loaded { None } else { graph.there.take().map(|there| (graph.device.clone(), there)) }
            }
        };
        if let Some((device, there)) = dead {
            // A module of the new kernels was unloaded meanwhile.
            let job = Job::answering(&self.session, reply, move |_session| {
                there.destroy(&*device);
                Err(Status::ERROR_INVALID_HANDLE)
            });
            return self.follow(job);
        }
        self.update_done(id, result, reply);
    }

    fn update_done(&mut self, id: GraphId, result: Result<UpdateResult, Status>, reply: ReplyTo) {
        if let Ok(Ok(graph)) = self.graphs.get_mut(id.index(), id.generation())
            && graph.updating == Some(reply)
        {
            graph.updating = None;
        }
        let (status, result) = match result {
            Ok(UpdateResult::SUCCESS) => (Status::SUCCESS, UpdateResult::SUCCESS),
            Ok(result) => (Status::ERROR_GRAPH_EXEC_UPDATE_FAILURE, result),
            Err(status) => (status, UpdateResult::ERROR),
        };
        self.words().answer(reply, status, one(result.0.into()));
    }

    pub(super) fn graph_destroy(
        &mut self,
        body: &body::GraphDestroy,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = GraphId::from_raw(body.graph.get());
        match self.graphs.remove(id.index(), id.generation())? {
            Ok(Graph { context, device, there, charge, .. }) => {
                let job = Job::answering(&self.session, reply, move |_session| {
                    there.into_iter().for_each(|there| there.destroy(&*device));
                    drop(charge);
                    Ok(Values::default())
                });
                self.after_context(context, job, jobs);
            }
            Err(status) => self.words().answer(reply, status, Values::default()),
        }
        Ok(())
    }
}

/// A graph under way.
#[derive(Debug)]
struct Making {
    id: GraphId,
    context: ContextId,
    device: Arc<dyn Context>,
    reply: ReplyTo,
}
