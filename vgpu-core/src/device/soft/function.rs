//! A kernel of a loaded module, and what a launch of it must satisfy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vgpu_proto::Status;
use vgpu_proto::body::FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
use vgpu_proto::control::{FunctionDescription, ParamDescription};
use vgpu_proto::handshake::DeviceDescription;

use super::exec::{COOPERATIVE_BLOCKS_MAX, Kernel};
use crate::device::{DeviceError, LaunchConfig};

/// Attribute that asks for a split of cache and shared memory (`CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT`).
/// A hint, which a card without such a cache may pass over.
const ATTRIBUTE_CARVEOUT: u32 = 9;

#[derive(Debug)]
pub(super) struct Function {
    kernel: Arc<Kernel>,
    description: FunctionDescription,
    /// Dynamic shared memory that a launch may ask for, in bytes.
    dynamic_shared_bytes_max: AtomicU32,
}

impl Function {
    pub(super) fn new(kernel: Arc<Kernel>, device: &DeviceDescription) -> Self {
        let params = kernel
            .params()
            .iter()
            .map(|param| ParamDescription { offset_bytes: param.offset_bytes, size_bytes: param.size_bytes });
        let attributes = kernel.attributes();
        let dynamic_max = device.shared_bytes_per_block_max.saturating_sub(attributes.shared_bytes);
        let mut description = FunctionDescription {
            name: kernel.name().to_owned(),
            params: params.collect(),
            threads_per_block_max: attributes.threads_per_block_max.min(device.threads_per_block_max),
            shared_bytes: attributes.shared_bytes,
            constant_bytes: u32::try_from(attributes.const_bytes).unwrap_or(u32::MAX),
            local_bytes: attributes.local_bytes,
            registers: attributes.registers,
            dynamic_shared_bytes_max: dynamic_max,
            attributes: Vec::new(),
        };
        description.attributes = attribute_values(&description, device);
        Self { kernel, description, dynamic_shared_bytes_max: AtomicU32::new(dynamic_max) }
    }

    pub(super) fn kernel(&self) -> Arc<Kernel> {
        Arc::clone(&self.kernel)
    }

    pub(super) fn name(&self) -> &str {
        &self.description.name
    }

    pub(super) fn describe(&self) -> FunctionDescription {
        FunctionDescription {
            dynamic_shared_bytes_max: self.dynamic_shared_bytes_max.load(Ordering::Relaxed),
            ..self.description.clone()
        }
    }

    /// Sets a `CU_FUNC_ATTRIBUTE_*`.
    ///
    /// # Errors
    /// `INVALID_VALUE` outside its range, `NOT_SUPPORTED` for attributes that cannot be set.
    pub(super) fn set_attribute(
        &self,
        attribute: u32,
        value: i32,
        device: &DeviceDescription,
    ) -> Result<(), DeviceError> {
        match attribute {
            FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let most =
                    device.shared_bytes_per_block_optin_max.saturating_sub(self.description.shared_bytes);
                match u32::try_from(value) {
                    Ok(bytes) if bytes <= most => {
                        self.dynamic_shared_bytes_max.store(bytes, Ordering::Relaxed);
                        Ok(())
                    }
                    _ => Err(invalid(format!("{value} bytes of dynamic shared memory: {most} are the most"))),
                }
            }
            ATTRIBUTE_CARVEOUT if (-1..=100).contains(&value) => Ok(()),
            ATTRIBUTE_CARVEOUT => {
                Err(invalid(format!("a carveout of {value}: give 0 to 100 per cent, or -1")))
            }
            _ => Err(DeviceError::new(
                Status::ERROR_NOT_SUPPORTED,
                format!("function attribute {attribute} cannot be set on the software GPU"),
            )),
        }
    }

    /// Checks a launch against the kernel and the card.
    ///
    /// # Errors
    /// `INVALID_VALUE`, `LAUNCH_OUT_OF_RESOURCES` or `COOPERATIVE_LAUNCH_TOO_LARGE`, as the driver answers.
    pub(super) fn check_launch(
        &self,
        launch: &LaunchConfig,
        device: &DeviceDescription,
    ) -> Result<(), DeviceError> {
        let name = self.name();
        for axis in 0..3 {
            check_range(name, "grid", launch.grid[axis], device.grid_dim_max[axis])?;
            check_range(name, "block", launch.block[axis], device.block_dim_max[axis])?;
        }
        let threads: u64 = launch.block.iter().map(|count| u64::from(*count)).product();
        if threads > u64::from(device.threads_per_block_max) {
            let most = device.threads_per_block_max;
            return Err(invalid(format!(
                "launch of {name}: {threads} threads in a block, {most} are the most"
            )));
        }
        if threads > u64::from(self.description.threads_per_block_max) {
            let most = self.description.threads_per_block_max;
            let text = format!("launch of {name}: {threads} threads in a block, its code allows {most}");
            return Err(DeviceError::new(Status::ERROR_LAUNCH_OUT_OF_RESOURCES, text));
        }
        if let Some(required) = self.kernel.attributes().block_required
            && required != launch.block
        {
            let given = launch.block;
            return Err(invalid(format!(
                "launch of {name}: a block of {given:?}, its code asks for {required:?}"
            )));
        }
        let dynamic_max = self.dynamic_shared_bytes_max.load(Ordering::Relaxed);
        if launch.shared_bytes > dynamic_max {
            let asked = launch.shared_bytes;
            return Err(invalid(format!(
                "launch of {name}: {asked} bytes of dynamic shared memory, {dynamic_max} are set as the most \
                 (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)"
            )));
        }
        let params_bytes = self.description.params_bytes() as usize;
        if launch.params.len() != params_bytes {
            let given = launch.params.len();
            return Err(invalid(format!(
                "launch of {name}: {given} bytes of parameters, it takes {params_bytes}"
            )));
        }
        if launch.cooperative { self.check_cooperative(launch, threads, device) } else { Ok(()) }
    }

    /// All blocks of a cooperative launch must be resident at once.
    fn check_cooperative(
        &self,
        launch: &LaunchConfig,
        threads: u64,
        device: &DeviceDescription,
    ) -> Result<(), DeviceError> {
        let shared = u64::from(self.description.shared_bytes) + u64::from(launch.shared_bytes);
        let by_threads = u64::from(device.threads_per_multiprocessor_max) / threads.max(1);
        let by_shared = u64::from(device.shared_bytes_per_multiprocessor) / shared.max(1);
        let per_multiprocessor =
            by_threads.min(by_shared).min(u64::from(device.blocks_per_multiprocessor_max));
        let most = (per_multiprocessor * u64::from(device.multiprocessor_count)).min(COOPERATIVE_BLOCKS_MAX);
        let blocks: u128 = launch.grid.iter().map(|count| u128::from(*count)).product();
        if blocks <= u128::from(most) {
            return Ok(());
        }
        let name = self.name();
        let text = format!("cooperative launch of {name}: {blocks} blocks, {most} can be resident");
        Err(DeviceError::new(Status::ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, text))
    }
}

/// All attributes by their numbers (`CU_FUNC_ATTRIBUTE_*`). The card has no clusters, so theirs are 0.
fn attribute_values(function: &FunctionDescription, device: &DeviceDescription) -> Vec<i32> {
    let version = device.compute_major * 10 + device.compute_minor;
    let figures = [
        function.threads_per_block_max,
        function.shared_bytes,
        function.constant_bytes,
        function.local_bytes,
        function.registers,
        version,
        version,
        0,
        function.dynamic_shared_bytes_max,
    ];
    let mut values: Vec<i32> =
        figures.into_iter().map(|figure| i32::try_from(figure).unwrap_or(i32::MAX)).collect();
    // The carveout is the device's choice.
    values.push(-1);
    values.extend([0; 6]);
    values
}

fn check_range(name: &str, what: &str, given: u32, most: u32) -> Result<(), DeviceError> {
    if (1..=most).contains(&given) {
        return Ok(());
    }
    Err(invalid(format!("launch of {name}: a {what} dimension is {given}, give 1 to {most}")))
}

fn invalid(text: impl Into<String>) -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}
