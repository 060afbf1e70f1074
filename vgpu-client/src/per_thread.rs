//! Per-thread default streams: a real blocking stream for each guest thread and context.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};

use vgpu_window::fork;

use crate::context::{Context, ContextInner};
use crate::errors::Result;
use crate::stream::{Stream, StreamOptions};

thread_local! {
    static OWNED: RefCell<Owned> = RefCell::new(Owned { thread: thread::current().id(), contexts: Vec::new() });
}

/// The contexts in which a thread has a stream. Dropped at the thread's end, and the streams with it.
#[derive(Debug)]
struct Owned {
    thread: ThreadId,
    contexts: Vec<Weak<ContextInner>>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if fork::is_child() {
            // These are streams of the parent's thread, and the locks may be held by threads that are not here.
            return;
        }
        for context in self.contexts.drain(..).filter_map(|context| context.upgrade()) {
            // Taken out under the lock and dropped after it.
            let core = context.per_thread.lock().remove(&self.thread);
            drop(core);
        }
    }
}

/// The calling thread's stream in a context.
pub(crate) fn stream(context: &Context) -> Result<Stream> {
    let thread = thread::current().id();
    let known = context.inner.per_thread.lock().get(&thread).cloned();
    let core = match known {
        Some(core) => core,
        None => {
            context.check()?;
            let options = StreamOptions { non_blocking: false, priority: 0 };
            let core = context.inner.create_stream(options)?;
            let owner = Arc::downgrade(&context.inner);
            // Only this thread adds a stream under its id, so none is replaced. A thread that ends already (this is
            // called from the destructor of another thread-local object) leaves its stream to the context.
            context.inner.per_thread.lock().insert(thread, Arc::clone(&core));
            let _ = OWNED.try_with(|owned| {
                let contexts = &mut owned.borrow_mut().contexts;
                contexts.retain(|context| context.strong_count() != 0);
                contexts.push(owner);
            });
            core
        }
    };
    Ok(Stream::new(context.clone(), core))
}
