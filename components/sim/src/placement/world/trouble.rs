//! How a world takes what comes from outside.

use std::collections::BTreeMap;

use flotilla_base::{Incarnation, Peer, PeerRole, Region, RegionId, Span, StoreId};
use flotilla_pdcore::{AskedChange, Decided, Input, Wish};
use flotilla_placement::{Answer, Change, Leave, SchedulerPolicy, StorePolicy, rule::RuleEdit};

use super::{BEAT, Event, Word, World};
use crate::judge::Verdict;
use crate::placement::driver::{Asker, Said};
use crate::placement::marks;
use crate::placement::store::{Store, StorePlan};
use crate::placement::trouble::{Place, Trouble};

/// A follower that was away for a moment takes what it lacks within this.
const LAG_MS: u64 = 2_000;
/// The placement driver is away for up to this.
const PD_AWAY_MS: u64 = 20_000;

impl World {
    /// Does something to the cluster now.
    ///
    /// # Errors
    /// A rule is broken by what follows at once.
    pub fn trouble(&mut self, trouble: &Trouble) -> Verdict {
        self.trace(|| trouble.to_string());
        self.last_change = self.now;
        match trouble {
            Trouble::Stop(place) => self.stop_store(*place),
            Trouble::Start(place) => self.start_store(*place),
            Trouble::Slow(place) => self.set_slow(*place, true),
            Trouble::Fast(place) => self.set_slow(*place, false),
            Trouble::Join(plan) => _ = self.add_store((**plan).clone()),
            Trouble::Remove(place) => return self.remove_store(*place),
            Trouble::RestartPd => self.stop_pd(),
            Trouble::Resize(percent) => self.resize(*percent),
            Trouble::Split => {
                let drawn = self.draw_region();
                return drawn.map_or(Ok(()), |id| self.ask_split(id));
            }
            Trouble::Transfer | Trouble::Move => return self.wish(*trouble == Trouble::Move),
            Trouble::Meddle => return self.meddle(),
            Trouble::Weigh(place, leads, data) => {
                let Some(store) = self.store_at(*place) else { return Ok(()) };
                let policy = StorePolicy {
                    leader_weight_permille: *leads,
                    region_weight_permille: *data,
                    ..StorePolicy::default()
                };
                return self.decide(Decided::Store(store, policy));
            }
            Trouble::Set(name, value) => {
                let settings = vec![((*name).to_owned(), value.clone())];
                return self.decide(Decided::Settings(settings));
            }
            Trouble::Schedule(name, places) => {
                let stores = places.iter().filter_map(|place| self.store_at(*place)).collect();
                let policy = SchedulerPolicy { stores, ..SchedulerPolicy::default() };
                return self.decide(Decided::Scheduler(*name, Some(policy)));
            }
            Trouble::Unschedule(name) => return self.decide(Decided::Scheduler(*name, None)),
        }
        Ok(())
    }

    /// Somebody decides something, and asks again where the placement driver is away.
    fn decide(&mut self, decided: Decided) -> Verdict {
        let input = Input::Administer { change: Box::new(decided), ticket: Asker::World };
        let said = self.driver.tell(self.now, input);
        self.note_refusal(&said);
        self.take(said, None, &[])
    }

    fn note_refusal(&mut self, said: &[Said]) {
        let refusal = said.iter().find_map(|word| match word {
            Said::Reply(Asker::World, Err(denied)) => Some(denied.to_string()),
            _ => None,
        });
        if let Some(refusal) = refusal {
            self.around.refusal = Some(refusal);
        }
    }

    /// Why the placement driver has refused what somebody decided, since this was asked last.
    pub const fn take_refusal(&mut self) -> Option<String> {
        self.around.refusal.take()
    }

    /// Somebody changes the placement rules.
    ///
    /// # Errors
    /// A rule of the judges is broken by what follows at once.
    pub fn edit_rules(&mut self, edits: Vec<RuleEdit>) -> Verdict {
        self.last_change = self.now;
        let edited = self.driver.state().map(|state| state.policy().edit_rules(edits));
        match edited {
            Some(Ok(book)) => self.decide(Decided::Rules(Box::new(book))),
            Some(Err(refusal)) => {
                self.around.refusal = Some(refusal.to_string());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Why regions are not as they are to be, each reason once, with the number of regions.
    #[must_use]
    pub fn stuck(&self) -> BTreeMap<String, u64> {
        let mut reasons = BTreeMap::new();
        let Ok(leading) = self.driver.leading(self.now) else { return reasons };
        for (_, idle) in leading.mind().decisions().all_stuck() {
            *reasons.entry(idle.why.clone()).or_default() += 1;
        }
        reasons
    }

    /// The store at this place.
    #[must_use]
    pub fn store_at(&self, place: Place) -> Option<StoreId> {
        self.stores.keys().nth(place).copied()
    }

    /// A store comes and starts; its id. `None` where the placement driver is away.
    pub fn add_store(&mut self, plan: StorePlan) -> Option<StoreId> {
        let input = Input::AllocIds { count: 1, ticket: Asker::World };
        let said = self.driver.tell(self.now, input);
        let id = said.iter().find_map(|word| match word {
            Said::Reply(Asker::World, Ok(Answer::Ids(ids))) => Some(StoreId(ids.first)),
            _ => None,
        });
        let verdict = self.take(said, None, &[]);
        debug_assert!(verdict.is_ok(), "{verdict:?}");
        let id = id?;
        self.stores.insert(id, Store::new(id, plan));
        self.start(id);
        Some(id)
    }

    fn start_store(&mut self, place: Place) {
        let Some(id) = self.store_at(place) else { return };
        if self.stores.get(&id).is_some_and(|store| !store.is_running && !store.is_gone) {
            self.start(id);
        }
    }

    fn start(&mut self, id: StoreId) {
        let now = self.now;
        let Some(store) = self.stores.get_mut(&id) else { return };
        store.start(now);
        let run = store.run;
        self.connect(id, run);
        let delay = self.draw(BEAT.as_millis());
        self.schedule(delay, Event::StoreBeat(id, run));
        // What is on its disk is behind; copies that were under way to it begin anew.
        let held: Vec<(RegionId, Peer)> = self.peers_on(id).collect();
        for (region, peer) in held {
            let Some(model) = self.regions.get_mut(&region) else { continue };
            if model.behind.contains_key(&peer.id) {
                self.bring_data(region, peer);
            } else if model.leader.is_some() {
                let number = model.number();
                model.behind.insert(peer.id, number);
                let delay = self.draw(LAG_MS);
                self.schedule(delay, Event::CaughtUp(region, peer, number));
            }
        }
    }

    fn peers_on(&self, store: StoreId) -> impl Iterator<Item = (RegionId, Peer)> + '_ {
        let on = move |region: &Region| region.peer_on(store).map(|peer| (region.id, peer));
        self.regions.values().filter_map(move |model| on(&model.region))
    }

    /// A store that runs finds the placement driver, or looks again.
    pub(super) fn connect(&mut self, id: StoreId, run: Incarnation) {
        let Some(store) = self.stores.get(&id).filter(|it| it.is_running && it.run == run) else {
            return;
        };
        if !self.driver.is_running() {
            let delay = self.draw(1_000);
            return self.schedule(delay, Event::Reconnect(id, run));
        }
        let store = Box::new(store.record());
        let verdict = self.tell(Input::PutStore { store, ticket: Asker::Nobody });
        debug_assert!(verdict.is_ok(), "{verdict:?}");
        self.schedule(Span::from_millis(1), Event::ToPd(Word::Line(id, run)));
        self.say(id);
        let led = self.regions.values().filter(|it| it.leader().is_some_and(|it| it.store == id));
        let led: Vec<RegionId> = led.map(|it| it.region.id).collect();
        led.into_iter().for_each(|region| self.report(region));
    }

    fn stop_store(&mut self, place: Place) {
        let Some(id) = self.store_at(place) else { return };
        let now = self.now;
        let Some(store) = self.stores.get_mut(&id).filter(|it| it.is_running) else { return };
        store.stop(now);
        let run = store.run;
        let delay = self.draw(1_000);
        self.schedule(delay, Event::ToPd(Word::Broken(id, run)));
        for (region, peer) in self.peers_on(id).collect::<Vec<_>>() {
            let Some(model) = self.regions.get_mut(&region) else { continue };
            if model.leader == Some(peer.id) {
                // What it was sending is given up with it.
                let behind: Vec<_> = model.behind.keys().copied().collect();
                for lacking in behind {
                    let number = model.number();
                    model.behind.insert(lacking, number);
                }
                self.lose_leader(region);
            } else if model.behind.contains_key(&peer.id) {
                let number = model.number();
                model.behind.insert(peer.id, number);
            }
        }
    }

    fn set_slow(&mut self, place: Place, is_slow: bool) {
        let id = self.store_at(place);
        if let Some(store) = id.and_then(|id| self.stores.get_mut(&id)) {
            store.is_slow = is_slow;
            let id = store.id;
            self.say(id);
        }
    }

    /// Whoever says so has stopped it.
    fn remove_store(&mut self, place: Place) -> Verdict {
        let store = self.store_at(place).and_then(|id| self.stores.get(&id));
        let is_stopped = store.is_some_and(|store| !store.is_running);
        if is_stopped { self.drain_store(place) } else { Ok(()) }
    }

    /// A store is to leave, whether it serves meanwhile or not.
    ///
    /// # Errors
    /// A rule is broken by what follows at once.
    pub fn drain_store(&mut self, place: Place) -> Verdict {
        self.last_change = self.now;
        let Some(id) = self.store_at(place) else { return Ok(()) };
        let said = self
            .driver
            .tell(self.now, Input::RemoveStore { id, leave: Leave::Drain, ticket: Asker::World });
        self.note_refusal(&said);
        let is_taken =
            said.iter().any(|word| matches!(word, Said::Reply(Asker::World, Ok(Answer::Done))));
        if is_taken {
            self.mark(marks::REMOVED);
            if let Some(store) = self.stores.get_mut(&id) {
                store.is_gone = true;
            }
        }
        self.take(said, None, &[])
    }

    fn stop_pd(&mut self) {
        if self.driver.is_running() {
            let busy = self.around.judges.knowledge.operators();
            self.around.marks.reach_if(busy > 0, marks::PD_STOPPED_BUSY);
            self.driver.stop();
            self.alarm = flotilla_base::Moment::NEVER;
            self.around.splits.clear();
            self.around.splitting.clear();
            let delay = self.draw(PD_AWAY_MS);
            self.schedule(delay, Event::StartPd);
        }
    }

    pub(super) fn start_pd(&mut self) -> Verdict {
        if self.driver.is_running() {
            return Ok(());
        }
        let said = self.driver.start(self.now);
        self.around.judges.on_run(self.driver.run());
        self.trace(|| "the placement driver starts".to_owned());
        self.take(said, None, &[])?;
        // Lines are broken with the driver; stores open new ones.
        let running: Vec<(StoreId, Incarnation)> =
            self.stores.values().filter(|it| it.is_running).map(|it| (it.id, it.run)).collect();
        for (store, run) in running {
            let delay = self.draw(3_000);
            self.schedule(delay, Event::Reconnect(store, run));
        }
        Ok(())
    }

    /// Regions that nobody leads, or that can commit nothing, stay as large as they are: nobody writes to them.
    fn resize(&mut self, percent: u64) {
        let (rng, stores) = (&mut self.around.rng, &self.stores);
        let is_running = |peer: Peer| stores.get(&peer.store).is_some_and(|it| it.is_running);
        for region in self.regions.values_mut().filter(|it| !it.region.is_guard()) {
            let share = 1 + rng.below(percent);
            if region.leader.is_some() && region.has_majority(is_running) {
                region.size_bytes = (region.size_bytes / 100).saturating_mul(share).max(1);
            }
        }
    }

    /// Learners that are about to come are taken away again; where there is none, members change and change back.
    fn meddle(&mut self) -> Verdict {
        let knowledge = &self.around.judges.knowledge;
        let is_busy = |id: &&RegionId| knowledge.operator(**id).is_some();
        let busy: Vec<RegionId> = self.regions.keys().filter(is_busy).take(4).copied().collect();
        for id in busy {
            let Some(region) = self.regions.get_mut(&id).filter(|it| it.leader.is_some()) else {
                continue;
            };
            let is_learner = |peer: &&Peer| peer.role == PeerRole::Learner;
            let learner = region.region.peers.iter().find(is_learner).copied();
            // Nobody can tell a change that was taken back from one that was never heard of.
            let known = self.around.judges.knowledge.region(id).map(|it| it.region.epoch);
            if learner.is_none() && known != Some(region.region.epoch) {
                continue;
            }
            let conf_ver = region.meddle(learner);
            self.around.judges.on_foreign_change(id, conf_ver);
            self.mark(marks::MEDDLED);
            self.report(id);
        }
        Ok(())
    }

    fn draw_region(&mut self) -> Option<RegionId> {
        let drawn = self.around.rng.below(self.regions.len() as u64);
        let mut regions = self.regions.values().filter(|it| !it.region.is_guard());
        regions.nth(usize::try_from(drawn).unwrap_or(0)).map(|it| it.region.id)
    }

    /// Somebody asks for a lead or a replica elsewhere.
    fn wish(&mut self, is_move: bool) -> Verdict {
        let Some(id) = self.draw_region() else { return Ok(()) };
        let drawn = self.around.rng.below(self.stores.len() as u64);
        let to = self.store_at(usize::try_from(drawn).unwrap_or(0));
        let region = self.regions.get(&id).and_then(|it| it.region.peers.first().copied());
        let (Some(to), Some(first)) = (to, region) else { return Ok(()) };
        let change = match is_move {
            true => Change::MovePeer { from: first.store, to },
            false => Change::TransferLeader(to),
        };
        self.mark(marks::WISH);
        let asked = Box::new(AskedChange { region: id, change, asked_by: "somebody" });
        self.tell(Input::Operate { wish: Wish::Change(asked), ticket: Asker::Nobody })
    }
}
