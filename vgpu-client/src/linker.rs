//! Links: code of several inputs made into one image for the device.

use vgpu_proto::control::CompileReport;
use vgpu_proto::jit::{JitOption, LinkInput, encode_input, encode_options};
use vgpu_proto::limits::{
    CONTROL_BYTES_MAX, IMAGE_BYTES_MAX, JIT_OPTIONS_MAX, LINK_INPUTS_MAX, NAME_BYTES_MAX,
};
use vgpu_proto::{Op, body, codec};

use crate::context::Context;
use crate::errors::{Error, HostFault, Misuse, Result};
use crate::heap::PinnedAllocation;
use crate::module::{ANSWER_BYTES, answered};

/// Room for a result at the first try, at least: more than most programs have of code.
const ROOM_BYTES: u64 = 1 << 20;

/// What a link made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Linked {
    /// An image that [`Context::load_module`] takes.
    pub image: Vec<u8>,
    /// What the compiler told.
    pub report: CompileReport,
}

impl Context {
    /// Links code for the device (`cuLinkCreate` to `cuLinkComplete`).
    ///
    /// # Errors
    /// [`Misuse::ImageSize`] for inputs that are too large or none, [`Misuse::LinkInputs`], [`Misuse::Name`];
    /// [`Error::Call`] with the compiler's message; or the session's end.
    pub fn link(&self, inputs: &[LinkInput<'_>], options: &[JitOption]) -> Result<Linked> {
        let inputs = encoded(inputs, options)?;
        self.check()?;
        let mut room_bytes = ROOM_BYTES.max(2 * inputs.len() as u64).min(IMAGE_BYTES_MAX);
        loop {
            match self.try_link(&inputs, options, room_bytes)? {
                (Some(image), report, _) => return Ok(Linked { image, report }),
                (None, _, bytes) if bytes <= room_bytes || bytes > IMAGE_BYTES_MAX => {
                    return Err(HostFault::Description.into());
                }
                (None, _, bytes) => room_bytes = bytes,
            }
        }
    }

    /// The image, if there was room for it, what the compiler told, and the image's size.
    fn try_link(
        &self,
        inputs: &[u8],
        options: &[JitOption],
        room_bytes: u64,
    ) -> Result<(Option<Vec<u8>>, CompileReport, u64)> {
        let session = self.session();
        let place = PinnedAllocation::new(session, room_bytes)?;
        place.region().write(place.offset(), inputs).expect("an allocation lies in its region");
        let answer = session.stage_privileged(0, ANSWER_BYTES)?;
        let body = body::ModuleLink {
            context: self.inner.id.raw().into(),
            offset: place.offset().into(),
            input_bytes: (inputs.len() as u64).into(),
            room_bytes: room_bytes.into(),
            reply_offset: answer.offset.into(),
            reply_bytes: CONTROL_BYTES_MAX.into(),
            region: place.region_id().into(),
        };
        let (status, [length, bytes, ..]) = session.ask(0, &body, &encode_options(options))?;
        let told = answered(&answer, length)?;
        if !status.is_success() {
            return Err(Error::explained(Op::ModuleLink, status, &told));
        }
        let report = codec::decode(&told).map_err(|_| HostFault::Description)?;
        let image = (bytes <= room_bytes).then(|| {
            let mut image = vec![0; bytes as usize];
            place.region().read(place.offset(), &mut image).expect("an allocation lies in its region");
            image
        });
        Ok((image, report, bytes))
    }
}

/// The inputs as they travel, checked against the protocol's bounds.
fn encoded(inputs: &[LinkInput<'_>], options: &[JitOption]) -> Result<Vec<u8>, Misuse> {
    if inputs.len() > LINK_INPUTS_MAX || options.len() > JIT_OPTIONS_MAX {
        return Err(Misuse::LinkInputs { inputs: inputs.len(), options: options.len() });
    }
    let mut bytes = Vec::new();
    for input in inputs {
        if input.name.len() > NAME_BYTES_MAX as usize || input.name.contains(&0) {
            return Err(Misuse::Name { bytes: input.name.len(), max: NAME_BYTES_MAX });
        }
        encode_input(input, &mut bytes);
        if bytes.len() as u64 > IMAGE_BYTES_MAX {
            break;
        }
    }
    let length = bytes.len() as u64;
    if length == 0 || length > IMAGE_BYTES_MAX {
        return Err(Misuse::ImageSize { bytes: length, max: IMAGE_BYTES_MAX });
    }
    Ok(bytes)
}
