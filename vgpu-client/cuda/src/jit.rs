//! Options of the compiler (`CU_JIT_*`): those that tune it travel, those that ask for its messages are answered here.

use vgpu_client::{CompileReport, JitKind, JitOption};
use vgpu_proto::limits::JIT_OPTIONS_MAX;

use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::pointers::{HostPointer, In};

/// Options that are answered here or not at all, as `CUjit_option` numbers them.
mod option {
    pub(super) const THREADS_PER_BLOCK: u32 = 1;
    pub(super) const WALL_TIME: u32 = 2;
    /// Where a text goes. The number after each is its room in bytes, and then its length.
    pub(super) const INFO_BUFFER: u32 = 3;
    pub(super) const INFO_BYTES: u32 = 4;
    pub(super) const ERROR_BUFFER: u32 = 5;
    pub(super) const ERROR_BYTES: u32 = 6;
    /// Two that the driver keeps for itself. They tune the compiler.
    pub(super) const NEW_SM3X_OPT: u32 = 15;
    pub(super) const FAST_COMPILE: u32 = 16;
    /// Symbols at addresses that the program chooses.
    pub(super) const GLOBAL_SYMBOL_NAMES: u32 = 17;
    pub(super) const GLOBAL_SYMBOL_COUNT: u32 = 19;
    /// Intermediate code of toolkits before CUDA 12, and lists of what is used of it.
    pub(super) const LTO: u32 = 20;
    pub(super) const REFERENCED_KERNEL_NAMES: u32 = 25;
    pub(super) const REFERENCED_VARIABLE_COUNT: u32 = 28;
}

/// Options of a call, at most. CUDA has some thirty kinds.
const OPTIONS_MAX: u32 = 256;

/// What a call asks of the compiler, and where its answers go: addresses of the program, which it keeps valid for as long
/// as the call, or the linker, lasts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jit {
    pub(crate) options: Vec<JitOption>,
    info: Log,
    error: Log,
    wall_time: Option<u64>,
    threads_per_block: Option<u64>,
}

/// Where a text and its length go.
#[derive(Clone, Copy, Debug, Default)]
struct Log {
    buffer: Option<u64>,
    bytes: Option<u64>,
}

impl Jit {
    /// Reads the options of a call. A value that is a number lies in the array itself.
    ///
    /// # Errors
    /// `INVALID_VALUE` for an option that CUDA does not have, `NOT_SUPPORTED` for those that name memory of the program.
    pub(crate) fn read(count: u32, options: In<u32>, values: HostPointer) -> Call<Self> {
        if count > OPTIONS_MAX || count > 0 && values.is_null() {
            return Err(INVALID_VALUE);
        }
        let mut jit = Self::default();
        for at in 0..count {
            jit.take(options.at(at as usize)?, values.offset(8 * u64::from(at)))?;
        }
        if jit.options.len() > JIT_OPTIONS_MAX {
            return Err(INVALID_VALUE);
        }
        Ok(jit)
    }

    fn take(&mut self, number: u32, slot: HostPointer) -> Call {
        let value = slot.array::<u64>().read()?;
        match number {
            option::INFO_BUFFER => self.info.buffer = Some(value),
            option::INFO_BYTES => self.info.bytes = Some(slot.address()),
            option::ERROR_BUFFER => self.error.buffer = Some(value),
            option::ERROR_BYTES => self.error.bytes = Some(slot.address()),
            option::NEW_SM3X_OPT | option::FAST_COMPILE => {}
            option::LTO if value == 0 => {}
            option::LTO
            | option::GLOBAL_SYMBOL_NAMES..=option::GLOBAL_SYMBOL_COUNT
            | option::REFERENCED_KERNEL_NAMES..=option::REFERENCED_VARIABLE_COUNT => {
                return Err(NOT_SUPPORTED);
            }
            _ => {
                let kind = JitKind::from_number(number).ok_or(INVALID_VALUE)?;
                match number {
                    option::WALL_TIME => self.wall_time = Some(slot.address()),
                    option::THREADS_PER_BLOCK => self.threads_per_block = Some(slot.address()),
                    _ => {}
                }
                // Numbers are 32 bits wide; the rest of the slot is padding.
                self.options.push(JitOption { kind, value: value as u32 });
            }
        }
        Ok(())
    }

    /// The options alone, for loads after the call that named where its answers go.
    pub(crate) fn without_answers(&self) -> Self {
        Self { options: self.options.clone(), ..Self::default() }
    }

    /// Adds the options of a part, where the whole does not say the same.
    pub(crate) fn add(&mut self, part: &Self) -> Call {
        for option in &part.options {
            if self.options.iter().all(|known| known.kind != option.kind) {
                self.options.push(*option);
            }
        }
        if self.options.len() > JIT_OPTIONS_MAX { Err(INVALID_VALUE) } else { Ok(()) }
    }

    /// Writes what the compiler told.
    pub(crate) fn answer(&self, report: &CompileReport, error: &str) {
        self.info.write(&report.log);
        self.error.write(error);
        if let Some(slot) = self.wall_time {
            let wall_time_ms = report.wall_time_us as f32 / 1e3;
            HostPointer::unified(slot).out::<f32>().set(wall_time_ms);
        }
        if let Some(slot) = self.threads_per_block.filter(|_| report.threads_per_block != 0) {
            HostPointer::unified(slot).out::<u32>().set(report.threads_per_block);
        }
    }
}

impl Log {
    fn write(&self, text: &str) {
        let Some(bytes) = self.bytes.map(HostPointer::unified) else { return };
        let room = bytes.array::<u32>().read().map_or(0, |room| i32::try_from(room).unwrap_or(i32::MAX));
        let buffer = self.buffer.map(|buffer| HostPointer::unified(buffer).text());
        let written = buffer.and_then(|buffer| buffer.write(text, room).ok());
        let length = written.map_or(0, |()| text.len().min(room.max(1) as usize - 1));
        bytes.out::<u64>().set(length as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(u32, u64)]) -> (Call<Jit>, Vec<u64>) {
        let numbers: Vec<u32> = options.iter().map(|(number, _)| *number).collect();
        let values: Vec<u64> = options.iter().map(|(_, value)| *value).collect();
        let pointer = |address: u64| HostPointer::unified(address);
        let jit = Jit::read(
            options.len() as u32,
            pointer(numbers.as_ptr() as u64).array(),
            pointer(values.as_ptr() as u64),
        );
        (jit, values)
    }

    #[test]
    fn tuning_travels_and_messages_are_answered() {
        let mut room = [0xff_u8; 8];
        let (jit, values) = read(&[
            (0, 0xdead_beef_0000_0020),
            (option::INFO_BUFFER, room.as_mut_ptr() as u64),
            (option::INFO_BYTES, 5),
            (option::ERROR_BYTES, 5),
            (option::WALL_TIME, 0),
            (option::THREADS_PER_BLOCK, 128),
            (option::FAST_COMPILE, 1),
        ]);
        let jit = jit.unwrap();
        let sent: Vec<_> = jit.options.iter().map(|option| (option.kind, option.value)).collect();
        assert_eq!(
            sent,
            [(JitKind::MaxRegisters, 32), (JitKind::WallTime, 0), (JitKind::ThreadsPerBlock, 128)]
        );
        let report = CompileReport { log: "all good".into(), wall_time_us: 1_500, threads_per_block: 256 };
        jit.answer(&report, "an error");
        assert_eq!(&room, b"all \0\xff\xff\xff");
        let values = std::hint::black_box(values);
        assert_eq!(values[2..], [4, 0, 1.5_f32.to_bits().into(), 256, 1]);
    }

    #[test]
    fn what_names_memory_is_not_supported_and_what_is_no_option_is_invalid() {
        for (number, fail) in
            [(17, NOT_SUPPORTED), (25, NOT_SUPPORTED), (20, NOT_SUPPORTED), (34, INVALID_VALUE)]
        {
            assert_eq!(read(&[(number, 1)]).0.unwrap_err(), fail, "{number}");
        }
        assert_eq!(read(&vec![(0, 1); JIT_OPTIONS_MAX + 1]).0.unwrap_err(), INVALID_VALUE);
        assert!(Jit::read(1, In::null(), HostPointer::unified(0)).is_err());
        assert!(Jit::read(0, In::null(), HostPointer::unified(0)).is_ok());
    }

    #[test]
    fn options_of_a_part_do_not_overrule_the_whole() {
        let (mut whole, _) = (read(&[(0, 32)]).0.unwrap(), ());
        whole.add(&read(&[(0, 64), (7, 3)]).0.unwrap()).unwrap();
        let sent: Vec<_> = whole.options.iter().map(|option| (option.kind, option.value)).collect();
        assert_eq!(sent, [(JitKind::MaxRegisters, 32), (JitKind::OptimizationLevel, 3)]);
    }
}
