//! Start, version, and what the device is.

use vgpu_client::Status;

use crate::attributes;
use crate::driver::{Driver, check_device, driver, start};
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::pointers::{Out, Text, TextOut};

/// The CUDA version that is implemented. Never the host driver's: libraries call what a version promises.
pub(crate) const DRIVER_VERSION: i32 = 13_000;

/// Where the device pretends to sit. A guest's PCI bus has no such card, and a library that found another card at the
/// host's place of it would be misled; those that match devices do it by their UUIDs.
pub(crate) const PCI_DOMAIN: i32 = 0;
/// See [`PCI_DOMAIN`].
pub(crate) const PCI_BUS: i32 = 0;
/// See [`PCI_DOMAIN`].
pub(crate) const PCI_DEVICE: i32 = 0;

fn pci_id() -> String {
    format!("{PCI_DOMAIN:04X}:{PCI_BUS:02X}:{PCI_DEVICE:02X}.0")
}

fn total_bytes(device: i32) -> Call<u64> {
    Ok(check_device(device)?.client.limits().memory_bytes)
}

/// `CUdevprop`, the form of CUDA 1 to tell a device's properties.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Properties {
    threads_per_block_max: i32,
    block_dim_max: [i32; 3],
    grid_dim_max: [i32; 3],
    shared_bytes_per_block: i32,
    constant_bytes: i32,
    warp_size: i32,
    pitch_max: i32,
    registers_per_block: i32,
    clock_khz: i32,
    texture_align: i32,
}

impl Properties {
    fn of(driver: &Driver) -> Self {
        // By the attributes' numbers, which are in the order of the structure but for a few.
        let get = |number| attributes::get(driver, number).unwrap_or(0);
        Self {
            threads_per_block_max: get(1),
            block_dim_max: [get(2), get(3), get(4)],
            grid_dim_max: [get(5), get(6), get(7)],
            shared_bytes_per_block: get(8),
            constant_bytes: get(9),
            warp_size: get(10),
            pitch_max: get(11),
            registers_per_block: get(12),
            clock_khz: get(13),
            texture_align: get(14),
        }
    }
}

/// `CU_DEVICE_P2P_ATTRIBUTE_*`, the last of CUDA 13.0.
const P2P_LAST: u32 = 5;

fn uuid(out: Out<[u8; 16]>, device: i32) -> Call {
    let driver = check_device(device)?;
    out.required()?.set(driver.device().uuid);
    Ok(())
}

driver_calls! {
    fn cuInit(flags: u32) {
        if flags == 0 { start() } else { Err(INVALID_VALUE) }
    }
    fn cuDriverGetVersion(version: Out<i32>) {
        version.required()?.set(DRIVER_VERSION);
        Ok(())
    }
    fn cuDeviceGet(out: Out<i32>, ordinal: i32) {
        out.required()?;
        check_device(ordinal)?;
        out.set(0);
        Ok(())
    }
    fn cuDeviceGetCount(out: Out<i32>) {
        driver()?;
        out.required()?.set(1);
        Ok(())
    }
    fn cuDeviceGetName(name: TextOut, room: i32, device: i32) {
        name.write(&check_device(device)?.device().name, room)
    }
    fn cuDeviceGetUuid(out: Out<[u8; 16]>, device: i32) { uuid(out, device) }
    fn cuDeviceGetUuid_v2(out: Out<[u8; 16]>, device: i32) { uuid(out, device) }
    fn cuDeviceTotalMem_v2(out: Out<u64>, device: i32) {
        out.required()?.set(total_bytes(device)?);
        Ok(())
    }
    fn cuDeviceTotalMem(out: Out<u32>, device: i32) {
        // The call of 32-bit programs: it says as much as it can.
        out.required()?.set(u32::try_from(total_bytes(device)?).unwrap_or(u32::MAX));
        Ok(())
    }
    fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: i32) {
        let description = check_device(device)?.device();
        major.required()?.set(description.compute_major.cast_signed());
        minor.required()?.set(description.compute_minor.cast_signed());
        Ok(())
    }
    fn cuDeviceGetAttribute(out: Out<i32>, attribute: u32, device: i32) {
        let driver = check_device(device)?;
        out.required()?.set(attributes::get(driver, attribute).ok_or(INVALID_VALUE)?);
        Ok(())
    }
    fn cuDeviceGetProperties(out: Out<Properties>, device: i32) {
        let driver = check_device(device)?;
        out.required()?.set(Properties::of(driver));
        Ok(())
    }
    fn cuDeviceGetP2PAttribute(out: Out<i32>, attribute: u32, source: i32, destination: i32) {
        out.required()?;
        if !(1..=P2P_LAST).contains(&attribute) {
            return Err(INVALID_VALUE);
        }
        check_device(source)?;
        check_device(destination)?;
        // There is one device, and a pair of the same one is refused.
        Err(Fail(Status::ERROR_INVALID_DEVICE))
    }
    fn cuDeviceGetExecAffinitySupport(out: Out<i32>, kind: u32, device: i32) {
        check_device(device)?;
        out.required()?;
        // 0: a number of multiprocessors, which is MPS's to give.
        if kind != 0 {
            return Err(INVALID_VALUE);
        }
        out.set(0);
        Ok(())
    }
    fn cuDeviceGetPCIBusId(out: TextOut, room: i32, device: i32) {
        check_device(device)?;
        out.write(&pci_id(), room)
    }
    fn cuDeviceGetByPCIBusId(out: Out<i32>, id: Text) {
        driver()?;
        out.required()?;
        // The function may be left out, and letters may be small.
        let id = id.read()?.to_uppercase();
        if id != pci_id() && format!("{id}.0") != pci_id() {
            return Err(Fail(Status::ERROR_INVALID_DEVICE));
        }
        out.set(0);
        Ok(())
    }
    fn cuDeviceCanAccessPeer(out: Out<i32>, device: i32, peer: i32) {
        check_device(device)?;
        check_device(peer)?;
        // A device is not its own peer.
        out.required()?.set(0);
        Ok(())
    }
}
