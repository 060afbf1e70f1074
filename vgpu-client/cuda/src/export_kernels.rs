//! The export table that walks the kernels of a module.

use crate::driver::driver;
use crate::export_table::slot;
use crate::module;

/// What is called for each kernel, with the caller's own pointer.
type Visit = Option<extern "C" fn(own: u64, kernel: u64)>;

/// Calls `visit` for each kernel of a module. Answers how many there were: no `CUresult`, as seen with driver 580, where
/// cuFFT takes the one kernel of what it has compiled.
pub(crate) extern "C" fn each(_context: u64, module: u64, visit: Visit, own: u64) -> u32 {
    let mut count = 0;
    slot("each_kernel", || {
        let Some(visit) = visit else { return Ok(()) };
        for kernel in module::kernels(driver()?, module)? {
            visit(own, kernel);
            count += 1;
        }
        Ok(())
    });
    count
}
