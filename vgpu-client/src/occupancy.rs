//! How much of a kernel fits onto the device: asked of the host once, then answered here.

use std::collections::HashMap;

use vgpu_proto::{EventId, LaunchAttribute, body};
use zerocopy::IntoBytes;

use crate::errors::Result;
use crate::function::Function;
use crate::launch::LaunchConfig;

/// Answers that are kept for a kernel, at most; beyond, they are asked anew. Libraries ask about some tens of shapes.
const ANSWERS_MAX: usize = 1_024;

/// Answers by question: body and attributes, as they travel.
pub(crate) type Answers = HashMap<Vec<u8>, u64>;

/// A question about a kernel (`cuOccupancy*`).
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "made by literal")]
pub enum Occupancy<'a> {
    /// Blocks that a multiprocessor holds at once.
    ActiveBlocks {
        /// Threads of a block.
        threads: u32,
        /// Dynamic shared memory of a block, in bytes.
        dynamic_shared_bytes: u64,
        /// `CU_OCCUPANCY_*`: 0, or 1 for `DISABLE_CACHING_OVERRIDE`.
        flags: u32,
    },
    /// Dynamic shared memory that each block may use, in bytes, where so many are to fit on a multiprocessor.
    DynamicShared {
        /// Blocks of a multiprocessor.
        blocks: u32,
        /// Threads of a block.
        threads: u32,
    },
    /// Clusters of such a launch that the device holds at once. Attributes that name events say nothing here.
    ActiveClusters(LaunchConfig, &'a [LaunchAttribute<EventId>]),
    /// Blocks of the largest cluster that such a launch may have.
    ClusterSize(LaunchConfig, &'a [LaunchAttribute<EventId>]),
}

impl Occupancy<'_> {
    /// The question as it travels.
    fn request(&self, function: u64) -> (body::Occupancy, Vec<u8>) {
        let mut body = body::Occupancy { function: function.into(), ..Default::default() };
        let mut payload = Vec::new();
        match *self {
            Self::ActiveBlocks { threads, dynamic_shared_bytes, flags } => {
                body.kind = body::OCCUPANCY_ACTIVE_BLOCKS.into();
                body.flags = flags.into();
                body.block[0] = threads.into();
                body.shared_bytes = dynamic_shared_bytes.into();
            }
            Self::DynamicShared { blocks, threads } => {
                body.kind = body::OCCUPANCY_DYNAMIC_SHARED.into();
                body.grid[0] = blocks.into();
                body.block[0] = threads.into();
            }
            Self::ActiveClusters(config, attributes) | Self::ClusterSize(config, attributes) => {
                let kind = match self {
                    Self::ActiveClusters(..) => body::OCCUPANCY_ACTIVE_CLUSTERS,
                    _ => body::OCCUPANCY_CLUSTER_SIZE,
                };
                body.kind = kind.into();
                body.flags = if config.cooperative { body::LAUNCH_COOPERATIVE } else { 0 }.into();
                body.grid = config.grid.map(Into::into);
                body.block = config.block.map(Into::into);
                body.shared_bytes = u64::from(config.shared_bytes).into();
                let told = attributes.iter().filter(|attribute| attribute.event().is_none());
                told.for_each(|attribute| attribute.encode(&mut payload));
            }
        }
        (body, payload)
    }
}

impl Function {
    /// How much of the kernel fits. The same question is answered here the next time, until an attribute is set.
    ///
    /// # Errors
    /// `INVALID_VALUE` for a shape that no launch has, `NOT_SUPPORTED` for clusters where there are none; or the session's
    /// end.
    pub fn occupancy(&self, query: &Occupancy<'_>) -> Result<u64> {
        self.context().check()?;
        let (body, payload) = query.request(self.data().id.raw());
        let question = [body.as_bytes(), &payload].concat();
        // Held, so that an answer belongs to the attributes that it was asked with.
        let mut settings = self.data().settings.lock();
        if let Some(answer) = settings.answers.get(&question) {
            return Ok(*answer);
        }
        let [answer, ..] = self.context().session().call(0, &body, &payload)?;
        if settings.answers.len() >= ANSWERS_MAX {
            settings.answers.clear();
        }
        settings.answers.insert(question, answer);
        Ok(answer)
    }
}
