//! Puts what is staged in place of what a peer has.
//!
//! The peer has shut its readers out by then: it grants nothing, and since the claim the table shows no region of which
//! a reader could say, behind its view, that the view was its own. Its applier has nothing left to do; it is given its
//! new state with the report that the peer has its data.
//!
//! What fails on the way costs as little as it can. A stage that is damaged costs the peer: its old data may be gone, and
//! there is no other new one. A failed database ends the store, as it does everywhere, and the next start begins the
//! install again. Anything else the operating system may lack now and have later: stage and claim stay, and the install is
//! begun again after a pause.

use std::time::{Duration, Instant};

use flotilla_base::{KeyRange, PeerId, RegionId};
use flotilla_engine::{EngineError, ReplaceError, StageError};
use flotilla_multiraft::{InstallEffect, SnapshotInput, StageNumber};
use flotilla_telemetry::spawn_or_abort;
use tokio::time::sleep;

use super::Snapshots;
use crate::host::stop;

/// An install that failed for a passing reason is begun again after this.
pub(crate) const INSTALL_PAUSE: Duration = Duration::from_secs(5);

/// What is put in place of what.
#[derive(Debug)]
struct Replacement {
    region: RegionId,
    peer: PeerId,
    clean: KeyRange,
    stage: StageNumber,
}

/// What has become of it.
#[derive(Debug)]
enum Replaced {
    Done,
    /// It may succeed later.
    Later(StageError),
    /// It never will, here.
    Lost(StageError),
    /// The store cannot go on.
    Fatal(EngineError),
}

impl From<Result<(), ReplaceError>> for Replaced {
    fn from(outcome: Result<(), ReplaceError>) -> Self {
        match outcome {
            Ok(()) => Self::Done,
            Err(ReplaceError::Engine(error)) => Self::Fatal(error),
            Err(ReplaceError::Stage(error @ StageError::Damaged { .. })) => Self::Lost(error),
            Err(ReplaceError::Stage(error)) => Self::Later(error),
        }
    }
}

impl Snapshots {
    pub(super) fn install(&self, effect: InstallEffect) {
        let table = self.shared.parts.router.table();
        match effect {
            InstallEffect::Replace { region, peer, clean, stage } => {
                self.replace_soon(Replacement { region, peer, clean, stage });
            }
            InstallEffect::Refused { region, peer, stage } => {
                table.release_claim(region, peer);
                self.claim_ended();
                self.forget(stage);
            }
            InstallEffect::Done { region, peer, stage } => {
                table.installed(&region, peer);
                self.claim_ended();
                self.forget(stage);
            }
        }
    }

    fn replace_soon(&self, replacement: Replacement) {
        self.run("install a snapshot", move |snapshots| snapshots.replace(replacement));
    }

    fn replace(&self, replacement: Replacement) {
        let Replacement { region, peer, stage, .. } = replacement;
        let started = Instant::now();
        let metrics = &self.shared.parts.metrics;
        let replaced = metrics.installing(|| {
            let staged = self.shared.stages.load(stage.0).map_err(ReplaceError::Stage)?;
            self.shared.parts.engine.replace_range(&replacement.clean, &staged)
        });
        let input = match replaced.into() {
            Replaced::Done => {
                let took = started.elapsed();
                metrics.installed(took);
                tracing::info!(region = region.get(), ?took, "a snapshot was installed");
                SnapshotInput::Installed(stage)
            }
            // One region is lost here, and no other; the store goes on.
            Replaced::Lost(error) => {
                tracing::error!(region = region.get(), %error, "a snapshot was lost");
                self.forget(stage);
                SnapshotInput::StageLost(stage)
            }
            Replaced::Later(error) => {
                tracing::warn!(region = region.get(), %error, "a snapshot is not installed yet");
                return self.replace_later(replacement);
            }
            Replaced::Fatal(error) => stop("install a snapshot", &error),
        };
        self.tell(region, peer, input);
    }

    /// Nobody waits for the pause but the peer.
    fn replace_later(&self, replacement: Replacement) {
        self.shared.parts.metrics.install_put_off();
        let snapshots = self.clone();
        let again = async move {
            sleep(snapshots.shared.parts.install_pause).await;
            snapshots.replace_soon(replacement);
        };
        let _ends_with_the_runtime =
            spawn_or_abort(&self.shared.parts.runtime, "snapshot-install", again);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A stage that is given up costs a replica, and a fault of the disk that is passed over costs what was promised.
    #[test]
    fn each_failure_costs_what_it_must() {
        let passing = |kind: io::ErrorKind| {
            let error =
                StageError::Io { action: "link", path: "raw-1.sst".into(), cause: kind.into() };
            Replaced::from(Err(ReplaceError::Stage(error)))
        };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::NotFound] {
            assert!(matches!(passing(kind), Replaced::Later(_)), "{kind:?}");
        }
        let damaged = StageError::Damaged { number: 7, reason: "it has changed".to_owned() };
        let damaged = Replaced::from(Err(ReplaceError::Stage(damaged)));
        assert!(matches!(damaged, Replaced::Lost(_)), "{damaged:?}");
        // What RocksDB says of a full disk.
        let message = "IO error: No space left on device".to_owned();
        let full = EngineError::Fatal { operation: "ingest tables", message };
        let full = Replaced::from(Err(ReplaceError::Engine(full)));
        assert!(matches!(full, Replaced::Fatal(_)), "{full:?}");
        assert!(matches!(Replaced::from(Ok(())), Replaced::Done));
    }
}
