//! Limits of a context (`CUlimit`).

use crate::current;
use crate::pointers::Out;

driver_calls! {
    fn cuCtxGetLimit(out: Out<u64>, limit: u32) {
        let context = current::context()?;
        out.required()?.set(context.inner.limit(limit)?);
        Ok(())
    }
    fn cuCtxSetLimit(limit: u32, value: u64) { Ok(current::context()?.inner.set_limit(limit, value)?) }
    fn cuCtxResetPersistingL2Cache() { Ok(current::context()?.inner.reset_persisting_l2()?) }
}
