//! When a worker enters its sandbox: in steps, each as early as its device allows.
//!
//! A greeting may make the worker execute its own program again ([`super::resume`]), and a card's driver asks the system for
//! more while it starts than it does later. So the software GPU's worker closes everything between the greeting and the opening
//! of its device. A card's closes files before the driver starts, because Landlock does not reach threads that are there, and
//! calls once the device is ready. No command of a guest is read before the last step.

use super::greet::GreetError;
use super::sandbox::{Purpose, Sandbox, SandboxError};
use crate::wire::DeviceSetup;

const fn purpose(device: &DeviceSetup) -> Purpose {
    match device {
        DeviceSetup::Soft { .. } => Purpose::Software,
        DeviceSetup::Cuda(_) => Purpose::Card,
    }
}

/// Before anything is started.
pub(super) fn first(sandbox: &Sandbox, device: &DeviceSetup) -> Result<(), SandboxError> {
    super::dispatch::processors();
    sandbox.give_up_rights()?;
    match purpose(device) {
        Purpose::Software => Ok(()),
        Purpose::Card => sandbox.close_files(Purpose::Card),
    }
}

/// After the greeting, before the session's device is opened.
pub(super) fn greeted(sandbox: &Sandbox, device: &DeviceSetup) -> Result<(), GreetError> {
    let closed = match purpose(device) {
        Purpose::Software => {
            sandbox.close_files(Purpose::Software).and_then(|()| sandbox.close_calls(Purpose::Software))
        }
        Purpose::Card => Ok(()),
    };
    closed.map_err(refused)
}

/// After the device was opened, before the guest is told.
pub(super) fn opened(sandbox: &Sandbox, device: &DeviceSetup) -> Result<(), GreetError> {
    let closed = match purpose(device) {
        Purpose::Software => Ok(()),
        Purpose::Card => sandbox.close_calls(Purpose::Card),
    };
    closed.map_err(refused)
}

/// A worker that cannot be confined serves nobody.
pub(super) fn refused(error: SandboxError) -> GreetError {
    GreetError::no_device(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Card;
    use crate::wire::HandshakeFailure;
    use crate::worker::sandbox::{Survey, WORKER_UID_FIRST, Wanted};

    #[test]
    fn who_cannot_be_confined_is_turned_away_with_the_reason() {
        // A test has threads, so it cannot enter; and a process that could would not come back from it.
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || held.recv());
        let survey = Survey::new(Wanted::Auto, WORKER_UID_FIRST, Purpose::Software, None).unwrap();
        let error = first(&survey.sandbox, &DeviceSetup::Cuda(Card::Number(0))).unwrap_err();
        let error = refused(error);
        assert_eq!(error.failure, HandshakeFailure::Device);
        assert!(error.text.contains("one thread"), "{}", error.text);
        drop(hold);
        assert!(thread.join().unwrap().is_err());
    }
}
