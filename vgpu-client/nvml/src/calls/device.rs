//! Which device there is, and what it is.

use crate::calls::system::put;
use crate::fail::{Call, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED};
use crate::pointers::{Out, Text, TextOut};
use crate::state::{self, DEVICE};

/// `nvmlPciInfo_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct PciInfo {
    bus_id_legacy: [u8; 16],
    domain: u32,
    bus: u32,
    device: u32,
    pci_device_id: u32,
    pci_subsystem_id: u32,
    bus_id: [u8; 32],
}

/// `nvmlPciInfo_t` as `nvmlDeviceGetPciInfo_v2` had it: callers of that name have no room for more.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct PciInfoV2 {
    first: PciInfoV1,
    pci_subsystem_id: u32,
    reserved: [u32; 4],
}

/// The same as `nvmlDeviceGetPciInfo` had it before it got a version.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct PciInfoV1 {
    bus_id: [u8; 16],
    domain: u32,
    bus: u32,
    device: u32,
    pci_device_id: u32,
}

impl PciInfo {
    /// The card's numbers are the host's: no PCI device of the guest is meant.
    fn new() -> Self {
        Self {
            bus_id_legacy: text(BUS_ID_LEGACY),
            domain: 0,
            bus: 0,
            device: 0,
            pci_device_id: 0,
            pci_subsystem_id: 0,
            bus_id: text(BUS_ID),
        }
    }
}

impl From<PciInfo> for PciInfoV1 {
    fn from(info: PciInfo) -> Self {
        let PciInfo { bus_id_legacy: bus_id, domain, bus, device, pci_device_id, .. } = info;
        Self { bus_id, domain, bus, device, pci_device_id }
    }
}

impl From<PciInfo> for PciInfoV2 {
    fn from(info: PciInfo) -> Self {
        Self { first: info.into(), pci_subsystem_id: info.pci_subsystem_id, reserved: [0; 4] }
    }
}

/// Where the device pretends to sit: as the guest's CUDA library says it, so that tools match the two.
const BUS_ID: &str = "00000000:00:00.0";
/// The same with the short domain of old tools.
const BUS_ID_LEGACY: &str = "0000:00:00.0";

/// `NVML_BRAND_NVIDIA`.
const BRAND_NVIDIA: u32 = 14;
/// `NVML_GPU_VIRTUALIZATION_MODE_VGPU`: the device is a share of a card.
const VIRTUALIZATION_VGPU: u32 = 2;
/// `NVML_COMPUTEMODE_DEFAULT`: several processes at once.
const COMPUTE_MODE_DEFAULT: u32 = 0;
/// `NVML_DEVICE_ARCH_UNKNOWN`.
const ARCHITECTURE_UNKNOWN: u32 = 0xffff_ffff;

/// FP32 cores of a multiprocessor, by compute capability (CUDA C++ Programming Guide, "Arithmetic Instructions":
/// results per clock cycle of a 32-bit addition).
const CORES: &[((u32, u32), u32)] =
    &[((7, 0), 64), ((7, 5), 64), ((8, 0), 64), ((8, 6), 128), ((8, 9), 128), ((9, 0), 128), ((10, 0), 128)];

/// `nvmlDeviceArchitecture_t` of compute capabilities.
const ARCHITECTURES: &[((u32, u32), u32)] =
    &[((7, 0), 5), ((7, 5), 6), ((8, 0), 7), ((8, 6), 7), ((8, 9), 8), ((9, 0), 9), ((10, 0), 10)];

fn of_capability(table: &[((u32, u32), u32)], device: u64) -> Call<Option<u32>> {
    let gpu = state::report(device)?.gpu;
    let capability = (gpu.compute_major, gpu.compute_minor);
    Ok(table.iter().find(|(known, _)| *known == capability).map(|(_, value)| *value))
}

/// A UUID as NVIDIA's tools print it.
fn uuid_text(uuid: &[u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(*uuid));
    let (groups, mut text) = ([8, 4, 4, 4, 12], String::from("GPU"));
    let mut rest = digits.as_str();
    for group in groups {
        let (head, tail) = rest.split_at(group);
        text.push('-');
        text.push_str(head);
        rest = tail;
    }
    text
}

fn handle_by_index(index: u32, out: Out<u64>) -> Call {
    state::started()?;
    out.required()?;
    if index != 0 {
        return Err(INVALID_VALUE);
    }
    out.set(DEVICE);
    Ok(())
}

fn handle_by_bus_id(id: Text, out: Out<u64>) -> Call {
    state::started()?;
    let id = id.read()?;
    out.required()?;
    // Tools write the domain with four or eight digits.
    let (domain, rest) = id.split_once(':').ok_or(INVALID_VALUE)?;
    if u32::from_str_radix(domain, 16) != Ok(0) || rest != "00:00.0" {
        return Err(NOT_FOUND);
    }
    out.set(DEVICE);
    Ok(())
}

fn handle_by_uuid(uuid: Text, out: Out<u64>) -> Call {
    let uuid = uuid.read()?;
    out.required()?;
    if uuid != uuid_text(&state::report(DEVICE)?.gpu.uuid) {
        return Err(NOT_FOUND);
    }
    out.set(DEVICE);
    Ok(())
}

fn count(out: Out<u32>) -> Call {
    state::started()?;
    out.required()?.set(1);
    Ok(())
}

fn text<const ROOM: usize>(text: &str) -> [u8; ROOM] {
    let mut bytes = [0; ROOM];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn pci_info<T: From<PciInfo>>(device: u64, out: Out<T>) -> Call {
    constant(device, out, PciInfo::new().into())
}

fn constant<T>(device: u64, out: Out<T>, value: T) -> Call {
    state::check(device)?;
    out.required()?.set(value);
    Ok(())
}

nvml_calls! {
    fn nvmlDeviceGetCount(out: Out<u32>) { count(out) }
    fn nvmlDeviceGetCount_v2(out: Out<u32>) { count(out) }
    fn nvmlDeviceGetHandleByIndex(index: u32, out: Out<u64>) { handle_by_index(index, out) }
    fn nvmlDeviceGetHandleByIndex_v2(index: u32, out: Out<u64>) { handle_by_index(index, out) }
    fn nvmlDeviceGetHandleByPciBusId(id: Text, out: Out<u64>) { handle_by_bus_id(id, out) }
    fn nvmlDeviceGetHandleByPciBusId_v2(id: Text, out: Out<u64>) { handle_by_bus_id(id, out) }
    fn nvmlDeviceGetHandleByUUID(uuid: Text, out: Out<u64>) { handle_by_uuid(uuid, out) }
    fn nvmlDeviceGetIndex(device: u64, out: Out<u32>) { constant(device, out, 0) }
    fn nvmlDeviceGetMinorNumber(device: u64, out: Out<u32>) { constant(device, out, 0) }
    fn nvmlDeviceGetName(device: u64, name: TextOut, room: u32) {
        put(name, room, &state::report(device)?.gpu.name)
    }
    fn nvmlDeviceGetUUID(device: u64, uuid: TextOut, room: u32) {
        put(uuid, room, &uuid_text(&state::report(device)?.gpu.uuid))
    }
    fn nvmlDeviceGetPciInfo(device: u64, out: Out<PciInfoV1>) { pci_info(device, out) }
    fn nvmlDeviceGetPciInfo_v2(device: u64, out: Out<PciInfoV2>) { pci_info(device, out) }
    fn nvmlDeviceGetPciInfo_v3(device: u64, out: Out<PciInfo>) { pci_info(device, out) }
    fn nvmlDeviceGetCudaComputeCapability(device: u64, major: Out<i32>, minor: Out<i32>) {
        let gpu = state::report(device)?.gpu;
        major.required()?.set(gpu.compute_major.cast_signed());
        minor.required()?.set(gpu.compute_minor.cast_signed());
        Ok(())
    }
    fn nvmlDeviceGetArchitecture(device: u64, out: Out<u32>) {
        out.required()?.set(of_capability(ARCHITECTURES, device)?.unwrap_or(ARCHITECTURE_UNKNOWN));
        Ok(())
    }
    fn nvmlDeviceGetNumGpuCores(device: u64, out: Out<u32>) {
        let cores = of_capability(CORES, device)?.ok_or(NOT_SUPPORTED)?;
        out.required()?.set(cores.saturating_mul(state::report(device)?.gpu.multiprocessor_count));
        Ok(())
    }
    fn nvmlDeviceGetBrand(device: u64, out: Out<u32>) { constant(device, out, BRAND_NVIDIA) }
    fn nvmlDeviceGetMultiGpuBoard(device: u64, out: Out<u32>) { constant(device, out, 0) }
    fn nvmlDeviceGetComputeMode(device: u64, out: Out<u32>) { constant(device, out, COMPUTE_MODE_DEFAULT) }
    fn nvmlDeviceGetVirtualizationMode(device: u64, out: Out<u32>) {
        constant(device, out, VIRTUALIZATION_VGPU)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_printed_as_tools_expect_it() {
        let uuid = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
        assert_eq!(uuid_text(&uuid), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn the_layout_is_the_headers() {
        assert_eq!((size_of::<PciInfo>(), size_of::<PciInfoV2>(), size_of::<PciInfoV1>()), (68, 52, 32));
    }
}
