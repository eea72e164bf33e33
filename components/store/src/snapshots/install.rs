//! Puts what is staged in place of what a peer has.
//!
//! The peer has shut its readers out by then: it grants nothing, and since the claim the table shows no region of which
//! a reader could say, behind its view, that the view was its own. Its applier has nothing left to do; it is given its
//! new state with the report that the peer has its data.

use std::time::Instant;

use flotilla_base::{KeyRange, PeerId, RegionId};
use flotilla_engine::ReplaceError;
use flotilla_multiraft::{InstallEffect, SnapshotInput, StageNumber};

use super::Snapshots;
use crate::host::stop;

impl Snapshots {
    pub(super) fn install(&self, effect: InstallEffect) {
        let table = self.shared.parts.router.table();
        match effect {
            InstallEffect::Replace { region, peer, clean, stage } => {
                self.run("install a snapshot", move |snapshots| {
                    snapshots.replace(region, peer, &clean, stage);
                });
            }
            InstallEffect::Refused { region, peer, stage } => {
                table.write().release_claim(region, peer);
                self.claim_ended();
                self.forget(stage);
            }
            InstallEffect::Done { region, peer, stage } => {
                table.write().installed(&region, peer);
                self.claim_ended();
                self.forget(stage);
            }
        }
    }

    fn replace(&self, region: RegionId, peer: PeerId, clean: &KeyRange, stage: StageNumber) {
        let started = Instant::now();
        let metrics = &self.shared.parts.metrics;
        let replaced = metrics.installing(|| {
            let staged = self.shared.stages.load(stage.0).map_err(ReplaceError::Stage)?;
            self.shared.parts.engine.replace_range(clean, &staged)
        });
        let input = match replaced {
            Ok(()) => {
                let took = started.elapsed();
                metrics.installed(took);
                tracing::info!(region = region.get(), ?took, "a snapshot was installed");
                SnapshotInput::Installed(stage)
            }
            // One region is lost here, and no other; the store goes on.
            Err(ReplaceError::Stage(error)) => {
                tracing::error!(region = region.get(), %error, "a snapshot was lost");
                self.forget(stage);
                SnapshotInput::StageLost(stage)
            }
            Err(error) => stop("install a snapshot", &error),
        };
        self.tell(region, peer, input);
    }
}
