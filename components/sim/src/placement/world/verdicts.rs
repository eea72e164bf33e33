//! What must hold when nothing happens any more but what the placement driver decides: it comes to an end, by as few moves
//! as it takes, and what it leaves could not be made more even.

use std::collections::BTreeMap;

use flotilla_base::{Peer, PeerRole, Span, StoreId};
use flotilla_placement::{
    MetaState, Policy, Rates, SchedulerName, StoreState, fleet::REPLICA_OVERHEAD_BYTES,
};

use super::World;
use crate::judge::{Verdict, require};
use crate::placement::marks;
use crate::placement::region::ModelRegion;
use crate::placement::summary::Summary;

/// Nothing is decided for so long at the end.
const QUIET: Span = Span::from_millis(3_600_000);
/// A move that is left undone would have gained at most so much of the mean, in hundredths.
const UNDONE_PERCENT: u64 = 5;

/// What a store carries at the end, and what for.
#[derive(Clone, Copy, Debug)]
struct Share {
    weight_bytes: u64,
    leaders: u64,
    /// Thousandths.
    data_weight: u64,
    /// Thousandths.
    lead_weight: u64,
    /// What of `weight_bytes` is data.
    data_bytes: u64,
    takes: bool,
    /// What may come to it before it is full.
    room_bytes: u64,
    heat: u64,
}

/// What was so when the calm began.
#[derive(Clone, Copy, Debug)]
struct Baseline {
    done: Summary,
    /// The least that has to move: bytes in replicas, and leads.
    bytes: u64,
    leads: u64,
    /// Nobody knows the least where stores may not take what they should.
    is_bound: bool,
}

impl World {
    /// From now on nothing happens from outside: waits for the end of all moves, and judges it.
    ///
    /// # Errors
    /// There is no end within `most`, or not a good one.
    pub fn settle(&mut self, most: Span) -> Verdict {
        let baseline = self.baseline();
        let until = self.now + most;
        loop {
            let calm = self.last_change + QUIET;
            if self.next() > calm && !self.is_busy() {
                self.now = self.now.max(calm);
                break;
            }
            let next = self.next();
            require(next <= until, "balance comes to an end", || {
                format!("something was decided at {} still", self.last_change)
            })?;
            self.step()?;
        }
        self.mark(marks::SETTLED);
        self.around.summary.millis = Span(self.now.0).as_millis();
        self.check_regions()?;
        self.check_view()?;
        self.check_moves(baseline)?;
        self.check_heat()?;
        self.check_even()
    }

    /// Whether something goes on that was decided: copies may take longer than the quiet lasts.
    fn is_busy(&self) -> bool {
        self.driver.leading(self.now).is_ok_and(|leading| !leading.operators().is_empty())
    }

    fn shares(&self) -> BTreeMap<StoreId, Share> {
        let usual = Policy::default();
        let state = self.driver.state();
        let policy = state.map_or(&usual, |state| state.policy());
        let mut shares = BTreeMap::new();
        for (store, point) in self.points() {
            let Some(model) = self.stores.get(&store) else { continue };
            let bytes: u64 = self
                .regions
                .values()
                .filter(|it| it.region.peer_on(store).is_some())
                .map(|it| it.size_bytes + REPLICA_OVERHEAD_BYTES)
                .sum();
            let record = state.and_then(|state| state.stores().get(&store));
            let stats = model.stats(point.replicas, point.mib << 20);
            let kept = u64::from(1_000 - policy.settings.low_space_permille.min(1_000));
            let room_bytes =
                stats.available_bytes.saturating_sub(stats.capacity_bytes / 1_000 * kept);
            let is_up = model.is_running && record.is_some_and(|it| it.state == StoreState::Up);
            let own = policy.store(store);
            shares.insert(
                store,
                Share {
                    weight_bytes: bytes,
                    leaders: point.leaders,
                    data_weight: u64::from(own.region_weight_permille),
                    lead_weight: u64::from(own.leader_weight_permille),
                    takes: is_up && room_bytes > 0 && !model.is_slow,
                    room_bytes,
                    data_bytes: bytes - point.replicas * REPLICA_OVERHEAD_BYTES,
                    heat: point.heat,
                },
            );
        }
        shares
    }

    /// The least that has to be copied: data that stores have above their share.
    #[must_use]
    pub fn least_to_copy(&self) -> u64 {
        excess(&self.shares(), |it| it.data_bytes, |it| it.data_weight)
    }

    /// The least that has to move: what stores have above their share.
    fn baseline(&self) -> Baseline {
        let shares = self.shares();
        let total: u64 = shares.values().map(|it| it.weight_bytes).sum();
        let is_free = self.around.judges.knowledge.operators() == 0;
        Baseline {
            done: self.around.summary,
            bytes: excess(&shares, |it| it.weight_bytes, |it| it.data_weight),
            leads: excess(&shares, |it| it.leaders, |it| it.lead_weight),
            is_bound: is_free
                && self.is_plain()
                && shares.values().all(|it| it.takes && it.room_bytes > total),
        }
    }

    /// Whether replicas may be anywhere, and clients ask for nothing: all that is moved is moved for the sake of data.
    fn is_plain(&self) -> bool {
        let is_cold = self.regions.values().all(|it| it.rates == Rates::default());
        is_cold && !self.has_places()
    }

    /// Whether labels of stores say where replicas may be.
    fn has_places(&self) -> bool {
        self.driver.state().map(MetaState::policy).is_some_and(|policy| {
            !policy.settings.locations.labels.is_empty() || !policy.rules.rules().is_empty()
        })
    }

    /// Whether a replica may go from one store to another as far as labels go. Where they matter, only stores of the same
    /// labels are known to be as good as each other.
    fn is_like(&self, from: StoreId, to: StoreId) -> bool {
        let labels = |store| self.stores.get(&store).map(|it| &it.plan.labels);
        !self.has_places() || labels(from) == labels(to)
    }

    /// No store has much more to do than the mean, where load is spread.
    fn check_heat(&self) -> Verdict {
        let state = self.driver.state();
        let is_spread = |state: &MetaState| {
            state.policy().schedulers.contains_key(&SchedulerName::BalanceHotRegion)
        };
        if !state.is_some_and(is_spread) {
            return Ok(());
        }
        let shares = self.shares();
        let limit = heat_limit(&shares);
        let hot = shares.iter().find(|(_, share)| share.takes && share.heat > limit);
        require(hot.is_none(), "no store is hot in the end", || {
            format!("more than {limit} is hot: {hot:?}")
        })
    }

    fn check_moves(&self, baseline: Baseline) -> Verdict {
        if !baseline.is_bound {
            return Ok(());
        }
        let largest = self.regions.values().map(|it| it.size_bytes).max().unwrap_or(0);
        let moved = self.around.summary.moved_bytes - baseline.done.moved_bytes;
        let most = baseline.bytes / 5 * 6 + 2 * (largest + REPLICA_OVERHEAD_BYTES);
        require(moved <= most, "balance moves little more than it must", || {
            format!("{moved} bytes were moved, {} had to be", baseline.bytes)
        })?;
        let transfers = self.around.summary.transfers - baseline.done.transfers;
        let moves = self.around.summary.moves - baseline.done.moves;
        let most = baseline.leads * 6 / 5 + moves + 4;
        require(transfers <= most, "balance moves few more leads than it must", || {
            format!("{transfers} leads were moved, {} had to be", baseline.leads)
        })
    }

    /// No move that is left would have made two stores much more even.
    fn check_even(&self) -> Verdict {
        let shares = self.shares();
        let takers: Vec<&Share> = shares.values().filter(|share| share.takes).collect();
        let mean = |load: fn(&Share) -> u64, weight: fn(&Share) -> u64| {
            let scores = takers.iter().filter(|it| weight(it) > 0);
            let sum: u64 = scores.clone().map(|it| load(it) * 1_000 / weight(it)).sum();
            sum / (scores.count() as u64).max(1)
        };
        let margins = (
            mean(|it| it.weight_bytes, |it| it.data_weight) * UNDONE_PERCENT / 100,
            mean(|it| it.leaders, |it| it.lead_weight) * UNDONE_PERCENT / 100,
        );
        for region in self.regions.values() {
            let weight = region.size_bytes + REPLICA_OVERHEAD_BYTES;
            let shape = &region.region;
            let is_calm = shape.peers.iter().all(|peer| self.is_running(*peer));
            if !is_calm || region.leader.is_none() {
                continue;
            }
            for peer in &shape.peers {
                self.check_replica(&shares, (region, *peer), weight, margins.0)?;
            }
            let leader = region.leader().unwrap_or_default();
            let lead = |share: &Share| (share.leaders, share.lead_weight);
            let heat = region.rates.lead_heat();
            for heir in shape.peers.iter().filter(|it| it.id != leader.id) {
                let (from, to) = (&shares[&leader.store], &shares[&heir.store]);
                let is_cool = heat == 0 || to.heat + heat <= heat_limit(&shares);
                let gain = gain(lead(from), lead(to), 1).filter(|_| to.takes && is_cool);
                let is_even =
                    heir.role == PeerRole::Learner || gain.is_none_or(|gain| gain <= margins.1);
                require(is_even, "leads are even in the end", || {
                    format!("{from:?} leads {shape:?}, and {to:?} could")
                })?;
            }
        }
        Ok(())
    }

    fn check_replica(
        &self,
        shares: &BTreeMap<StoreId, Share>,
        (region, peer): (&ModelRegion, Peer),
        weight: u64,
        margin: u64,
    ) -> Verdict {
        let Some(from) = shares.get(&peer.store) else { return Ok(()) };
        let shape = &region.region;
        let (limit, heat) = (heat_limit(shares), region.heat_on(peer));
        let data = |share: &Share| (share.weight_bytes, share.data_weight);
        for (store, to) in shares {
            let gain = gain(data(from), data(to), weight);
            let could = to.takes
                && weight <= to.room_bytes
                && shape.peer_on(*store).is_none()
                && self.is_like(peer.store, *store)
                && (heat == 0 || to.heat + heat <= limit);
            let is_left = could && gain.is_some_and(|gain| gain > margin);
            require(!is_left, "data is even in the end", || {
                format!("{from:?} has {weight} bytes of {shape:?}, and {to:?} on {store} could")
            })?;
        }
        Ok(())
    }

    /// Every region is as it should be: led, whole and in no state between two.
    fn check_regions(&self) -> Verdict {
        for region in self.regions.values() {
            let shape = &region.region;
            let has_majority = region.has_majority(|peer| self.is_running(peer));
            require(
                region.leader.is_some() || !has_majority,
                "regions are led in the end",
                || format!("{region:?}"),
            )?;
            let is_plain = shape.peers.iter().all(|it| it.role == PeerRole::Voter);
            let is_plain = is_plain && shape.peers.len() == self.wanted(shape);
            require(is_plain || !has_majority, "regions are whole in the end", || {
                format!("{region:?}")
            })?;
        }
        Ok(())
    }

    /// The placement driver shows what is true, in the words of those who reported it.
    fn check_view(&self) -> Verdict {
        let Ok(leading) = self.driver.leading(self.now) else {
            return require(false, "a placement driver that runs leads", || {
                "it does not".to_owned()
            });
        };
        for info in leading.regions().iter() {
            self.around.judges.check_shown(&info.region)?;
        }
        for region in self.regions.values().filter(|it| it.leader.is_some()) {
            let shown = leading.regions().by_id(region.region.id).map(|info| &info.region);
            require(shown == Some(&region.region), "the view is true in the end", || {
                format!("{shown:?} is shown of {:?}", region.region)
            })?;
        }
        Ok(())
    }
}

/// What stores have above their share, all together; all of it where they take nothing.
fn excess(
    shares: &BTreeMap<StoreId, Share>,
    load: fn(&Share) -> u64,
    weight: fn(&Share) -> u64,
) -> u64 {
    let total: u64 = shares.values().map(load).sum();
    let weights: u64 = shares.values().filter(|share| share.takes).map(weight).sum();
    let above = |share: &Share| {
        let part = u128::from(total) * u128::from(weight(share)) / u128::from(weights.max(1));
        let part = if share.takes { u64::try_from(part).unwrap_or(u64::MAX) } else { 0 };
        load(share).saturating_sub(part)
    };
    shares.values().map(above).sum()
}

/// A store with more is hot: a fifth above the mean, or what any store can bear.
fn heat_limit(shares: &BTreeMap<StoreId, Share>) -> u64 {
    const BEARABLE: u64 = 1_000;
    let takers = shares.values().filter(|share| share.takes);
    let (sum, count) = takers.fold((0, 0), |(sum, count), it| (sum + it.heat, count + 1));
    BEARABLE.max(sum * 6 / 5 / count.max(1))
}

/// By how much the first carries more than the second, behind a move of `moved`, for their weights; `None` where it does not.
fn gain(from: (u64, u64), to: (u64, u64), moved: u64) -> Option<u64> {
    let score = |load: u64, weight: u64| (load * 1_000).checked_div(weight);
    let to = score(to.0 + moved, to.1)?;
    let from = score(from.0.checked_sub(moved)?, from.1).unwrap_or(u64::MAX);
    from.checked_sub(to)
}
