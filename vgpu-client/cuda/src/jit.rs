//! Options of the compiler (`CU_JIT_*`). Those that tune it change nothing that a program computes, and are left to the
//! host; those that ask for its messages are answered.

use crate::fail::{Call, INVALID_VALUE};
use crate::pointers::{HostPointer, In, Out, TextOut};

/// `CU_JIT_INFO_LOG_BUFFER` and `CU_JIT_ERROR_LOG_BUFFER`: where a text goes. The number after each is its room in bytes,
/// and then its length.
const INFO_BUFFER: u32 = 3;
const INFO_BYTES: u32 = 4;
const ERROR_BUFFER: u32 = 5;
const ERROR_BYTES: u32 = 6;

/// Options of a call, at most. CUDA has some thirty kinds.
const OPTIONS_MAX: u32 = 256;

/// Where the messages of a compilation go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logs {
    info: Log,
    error: Log,
}

/// Room for one text, and where its length goes.
#[derive(Clone, Copy, Debug, Default)]
struct Log {
    buffer: Option<TextOut>,
    bytes: Option<Out<u64>>,
}

impl Logs {
    /// Finds them among the options of a call. A value that is a number lies in the array itself.
    pub(crate) fn read(count: u32, options: In<u32>, values: Out<u64>) -> Call<Self> {
        if count > OPTIONS_MAX {
            return Err(INVALID_VALUE);
        }
        let (mut info, mut error) = (Log::default(), Log::default());
        for at in 0..count as usize {
            let slot = values.at(at);
            match options.at(at)? {
                INFO_BUFFER => info.buffer = Some(HostPointer::unified(slot.get()?).text()),
                INFO_BYTES => info.bytes = Some(slot),
                ERROR_BUFFER => error.buffer = Some(HostPointer::unified(slot.get()?).text()),
                ERROR_BYTES => error.bytes = Some(slot),
                _ => {}
            }
        }
        Ok(Self { info, error })
    }

    /// Writes the error's text; nothing else is ever said.
    pub(crate) fn write(&self, error: &str) {
        self.info.write("");
        self.error.write(error);
    }
}

impl Log {
    fn write(&self, text: &str) {
        let Some(bytes) = self.bytes else { return };
        let room = bytes.get().map_or(0, |room| i32::try_from(room & 0xffff_ffff).unwrap_or(i32::MAX));
        let written = self.buffer.and_then(|buffer| buffer.write(text, room).ok());
        let length = written.map_or(0, |()| text.len().min(room.max(1) as usize - 1));
        bytes.set(length as u64);
    }
}
