//! The commands of the binary.

pub(crate) mod info;
pub(crate) mod install;
mod left;
pub(crate) mod run;
#[cfg(test)]
mod scratch;
mod shims;

/// One line for people who asked for more with `VGPU_LOG` (any value but `off`, `error` and `warn`).
pub(crate) fn log(line: std::fmt::Arguments<'_>) {
    let wanted = std::env::var("VGPU_LOG");
    if wanted.is_ok_and(|level| !matches!(level.as_str(), "" | "off" | "error" | "warn")) {
        eprintln!("vgpu-client: {line}");
    }
}
