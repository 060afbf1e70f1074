//! User objects: what a program ties to the life of its graphs.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::pointers::Out;

/// `CUhostFn`.
pub(crate) type Destroy = Option<extern "C" fn(data: u64)>;

/// `CU_USER_OBJECT_NO_DESTRUCTOR_SYNC`, which must be given: nobody can wait for a destructor.
const NO_DESTRUCTOR_SYNC: u32 = 1;

/// `CU_GRAPH_USER_OBJECT_MOVE`: references of the caller become the graph's.
const MOVE: u32 = 1;

/// References that one call may take or give: `INT_MAX`, as CUDA says.
const COUNT_MAX: u32 = i32::MAX as u32;

/// An object with a destructor and a count of references.
#[derive(Debug)]
pub(crate) struct UserObject {
    data: u64,
    destroy: extern "C" fn(u64),
    references: Mutex<u64>,
}

impl UserObject {
    /// # Errors
    /// `INVALID_VALUE` where it is gone already.
    fn retain(&self, count: u32) -> Call {
        let mut references = self.references.lock();
        if *references == 0 {
            return Err(INVALID_VALUE);
        }
        *references = references.checked_add(count.into()).ok_or(INVALID_VALUE)?;
        Ok(())
    }

    /// Gives references back. The last one calls the destructor, in the calling thread.
    ///
    /// # Errors
    /// `INVALID_VALUE` where there are not so many.
    fn release(&self, count: u32) -> Call {
        let left = {
            let mut references = self.references.lock();
            *references = references.checked_sub(count.into()).ok_or(INVALID_VALUE)?;
            *references
        };
        if left == 0 {
            (self.destroy)(self.data);
        }
        Ok(())
    }
}

/// References to one object, given back when this is dropped.
#[derive(Debug)]
struct Reference {
    object: Arc<UserObject>,
    count: u32,
}

impl Clone for Reference {
    fn clone(&self) -> Self {
        // Whoever is cloned holds references, so the object is there; only a count beyond 2^64 could fail, and then the
        // clone has none to give back.
        let count = if self.object.retain(self.count).is_ok() { self.count } else { 0 };
        Self { object: Arc::clone(&self.object), count }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if self.count > 0 {
            let _ = self.object.release(self.count);
        }
    }
}

/// What a graph keeps alive. Clones keep it too.
#[derive(Clone, Debug, Default)]
pub(crate) struct References(Vec<Reference>);

impl References {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, object: &Arc<UserObject>, count: u32) {
        self.0.push(Reference { object: Arc::clone(object), count });
    }

    /// Takes out `count` references to an object. The caller drops them without the graph's lock, as destructors run.
    fn take(&mut self, object: &Arc<UserObject>, count: u32) -> Call<Self> {
        let of_it = |reference: &Reference| Arc::ptr_eq(&reference.object, object);
        let held: u64 = self.0.iter().filter(|held| of_it(held)).map(|held| u64::from(held.count)).sum();
        if held < count.into() {
            return Err(INVALID_VALUE);
        }
        let (mut taken, mut left) = (Vec::new(), count);
        for held in self.0.iter_mut().filter(|held| of_it(held)) {
            let some = held.count.min(left);
            held.count -= some;
            left -= some;
            taken.push(Reference { object: Arc::clone(object), count: some });
        }
        self.0.retain(|held| held.count > 0);
        Ok(Self(taken))
    }
}

fn check_count(count: u32) -> Call {
    if (1..=COUNT_MAX).contains(&count) { Ok(()) } else { Err(INVALID_VALUE) }
}

fn find(driver: &Driver, handle: u64) -> Call<Arc<UserObject>> {
    driver.objects.get(handle).ok_or(INVALID_VALUE)
}

fn create(out: Out<u64>, data: u64, destroy: Destroy, count: u32, flags: u32) -> Call {
    let driver = driver()?;
    out.required()?;
    check_count(count)?;
    let destroy = destroy.ok_or(INVALID_VALUE)?;
    if flags != NO_DESTRUCTOR_SYNC {
        return Err(INVALID_VALUE);
    }
    // Objects whose last reference was a graph's, or a launch's, lead nowhere any more.
    drop(driver.objects.take(|object| *object.references.lock() == 0));
    let handle = driver.objects.mint();
    let object = UserObject { data, destroy, references: Mutex::new(count.into()) };
    driver.objects.insert(handle, Arc::new(object));
    out.set(handle);
    Ok(())
}

fn retain_for_graph(graph: u64, object: u64, count: u32, flags: u32) -> Call {
    let driver = driver()?;
    let graph = super::find(driver, graph)?;
    let object = find(driver, object)?;
    check_count(count)?;
    match flags {
        0 => object.retain(count)?,
        MOVE => {}
        _ => return Err(INVALID_VALUE),
    }
    graph.lock().references.add(&object, count);
    Ok(())
}

driver_calls! {
    fn cuUserObjectCreate(out: Out<u64>, data: u64, destroy: Destroy, count: u32, flags: u32) {
        create(out, data, destroy, count, flags)
    }
    fn cuUserObjectRetain(object: u64, count: u32) {
        check_count(count)?;
        find(driver()?, object)?.retain(count)
    }
    fn cuUserObjectRelease(object: u64, count: u32) {
        check_count(count)?;
        find(driver()?, object)?.release(count)
    }
    fn cuGraphRetainUserObject(graph: u64, object: u64, count: u32, flags: u32) {
        retain_for_graph(graph, object, count, flags)
    }
    fn cuGraphReleaseUserObject(graph: u64, object: u64, count: u32) {
        let driver = driver()?;
        check_count(count)?;
        let (graph, object) = (super::find(driver, graph)?, find(driver, object)?);
        let taken = graph.lock().references.take(&object, count)?;
        drop(taken);
        Ok(())
    }
}
