//! Tests against exact integer arithmetic, against the host's own arithmetic, and on known hard cases.

mod arithmetic;
mod convert;
mod exact;
mod functions;
mod half;
mod integer;
