//! The engine that hosts embed: sessions, broker, device trait, software GPU.
#![deny(unsafe_code)]

pub mod broker;
pub mod device;
pub mod lease;
pub mod metrics;
pub mod session;
