//! The structure that points to a container: what nvcc's start code hands to the runtime, and the runtime to the driver
//! (`__fatBinC_Wrapper_t` of `fatbinary_section.h`): magic, version, the container's address, and for version 2 that of
//! a list of containers.

use crate::driver::Driver;
use crate::fail::Call;
use crate::fatbin;
use crate::image::{BAD_IMAGE, Image, NO_BINARY, Origin};
use crate::link;
use crate::pointers::HostPointer;

/// First word of a wrapper.
pub(crate) const MAGIC: u32 = 0x4662_43b1;

const WRAPPER_BYTES: usize = 24;

/// Version of a program whose device code was linked by nvcc (`-rdc=true`): the list holds what it was linked from.
const VERSION_LINKED: u32 = 2;

/// Containers of such a list, one for each object file.
const CONTAINERS_MAX: usize = 4_096;

/// Reads the image that a wrapper points to. Where the program was linked and the result does not fit the device, its
/// parts are linked again for the device.
///
/// # Errors
/// `NO_BINARY_FOR_GPU` where nothing fits the device; `INVALID_IMAGE`; what the linker answers.
pub(crate) fn read(driver: &Driver, wrapper: HostPointer) -> Call<Image> {
    let bytes = wrapper.copy(WRAPPER_BYTES)?;
    let version = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
    let address = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    match container(driver, address(8)) {
        Err(NO_BINARY) if version == VERSION_LINKED && address(16) != 0 => {
            link_parts(driver, HostPointer::unified(address(16)))
        }
        found => found,
    }
}

fn container(driver: &Driver, address: u64) -> Call<Image> {
    let origin = Origin::Memory(HostPointer::unified(address));
    if address == 0 || origin.first_word()? != fatbin::MAGIC {
        return Err(BAD_IMAGE);
    }
    Image::from_container(driver, origin)
}

fn link_parts(driver: &Driver, list: HostPointer) -> Call<Image> {
    let mut parts = Vec::new();
    for at in 0..CONTAINERS_MAX {
        match list.array::<u64>().at(at)? {
            0 => return link::link_images(driver, &parts),
            address => parts.push(container(driver, address)?),
        }
    }
    Err(BAD_IMAGE)
}
