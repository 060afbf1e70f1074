//! Work as it goes to the driver: addresses checked, names looked up.

use std::sync::Arc;

use vgpu_proto::{LaunchAttribute, Status};

use super::context::Shared;
use super::device::Recorded;
use super::function::Kernel;
use super::graph::CheckedGraph;
use crate::device::{DeviceError, LaunchConfig, Place, WaitCondition, Work};

/// Checked work. Every address lies in memory of the session.
#[derive(Debug)]
pub(super) enum Checked {
    Nothing,
    Launch(CheckedLaunch),
    Copy { destination: u64, source: u64, bytes: usize },
    Fill { destination: u64, value: u32, element_bytes: u32, count: usize },
    Record(Arc<Recorded>),
    Wait(Arc<Recorded>),
    WaitValue { address: u64, value: u32, condition: WaitCondition },
    WriteValue { address: u64, value: u32 },
    Graph(CheckedGraph),
    WaitValue64 { address: u64, value: u64, condition: WaitCondition },
    WriteValue64 { address: u64, value: u64 },
}

/// A checked launch: its parameters fit, its policy window lies in memory of the session.
#[derive(Debug)]
pub(super) struct CheckedLaunch {
    pub(super) kernel: Arc<Kernel>,
    pub(super) config: LaunchConfig,
    /// The events that its attributes name, in their order.
    pub(super) events: Vec<Arc<Recorded>>,
}

fn invalid(text: String) -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}

impl Checked {
    /// Whether it may overlap the work in front of it.
    pub(super) fn is_programmatic(&self) -> bool {
        matches!(self, Self::Launch(launch) if launch.config.is_programmatic())
    }
}

impl Shared {
    /// Checks work that is no mark.
    pub(super) fn check_work(&self, work: Work) -> Result<Checked, DeviceError> {
        match work {
            Work::Launch(config) => self.check_launch(config),
            Work::Copy { destination, source, bytes } => {
                if bytes == 0 {
                    return Ok(Checked::Nothing);
                }
                let destination = self.place(&destination, bytes)?;
                let source = self.place(&source, bytes)?;
                Ok(Checked::Copy { destination, source, bytes: size(bytes)? })
            }
            Work::Memset { destination, value, element_bytes, count } => {
                self.check_fill(destination, value, element_bytes, count)
            }
            Work::Record(event) => Ok(Checked::Record(self.card().event(event)?)),
            Work::Wait(event) => Ok(Checked::Wait(self.card().event(event)?)),
            Work::WaitValue { address, value, condition } => {
                self.check_word(address, 4)?;
                Ok(Checked::WaitValue { address, value, condition })
            }
            Work::WriteValue { address, value } => {
                self.check_word(address, 4)?;
                Ok(Checked::WriteValue { address, value })
            }
            Work::Graph(launch) => Ok(Checked::Graph(self.check_graph(&launch)?)),
            // There is nothing left to do that would not wait for earlier launches (`graph`).
            Work::GraphUpload(graph) => self.graph(graph).map(|_| Checked::Nothing),
            Work::WaitValue64 { address, value, condition } => {
                self.check_word(address, 8)?;
                Ok(Checked::WaitValue64 { address, value, condition })
            }
            Work::WriteValue64 { address, value } => {
                self.check_word(address, 8)?;
                Ok(Checked::WriteValue64 { address, value })
            }
            // The context takes marks out before it checks the rest.
            Work::Mark(..) => Ok(Checked::Nothing),
        }
    }

    fn check_launch(&self, config: LaunchConfig) -> Result<Checked, DeviceError> {
        let kernel = self.launched_kernel(&config)?;
        let events = config.events().map(|event| self.card().event(event)).collect::<Result<_, _>>()?;
        Ok(Checked::Launch(CheckedLaunch { kernel, config, events }))
    }

    /// The kernel of a launch, once its parameters fit and its policy window lies in memory of the session.
    pub(super) fn launched_kernel(&self, config: &LaunchConfig) -> Result<Arc<Kernel>, DeviceError> {
        let kernel = self.kernel(config.function)?;
        if config.params.len() != kernel.params_bytes {
            let (given, takes) = (config.params.len(), kernel.params_bytes);
            return Err(invalid(format!(
                "launch of {}: {given} bytes of parameters, it takes {takes}",
                kernel.name
            )));
        }
        for attribute in &config.attributes {
            if let LaunchAttribute::AccessPolicyWindow(window) = attribute
                && window.bytes > 0
            {
                self.card().space().check(window.base, window.bytes)?;
            }
        }
        Ok(kernel)
    }

    fn check_fill(
        &self,
        destination: u64,
        value: u32,
        element_bytes: u32,
        count: u64,
    ) -> Result<Checked, DeviceError> {
        if !matches!(element_bytes, 1 | 2 | 4) {
            return Err(invalid(format!("memset elements have 1, 2 or 4 bytes, not {element_bytes}")));
        }
        if count == 0 {
            return Ok(Checked::Nothing);
        }
        let element = u64::from(element_bytes);
        if !destination.is_multiple_of(element) {
            return Err(invalid(format!("memset address {destination:#x} is not aligned to {element}")));
        }
        let bytes = count.checked_mul(element);
        let bytes = bytes.ok_or_else(|| invalid("memset is longer than any memory".to_owned()))?;
        self.card().space().check(destination, bytes)?;
        Ok(Checked::Fill { destination, value, element_bytes, count: size(count)? })
    }

    fn check_word(&self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        if !address.is_multiple_of(bytes) {
            return Err(invalid(format!("word address {address:#x} is not aligned to {bytes}")));
        }
        self.card().space().check(address, bytes)
    }

    /// The address of a place that has `bytes` bytes.
    fn place(&self, place: &Place, bytes: u64) -> Result<u64, DeviceError> {
        match place {
            Place::Address(address) => {
                self.card().space().check(*address, bytes)?;
                Ok(*address)
            }
            Place::Region(region, offset) => {
                if offset.checked_add(bytes).is_none_or(|end| end > region.len()) {
                    let len = region.len();
                    return Err(invalid(format!("{bytes} bytes at offset {offset} of a region of {len}")));
                }
                Ok(self.card().pinned().find(region)? + offset)
            }
        }
    }
}

fn size(bytes: u64) -> Result<usize, DeviceError> {
    usize::try_from(bytes).map_err(|_| invalid(format!("{bytes} is more than any memory")))
}
