//! The wish to end, from the keyboard or from the system.

use std::{fs, future::pending};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{catalogue::Exit, fault::Fault};

/// Which wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Ctrl-C.
    Keyboard,
    /// SIGTERM, or SIGHUP: the terminal was closed.
    Termination,
}

impl Interrupt {
    /// How a program ends that is broken off by it.
    pub(crate) const fn exit(self) -> Exit {
        match self {
            Self::Keyboard => Exit::Interrupted,
            Self::Termination => Exit::Terminated,
        }
    }
}

/// All wishes from now on; without this they would end the process at once.
#[derive(Debug)]
pub(crate) struct Interrupts {
    keyboard: Signal,
    termination: Signal,
    /// `None` where hangups are to be ignored.
    hangup: Option<Signal>,
}

impl Interrupts {
    pub(crate) fn new() -> Result<Self, Fault> {
        let watch =
            |kind| signal(kind).map_err(|cause| Fault::io("cannot watch for signals", &cause));
        Ok(Self {
            keyboard: watch(SignalKind::interrupt())?,
            termination: watch(SignalKind::terminate())?,
            hangup: (!is_hangup_ignored()).then(|| watch(SignalKind::hangup())).transpose()?,
        })
    }

    /// The first wish.
    pub(crate) async fn first(&mut self) -> Interrupt {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.keyboard.recv() => Interrupt::Keyboard,
            _ = self.termination.recv() => Interrupt::Termination,
            _ = hangup => Interrupt::Termination,
        }
    }

    /// Another wish, of somebody who does not want to wait for the end. A hangup is none: a terminal that
    /// is closed sends several.
    pub(crate) async fn again(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.keyboard.recv() => Interrupt::Keyboard,
            _ = self.termination.recv() => Interrupt::Termination,
        }
    }
}

/// Whether this process was started by `nohup` or the like, and is to outlive its terminal.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok());
    // The lowest bit stands for signal 1, which is SIGHUP.
    ignored.is_some_and(|signals| signals & 1 == 1)
}

/// Ends the process at once, whatever is under way.
#[expect(clippy::exit, reason = "the user does not want to wait any longer")]
pub(crate) fn exit(interrupt: Interrupt) -> ! {
    std::process::exit(interrupt.exit() as i32);
}
