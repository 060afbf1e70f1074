//! Processes: the tenant's sessions, by their guest's process ids.

use crate::fail::{Call, INSUFFICIENT_SIZE};
use crate::pointers::Out;
use crate::state;

/// `nvmlProcessInfo_v1_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct ProcessV1 {
    pid: u32,
    used_gpu_memory: u64,
}

/// `nvmlProcessInfo_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Process {
    pid: u32,
    used_gpu_memory: u64,
    gpu_instance_id: u32,
    compute_instance_id: u32,
}

/// What both ids say where the card is not cut into instances.
const NO_INSTANCE: u32 = 0xffff_ffff;

impl From<Process> for ProcessV1 {
    fn from(process: Process) -> Self {
        Self { pid: process.pid, used_gpu_memory: process.used_gpu_memory }
    }
}

/// One entry for each process: sessions of one process are summed.
fn processes(device: u64) -> Call<Vec<Process>> {
    let mut processes: Vec<Process> = Vec::new();
    for session in state::report(device)?.sessions {
        match processes.iter_mut().find(|process| process.pid == session.pid) {
            Some(process) => process.used_gpu_memory += session.memory_bytes,
            None => processes.push(Process {
                pid: session.pid,
                used_gpu_memory: session.memory_bytes,
                gpu_instance_id: NO_INSTANCE,
                compute_instance_id: NO_INSTANCE,
            }),
        }
    }
    Ok(processes)
}

/// Writes as many as there is room for; `count` says before how much room there is, and after how many there are.
fn list<T: From<Process>>(found: Vec<Process>, count: Out<u32>, out: Out<T>) -> Call {
    let room = count.get()?;
    let there = u32::try_from(found.len()).unwrap_or(u32::MAX);
    count.set(there);
    if there > room || (out.is_null() && there > 0) {
        return Err(INSUFFICIENT_SIZE);
    }
    for (at, process) in found.into_iter().enumerate() {
        out.at(at).set(process.into());
    }
    Ok(())
}

/// Nothing draws on a compute share, and no MPS server stands between.
fn none(device: u64, count: Out<u32>) -> Call {
    state::check(device)?;
    count.required()?.set(0);
    Ok(())
}

nvml_calls! {
    fn nvmlDeviceGetComputeRunningProcesses(device: u64, count: Out<u32>, out: Out<ProcessV1>) {
        list(processes(device)?, count, out)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v2(device: u64, count: Out<u32>, out: Out<Process>) {
        list(processes(device)?, count, out)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v3(device: u64, count: Out<u32>, out: Out<Process>) {
        list(processes(device)?, count, out)
    }
    fn nvmlDeviceGetGraphicsRunningProcesses(device: u64, count: Out<u32>) { none(device, count) }
    fn nvmlDeviceGetGraphicsRunningProcesses_v2(device: u64, count: Out<u32>) { none(device, count) }
    fn nvmlDeviceGetGraphicsRunningProcesses_v3(device: u64, count: Out<u32>) { none(device, count) }
    fn nvmlDeviceGetMPSComputeRunningProcesses(device: u64, count: Out<u32>) { none(device, count) }
    fn nvmlDeviceGetMPSComputeRunningProcesses_v2(device: u64, count: Out<u32>) { none(device, count) }
    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(device: u64, count: Out<u32>) { none(device, count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_headers() {
        assert_eq!((size_of::<ProcessV1>(), size_of::<Process>()), (16, 24));
    }
}
