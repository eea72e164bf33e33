//! The wish to end, from the keyboard or from the system.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{catalogue::Exit, fault::Fault};

/// Which wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Ctrl-C.
    Keyboard,
    /// SIGTERM.
    Termination,
}

/// All wishes from now on; without this they would end the process at once.
#[derive(Debug)]
pub(crate) struct Interrupts {
    keyboard: Signal,
    termination: Signal,
}

impl Interrupts {
    pub(crate) fn new() -> Result<Self, Fault> {
        let watch =
            |kind| signal(kind).map_err(|cause| Fault::io("cannot watch for signals", &cause));
        Ok(Self {
            keyboard: watch(SignalKind::interrupt())?,
            termination: watch(SignalKind::terminate())?,
        })
    }

    /// The next wish.
    pub(crate) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.keyboard.recv() => Interrupt::Keyboard,
            _ = self.termination.recv() => Interrupt::Termination,
        }
    }
}

/// Ends the process at once, whatever is under way.
#[expect(clippy::exit, reason = "the user does not want to wait any longer")]
pub(crate) fn exit(interrupt: Interrupt) -> ! {
    std::process::exit(match interrupt {
        Interrupt::Keyboard => Exit::Interrupted as i32,
        Interrupt::Termination => Exit::Terminated as i32,
    })
}
