//! Limits of a context: asked of the host once, then answered here until they are set.

use vgpu_proto::body;

use crate::context::Context;
use crate::errors::Result;

impl Context {
    /// A limit, by CUDA's number (`cuCtxGetLimit`): 0 the stack of a thread, 1 the printf buffer, 2 the heap of kernels,
    /// in bytes, and others.
    ///
    /// # Errors
    /// `UNSUPPORTED_LIMIT`, a fault of the context, or the session's end.
    pub fn limit(&self, limit: u32) -> Result<u64> {
        self.check()?;
        // Held, so that an answer is not older than what another thread sets.
        let mut known = self.inner.limits.lock();
        if let Some(value) = known.get(&limit) {
            return Ok(*value);
        }
        let body = body::CtxGetLimit {
            context: self.inner.id.raw().into(),
            limit: limit.into(),
            reserved: 0.into(),
        };
        let [value, ..] = self.session().call(0, &body, &[])?;
        known.insert(limit, value);
        Ok(value)
    }

    /// Sets a limit (`cuCtxSetLimit`). What the device sets aside for it counts against the tenant's memory. Waits for the
    /// context's work where the device does.
    ///
    /// # Errors
    /// As [`Context::limit`]; `INVALID_VALUE`, `OUT_OF_MEMORY`.
    pub fn set_limit(&self, limit: u32, value: u64) -> Result<()> {
        self.check()?;
        let mut known = self.inner.limits.lock();
        let body = body::CtxSetLimit {
            context: self.inner.id.raw().into(),
            value: value.into(),
            limit: limit.into(),
            reserved: 0.into(),
        };
        let [in_force, ..] = self.session().call(0, &body, &[])?;
        known.insert(limit, in_force);
        Ok(())
    }

    /// Makes all that the second-level cache was asked to keep normal again (`cuCtxResetPersistingL2Cache`).
    ///
    /// # Errors
    /// A fault of the context, or the session's end.
    pub fn reset_persisting_l2(&self) -> Result<()> {
        self.check()?;
        let body = body::CtxResetPersistingL2 { context: self.inner.id.raw().into() };
        self.session().call(0, &body, &[]).map(drop)
    }
}
