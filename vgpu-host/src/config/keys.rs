//! The settings of a tenant, each of which may be said in three places: in a profile, by the tenant itself, and at run time.
//!
//! The later place overrides the earlier one, key by key ([`TenantKeys::over`]). All three have one form and are checked by
//! one function, so nothing that the configuration may not say can be said at run time.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Declares the settings, and what is done with each of them.
macro_rules! tenant_keys {
    ($($(#[doc = $doc:literal])+ $key:ident: $type:ty,)+) => {
        /// The settings of a tenant. What is absent comes from the place that this one overrides, and else from the default.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
        pub struct TenantKeys {
            $(
                $(#[doc = $doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $key: Option<$type>,
            )+
        }

        impl TenantKeys {
            /// The name of each setting.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($key)),+];

            /// These settings, and what they do not say as `below` says it.
            #[must_use]
            pub fn over(&self, below: &Self) -> Self {
                Self { $($key: self.$key.clone().or_else(|| below.$key.clone()),)+ }
            }

            /// The names of what is said here.
            pub fn said(&self) -> Vec<&'static str> {
                let mut names = vec![];
                $(if self.$key.is_some() { names.push(stringify!($key)); })+
                names
            }
        }
    };
}

tenant_keys! {
    /// Device memory over all its sessions, in bytes, 1 to the memory of its GPU. Has no default.
    memory_bytes: u64,
    /// Pinned memory over all its sessions, in bytes, 1 to 64 GiB. Default: 1 GiB.
    pinned_bytes: u64,
    /// Memory of the host in which images of its programs (modules and libraries of more than 1 MiB) are kept from one session
    /// to the next, in bytes, 0 to 16 GiB; at most 256 images. Default: 256 MiB. With 0 each session sends its images anew;
    /// with more than the images that the tenant uses take there is no further gain. The memory is taken as images come and
    /// stays taken while the host runs.
    images_bytes: u64,
    /// Sessions at once, from 1. Default, and at most: [`vgpu_proto::limits::TENANT_SESSIONS_MAX`].
    sessions_max: u32,
    /// What the tenant counts beside others of its GPU, 1 to 10,000: two that both want the GPU all the time get it in the
    /// ratio of their weights. Default: 100. A tenant of weight 1 beside one of 10,000 hardly runs.
    weight: u32,
    /// `batch` or `latency`. Default: `batch`. The latency class is served in short leases, before the others and interrupting
    /// them, and gets no more GPU time for it; each arrival may cost the others a switch.
    class: ClassName,
    /// Share of its GPU that the tenant gets at least while it has work, whatever its weight: 0.000001 to 1, or `none`.
    /// Default: `none`. All reservations on a GPU together may not pass its `scheduler.reservable`.
    reservation: Setting<f64>,
    /// Share of its GPU that the tenant gets at most, even alone: 0.000001 to 1, or `none`. Default: `none`. Not below the
    /// reservation. A small one leaves the GPU unused where nobody else wants it.
    cap: Setting<f64>,
    /// GPU time that the tenant may take at once after a pause, beyond its cap, in milliseconds, 0 to 60,000; only with a cap.
    /// Default: 100. With 0 every lease is followed by a pause; with much the cap shows only in the long run.
    cap_burst_ms: u64,
    /// Kernels and graphs launched in a second, from 1, or `none`. Default: `none`. Small ones slow down programs of many
    /// small kernels and no others.
    launches_per_s: Setting<u64>,
    /// Launches at once after a pause, from 1; only with `launches_per_s`. Default: those of one second. With 1 launches come
    /// evenly spread; with many they pass as they come until the rate has been passed for long.
    launches_burst: u64,
    /// Bytes copied in a second, between host and device and on the device, from 1, or `none`. Default: `none`.
    bytes_per_s: Setting<u64>,
    /// Bytes at once after a pause, from 1; only with `bytes_per_s`. Default: those of one second. A larger copy waits until
    /// so many are there, and what it takes beyond them is owed.
    bytes_burst: u64,
    /// Sessions that begin in a second, from 1, or `none`. Default: `none`. One that comes too early is refused and told when
    /// to try again. Each session costs the host a process, so a rate bounds what a tenant that connects in a loop costs.
    sessions_per_s: Setting<u64>,
    /// Sessions that begin at once after a pause, from 1; only with `sessions_per_s`. Default: those of one second.
    sessions_burst: u64,
    /// Calls in a second that take the host's time without the GPU (memory, modules, contexts), from 1, or `none`. Default:
    /// `none`. Small ones slow down the start of programs and those that allocate in a loop.
    control_calls_per_s: Setting<u64>,
    /// Such calls at once after a pause, from 1; only with `control_calls_per_s`. Default: those of one second.
    control_calls_burst: u64,
    /// How long a kernel may run while others wait, in milliseconds, 1 to 600,000. Default: 10,000. Short ones kill honest
    /// work, long ones let a kernel that never ends spoil its neighbours' time.
    max_kernel_ms: u64,
    /// Contexts of a session, from 1. Default, and at most: [`vgpu_proto::limits::CONTEXTS_MAX`].
    contexts_max: u32,
    /// Streams of a session, each context's legacy stream included, from 1. Default, and at most:
    /// [`vgpu_proto::limits::STREAMS_MAX`].
    streams_max: u32,
    /// Events of a session, from 1. Default, and at most: [`vgpu_proto::limits::EVENTS_MAX`].
    events_max: u32,
    /// Modules of a session, from 1. Default, and at most: [`vgpu_proto::limits::MODULES_MAX`].
    modules_max: u32,
    /// Functions of a session, from 1. Default, and at most: [`vgpu_proto::limits::FUNCTIONS_MAX`].
    functions_max: u32,
    /// Shared regions of a session, two of which it needs itself, from 8. Default, and at most:
    /// [`vgpu_proto::limits::REGIONS_MAX`]. A program that pins memory of its own needs one for each piece.
    regions_max: u32,
}

/// The name of a latency class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the scheduler knows these two")]
pub enum ClassName {
    /// Long leases.
    Batch,
    /// Short leases, before the others'.
    Latency,
}

/// A limit or a guarantee that may also be lifted: a number, or the word `none`. So a later place can take away what an
/// earlier one says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is none or one")]
pub enum Setting<T> {
    /// There is none.
    Nothing,
    /// This.
    Value(T),
}

impl<T> Setting<T> {
    /// The number, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Nothing => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// The word for [`Setting::Nothing`].
const NOTHING: &str = "none";

impl<T: Serialize> Serialize for Setting<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_str(NOTHING),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

/// A number of a [`Setting`], from whichever kind of number a file's format has.
trait Number: Sized {
    const EXPECTED: &'static str;
    fn from_integer(number: u64) -> Self;
    fn from_float(number: f64) -> Option<Self>;
}

impl Number for u64 {
    const EXPECTED: &'static str = "a whole number or \"none\"";
    fn from_integer(number: u64) -> Self {
        number
    }
    fn from_float(_: f64) -> Option<Self> {
        None
    }
}

impl Number for f64 {
    const EXPECTED: &'static str = "a number or \"none\"";
    fn from_integer(number: u64) -> Self {
        number as f64
    }
    fn from_float(number: f64) -> Option<Self> {
        Some(number)
    }
}

struct SettingVisitor<T>(std::marker::PhantomData<T>);

impl<T: Number> Visitor<'_> for SettingVisitor<T> {
    type Value = Setting<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Setting::Value(T::from_integer(number)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let wrong = || E::invalid_value(de::Unexpected::Signed(number), &self);
        u64::try_from(number).map(|number| Setting::Value(T::from_integer(number))).map_err(|_| wrong())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        let wrong = || E::invalid_value(de::Unexpected::Float(number), &self);
        T::from_float(number).map(Setting::Value).ok_or_else(wrong)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == NOTHING {
            return Ok(Setting::Nothing);
        }
        Err(E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

macro_rules! deserialize_setting {
    ($($number:ty),+) => {$(
        impl<'de> Deserialize<'de> for Setting<$number> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(SettingVisitor(std::marker::PhantomData::<$number>))
            }
        }
    )+};
}

deserialize_setting!(u64, f64);
