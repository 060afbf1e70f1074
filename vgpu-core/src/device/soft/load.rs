//! From a module image to kernels: parse, place the variables, count the memory.

use std::sync::Arc;

use vgpu_proto::Status;
use vgpu_proto::control::CompileReport;
use vgpu_proto::jit::{LinkInput, LinkKind};

use super::arena::{ALIGN_BYTES, Owner};
use super::card::Card;
use super::exec::{Kernel, LoadError, Program};
use super::function::Function;
use super::image;
use super::ptx::{self, PtxError};
use crate::device::{DeviceError, LinkedImage};

/// A module that has no names yet.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) program: Program,
    pub(super) functions: Vec<Arc<Function>>,
    /// Device memory of its variables.
    pub(super) allocation: Option<u64>,
    pub(super) code_bytes: u64,
    /// Code and variables together.
    pub(super) memory_bytes: u64,
}

/// Loads a module.
///
/// # Errors
/// As [`crate::device::Context::module_load`]. Nothing stays allocated then.
pub(super) fn load(card: &Card, owner: Owner, image: &[u8]) -> Result<Loaded, DeviceError> {
    let text = image::ptx_text(image)?;
    let module = ptx::parse(text).map_err(|error| ptx_error(&error))?;
    image::check_target(module.version, &module.target, card.config().compute_capability)?;

    // Code counts as long as its text, or as what it takes once it is decoded, which may be many times that: so what a
    // guest can make the host keep is bounded by its quota.
    let mut code_bytes = (text.len() as u64).next_multiple_of(ALIGN_BYTES);
    card.charge(code_bytes)?;
    let mut allocation = None;
    let mut refusal = None;
    let mut alloc = |bytes: u64, align: u64| match card.alloc(owner, bytes, align) {
        Ok(address) => {
            allocation = Some((address, bytes.next_multiple_of(ALIGN_BYTES)));
            Ok(address)
        }
        Err(error) => {
            refusal = Some(error);
            Err(LoadError::OutOfMemory { bytes })
        }
    };
    let loaded = Program::load(&module, &mut alloc, card.memory()).map_err(|error| load_error(&error));
    let loaded = loaded.map_err(|error| refusal.unwrap_or(error)).and_then(|program| {
        let more = program.code_bytes().next_multiple_of(ALIGN_BYTES).saturating_sub(code_bytes);
        card.charge(more)?;
        code_bytes += more;
        Ok(program)
    });
    match loaded {
        Ok(program) => {
            let function =
                |kernel: &Arc<Kernel>| Arc::new(Function::new(Arc::clone(kernel), card.description()));
            Ok(Loaded {
                functions: program.kernels().map(function).collect(),
                program,
                allocation: allocation.map(|(address, _)| address),
                code_bytes,
                memory_bytes: code_bytes + allocation.map_or(0, |(_, bytes)| bytes),
            })
        }
        Err(error) => {
            if let Some((address, _)) = allocation {
                card.free(owner, address);
            }
            card.discharge(code_bytes);
            Err(error)
        }
    }
}

/// Links inputs. A single PTX text is its own result, checked as a load would check it.
///
/// # Errors
/// `INVALID_PTX`; `NOT_SUPPORTED` for anything else, because nothing here links.
pub(super) fn link(inputs: &[LinkInput<'_>]) -> Result<LinkedImage, DeviceError> {
    let [LinkInput { kind: LinkKind::Ptx, data, .. }] = inputs else {
        return Err(DeviceError::new(
            Status::ERROR_NOT_SUPPORTED,
            "the software GPU links one PTX input: link the program when it is built, or run it on a card",
        ));
    };
    let text = image::ptx_text(data)?;
    ptx::parse(text).map_err(|error| ptx_error(&error))?;
    let mut image = text.as_bytes().to_vec();
    image.push(0);
    Ok(LinkedImage { image, report: CompileReport::default() })
}

fn load_error(error: &LoadError) -> DeviceError {
    match error {
        LoadError::Ptx(error) => ptx_error(error),
        LoadError::OutOfMemory { .. } => DeviceError::new(Status::ERROR_OUT_OF_MEMORY, error.to_string()),
        _ => DeviceError::new(
            Status::ERROR_UNKNOWN,
            format!("the software GPU could not place the module: {error}"),
        ),
    }
}

/// A PTX error with its CUDA error. What the interpreter lacks is one too: the driver's compiler answers the same for
/// an instruction that it does not know.
fn ptx_error(error: &PtxError) -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_PTX, error.to_string())
}
