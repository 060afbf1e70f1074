//! Memory: the tenant's quota, and what its sessions hold.

use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED, VERSION_MISMATCH};
use crate::pointers::Out;
use crate::state;

/// `nvmlMemory_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

/// `nvmlMemory_v2_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct MemoryV2 {
    version: u32,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

/// `NVML_STRUCT_VERSION(Memory, 2)`: the size, and the version in the highest byte.
const MEMORY_V2: u32 = size_of::<MemoryV2>() as u32 | 2 << 24;

fn memory(device: u64) -> Call<Memory> {
    let gpu = state::report(device)?.gpu;
    let (total, used) = (gpu.memory_bytes, gpu.memory_used_bytes);
    Ok(Memory { total, free: total.saturating_sub(used), used })
}

/// `nvmlFieldValue_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct FieldValue {
    field_id: u32,
    scope_id: u32,
    timestamp: i64,
    latency_usec: i64,
    value_type: u32,
    result: u32,
    value: u64,
}

/// Fields of one question, at most; NVIDIA's library has some 300.
const FIELDS_MAX: i32 = 1_024;

/// No field is a tenant's: each is answered as not supported, one by one, as the header says.
fn field_values(device: u64, count: i32, values: Out<FieldValue>) -> Call {
    state::check(device)?;
    if !(0..=FIELDS_MAX).contains(&count) {
        return Err(INVALID_VALUE);
    }
    values.required()?;
    for at in 0..count.unsigned_abs() as usize {
        let field = values.at(at).get()?;
        values.at(at).set(FieldValue { result: NOT_SUPPORTED.0, ..field });
    }
    Ok(())
}

nvml_calls! {
    fn nvmlDeviceGetMemoryInfo(device: u64, out: Out<Memory>) {
        out.required()?.set(memory(device)?);
        Ok(())
    }
    fn nvmlDeviceGetMemoryInfo_v2(device: u64, out: Out<MemoryV2>) {
        state::check(device)?;
        if out.get()?.version != MEMORY_V2 {
            return Err(VERSION_MISMATCH);
        }
        let Memory { total, free, used } = memory(device)?;
        out.set(MemoryV2 { version: MEMORY_V2, total, reserved: 0, free, used });
        Ok(())
    }
    fn nvmlDeviceGetFieldValues(device: u64, count: i32, values: Out<FieldValue>) {
        field_values(device, count, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_headers() {
        assert_eq!((size_of::<Memory>(), size_of::<MemoryV2>(), size_of::<FieldValue>()), (24, 40, 40));
        assert_eq!(MEMORY_V2, 0x0200_0028);
    }
}
