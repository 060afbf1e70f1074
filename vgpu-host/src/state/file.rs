//! The form of the state file: a line of JSON that says what follows, and the state as JSON.
//!
//! The first line has the SHA-256 of everything behind it. A file that was cut off, or changed by hand, is noticed so; a
//! quarantine must not be forgotten because a disk lost a page.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::State;

/// Changes when an older host could not read the file.
const VERSION: u32 = 1;
const FORMAT: &str = "vgpu-state";

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    sha256: String,
}

/// The file of a state.
pub(super) fn encode(state: &State) -> Vec<u8> {
    let mut body = serde_json::to_vec_pretty(state).expect("maps by names and numbers are JSON");
    body.push(b'\n');
    let header = Header { format: FORMAT.into(), version: VERSION, sha256: digest(&body) };
    let mut file = serde_json::to_vec(&header).expect("texts and numbers are JSON");
    file.push(b'\n');
    file.append(&mut body);
    file
}

/// The state of a file, or what is wrong with it.
pub(super) fn decode(file: &[u8]) -> Result<State, String> {
    let end = file.iter().position(|byte| *byte == b'\n').ok_or("its first line has no end")?;
    let (header, body) = (&file[..end], &file[end + 1..]);
    let header: Header =
        serde_json::from_slice(header).map_err(|error| format!("its first line: {error}"))?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(format!("it is of version {} of {:?}", header.version, header.format));
    }
    if header.sha256 != digest(body) {
        return Err("its SHA-256 is another one".into());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
