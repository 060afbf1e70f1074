//! Links: code of several inputs made into one image. Nothing of it stays in the session.

use std::sync::Arc;

use vgpu_proto::frame::ReplyTo;
use vgpu_proto::jit::{JitOption, decode_inputs, decode_options};
use vgpu_proto::limits::IMAGE_BYTES_MAX;
use vgpu_proto::{Status, Violation, body, codec};

use super::dispatcher::Core;
use super::image::ImagePlace;
use super::job::{Job, Values, two};
use super::module::Room;
use super::state::Session;
use crate::device::{Context, DeviceError, LinkedImage};

impl Core {
    pub(super) fn module_link(
        &self,
        body: &body::ModuleLink,
        options: &[u8],
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let room = self.room(body.reply_offset.get(), body.reply_bytes.get())?;
        let bytes = body.input_bytes.get();
        let inputs = self.place(body.region.get(), body.offset.get(), bytes)?;
        let result = self.place(body.region.get(), body.offset.get(), body.room_bytes.get())?;
        let options = decode_options(options)?;
        let refused = match self.context(body.context.get())? {
            Err(status) => status,
            Ok(_) if bytes == 0 || bytes > IMAGE_BYTES_MAX => Status::ERROR_INVALID_VALUE,
            Ok(entry) => {
                let device = entry.device.clone();
                jobs.push(Job::reporting(&self.session, reply, move |session| {
                    let linked = link(session, device.as_ref(), &inputs, &options);
                    answer(session, linked, &result, room)
                }));
                return Ok(());
            }
        };
        self.words().answer(reply, refused, Values::default());
        Ok(())
    }
}

/// Links a private copy of the inputs.
fn link(
    session: &Arc<Session>,
    device: &dyn Context,
    inputs: &ImagePlace,
    options: &[JitOption],
) -> Result<LinkedImage, DeviceError> {
    // A compilation takes as much memory as a load.
    let _turn = session.loading.lock();
    let copy = inputs.copy();
    let inputs = decode_inputs(&copy).map_err(|violation| {
        DeviceError::new(
            Status::ERROR_INVALID_VALUE,
            format!("the inputs of the link are malformed: {violation}"),
        )
    })?;
    device.module_link(&inputs, options)
}

/// Writes the result, and what the compiler told, to the guest.
fn answer(
    session: &Arc<Session>,
    linked: Result<LinkedImage, DeviceError>,
    result: &ImagePlace,
    room: Room,
) -> (Status, Values) {
    let (status, text, image) = match linked {
        Ok(linked) => (Status::SUCCESS, codec::encode(&linked.report).unwrap_or_default(), linked.image),
        Err(error) => (error.status, error.text.into_bytes(), Vec::new()),
    };
    let text = &text[..text.len().min(room.bytes as usize)];
    session.staging.write(room.offset, text).expect("the room was checked against staging");
    if image.len() as u64 <= result.bytes {
        result.region.write(result.offset, &image).expect("the room was checked against the region");
    }
    (status, two(text.len() as u64, image.len() as u64))
}
