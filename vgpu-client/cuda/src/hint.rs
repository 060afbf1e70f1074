//! Calls that switch something that is not there: they are checked, and nothing more is to be done.

use crate::current;

driver_calls! {
    // Profilers are told to look or not to look; none is attached.
    fn cuProfilerStart() { current::context().map(drop) }
    fn cuProfilerStop() { current::context().map(drop) }
}
