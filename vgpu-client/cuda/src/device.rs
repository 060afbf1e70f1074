//! Start, version, and what the device is.

use vgpu_client::Status;

use crate::attributes;
use crate::driver::{check_device, driver, start};
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::pointers::{Out, Text, TextOut};

/// The CUDA version that is implemented. Never the host driver's: libraries call what a version promises.
pub(crate) const DRIVER_VERSION: i32 = 13_000;

/// Where the device pretends to sit. A guest's PCI bus has no such card, and `nvidia-smi` names are the host's.
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
