//! The linker: inputs are collected here and linked by the host when the result is asked for.

use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_client::{Error, LinkInput, LinkKind, Status};
use vgpu_proto::limits::{IMAGE_BYTES_MAX, LINK_INPUTS_MAX, LINKERS_MAX, NAME_BYTES_MAX};

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, Fail, INVALID_HANDLE, INVALID_VALUE};
use crate::fatbin::Kind;
use crate::image::{Image, Origin};
use crate::jit::Jit;
use crate::module;
use crate::pointers::{HostPointer, In, Out, Text};

const TOO_LARGE: Fail = Fail(Status::ERROR_OUT_OF_MEMORY);

/// A linker.
#[derive(Debug)]
pub(crate) struct Linker {
    pub(crate) context: Arc<Context>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jit: Jit,
    inputs: Vec<Input>,
    input_bytes: u64,
    /// What came of it. The program reads it until it destroys the linker.
    image: Option<Box<[u8]>>,
}

#[derive(Debug)]
struct Input {
    kind: LinkKind,
    name: Vec<u8>,
    data: Vec<u8>,
}

impl Input {
    fn as_link_input(&self) -> LinkInput<'_> {
        LinkInput { kind: self.kind, name: &self.name, data: &self.data }
    }
}

fn find(handle: u64) -> Call<Arc<Linker>> {
    driver()?.linkers.get(handle).ok_or(INVALID_HANDLE)
}

fn create(count: u32, options: In<u32>, values: HostPointer, out: Out<u64>) -> Call {
    let driver = driver()?;
    let context = current::context()?;
    out.required()?;
    let jit = Jit::read(count, options, values)?;
    if driver.linkers.all().len() >= LINKERS_MAX {
        return Err(TOO_LARGE);
    }
    let handle = driver.linkers.mint();
    let state = Mutex::new(State { jit, ..State::default() });
    driver.linkers.insert(handle, Arc::new(Linker { context, state }));
    out.set(handle);
    Ok(())
}

/// What comes with the data of an input.
struct Label {
    kind: u32,
    name: Vec<u8>,
    jit: Jit,
}

fn add(handle: u64, label: Label, data: impl FnOnce() -> Call<Vec<u8>>) -> Call {
    let linker = find(handle)?;
    let Label { kind, mut name, jit } = label;
    let kind = LinkKind::from_number(kind).ok_or(INVALID_VALUE)?;
    // It is for the log only.
    name.truncate(NAME_BYTES_MAX as usize);
    let data = data()?;
    let mut state = linker.state.lock();
    let bytes = state.input_bytes + (data.len() + name.len()) as u64;
    if bytes > IMAGE_BYTES_MAX || state.inputs.len() >= LINK_INPUTS_MAX {
        return Err(TOO_LARGE);
    }
    if data.is_empty() {
        return Err(INVALID_VALUE);
    }
    state.jit.add(&jit)?;
    state.input_bytes = bytes;
    state.inputs.push(Input { kind, name, data });
    Ok(())
}

fn complete(handle: u64, image: Out<u64>, bytes: Out<u64>) -> Call {
    let linker = find(handle)?;
    image.required()?;
    let mut state = linker.state.lock();
    let State { jit, inputs, image: made, .. } = &mut *state;
    if made.is_none() {
        let inputs: Vec<_> = inputs.iter().map(Input::as_link_input).collect();
        match linker.context.inner.link(&inputs, &jit.options) {
            Ok(linked) => {
                jit.answer(&linked.report, "");
                *made = Some(linked.image.into());
            }
            Err(error) => {
                let text = if let Error::Call { text: Some(text), .. } = &error { text.as_str() } else { "" };
                jit.answer(&vgpu_client::CompileReport::default(), text);
                return Err(error.into());
            }
        }
    }
    let made = made.as_deref().unwrap_or_default();
    image.set(made.as_ptr() as u64);
    bytes.set(made.len() as u64);
    Ok(())
}

/// Links images for the current context's device.
///
/// # Errors
/// What the linker answers.
pub(crate) fn link_images(driver: &Driver, parts: &[Image]) -> Call<Image> {
    let context = current::context()?;
    let mut unpacked = Vec::new();
    for form in parts.iter().filter_map(|part| part.forms().first()) {
        let kind = if form.kind == Kind::Machine { LinkKind::Cubin } else { LinkKind::Ptx };
        unpacked.push((kind, form.unpack()?));
    }
    let inputs: Vec<_> = unpacked
        .iter()
        .map(|(kind, data)| LinkInput { kind: *kind, name: b"part of the program", data })
        .collect();
    Image::read(driver, Origin::Bytes(&context.inner.link(&inputs, &[])?.image))
}

fn add_data(
    state: u64,
    kind: u32,
    (data, bytes): (HostPointer, usize),
    name: Text,
    (count, options, values): (u32, In<u32>, HostPointer),
) -> Call {
    let jit = Jit::read(count, options, values)?;
    let label = Label { kind, name: name.bytes().unwrap_or_default(), jit };
    let most = usize::try_from(IMAGE_BYTES_MAX).unwrap_or(usize::MAX);
    add(state, label, || if bytes > most { Err(TOO_LARGE) } else { data.copy(bytes) })
}

fn add_file(
    state: u64,
    kind: u32,
    path: Text,
    (count, options, values): (u32, In<u32>, HostPointer),
) -> Call {
    let jit = Jit::read(count, options, values)?;
    let label = Label { kind, name: path.bytes()?, jit };
    add(state, label, || module::read_file(path))
}

fn destroy(handle: u64) -> Call {
    driver()?.linkers.remove(handle).map(drop).ok_or(INVALID_HANDLE)
}

driver_calls! {
    fn cuLinkCreate(count: u32, options: In<u32>, values: HostPointer, out: Out<u64>) {
        create(count, options, values, out)
    }
    fn cuLinkCreate_v2(count: u32, options: In<u32>, values: HostPointer, out: Out<u64>) {
        create(count, options, values, out)
    }
    fn cuLinkAddData(
        state: u64, kind: u32, data: HostPointer, bytes: usize, name: Text,
        count: u32, options: In<u32>, values: HostPointer,
    ) {
        add_data(state, kind, (data, bytes), name, (count, options, values))
    }
    fn cuLinkAddData_v2(
        state: u64, kind: u32, data: HostPointer, bytes: usize, name: Text,
        count: u32, options: In<u32>, values: HostPointer,
    ) {
        add_data(state, kind, (data, bytes), name, (count, options, values))
    }
    fn cuLinkAddFile(
        state: u64, kind: u32, path: Text, count: u32, options: In<u32>, values: HostPointer,
    ) {
        add_file(state, kind, path, (count, options, values))
    }
    fn cuLinkAddFile_v2(
        state: u64, kind: u32, path: Text, count: u32, options: In<u32>, values: HostPointer,
    ) {
        add_file(state, kind, path, (count, options, values))
    }
    fn cuLinkComplete(state: u64, image: Out<u64>, bytes: Out<u64>) { complete(state, image, bytes) }
    fn cuLinkDestroy(state: u64) { destroy(state) }
}
