//! Plans that make a rare situation common. A swarm draws everything and meets each of these once in
//! thousands of runs; here only the details are drawn.

use flotilla_base::{Rng, Span, StoreId};

use super::{Costs, DiskPlan, FaultFamily, FaultPlan, LoadPlan, Phases, Plan, Topology};
use crate::ambush::Ambush;
use crate::changes::ChangePlan;
use crate::fault::{Order, Strike};
use crate::partition::Shape;
use crate::pd::plan::PdFaultPlan;
use crate::pd::{PdFamily, PdPlan};
use crate::reads::ReadPlan;
use crate::snapshots::SnapshotPlan;
use crate::splits::SplitPlan;

/// What is made common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Leads are handed over all the time, successors are told late, and leaders fall silent meanwhile.
    HandOvers,
    /// A leader stands still for longer than its lease while clients wait for it.
    Sleepers,
    /// One voter, and learners that hear it.
    LoneVoters,
    /// All stores stand still at once: the machine that they share sleeps.
    Suspended,
    /// One disk at a time hangs for long.
    HungDisks,
    /// Leaders are cut off as soon as they lead, with entries that nobody else has.
    Usurpers,
    /// Members of the placement driver whose wall clocks are an hour apart take over from each other.
    WrongClocks,
    /// Regions are split while some of their stores are far behind with what they apply, and clients read in place.
    Splits,
    /// Members change all the time, several of them together, and whoever leads is cut off or crashes.
    Memberships,
    /// Members are removed and come back to the same store, also to regions that were split meanwhile, while what the old
    /// ones left waits to be deleted.
    Returns,
    /// Stores lose their power right after they start, again and again.
    Stumbles,
}

impl Situation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::HandOvers,
        Self::Sleepers,
        Self::LoneVoters,
        Self::Suspended,
        Self::HungDisks,
        Self::Usurpers,
        Self::WrongClocks,
        Self::Splits,
        Self::Memberships,
        Self::Returns,
        Self::Stumbles,
    ];

    /// So many of them take turns: the first ones.
    const IN_TURN: usize = 8;

    /// What a seed is about, where it is no swarm: every fourth seed is for one of the first eight, in turn; three of
    /// sixteen are for members, and one of sixteen more for splits: what goes wrong there needs several things at once.
    /// One of 32 is for members that come back, and one for stores that stumble.
    #[must_use]
    pub fn of(seed: u64) -> Option<Self> {
        match seed % 32 {
            2 | 10 | 14 | 18 | 26 | 30 => Some(Self::Memberships),
            7 | 23 => Some(Self::Splits),
            3 => Some(Self::Returns),
            19 => Some(Self::Stumbles),
            other if other % 4 == 0 => {
                let turn = usize::try_from(seed / 4).unwrap_or(0) % Self::IN_TURN;
                Some(Self::ALL[turn])
            }
            _ => None,
        }
    }

    /// A plan in which it is common.
    #[must_use]
    pub fn plan(self, seed: u64) -> Plan {
        let mut rng = Rng::lane(seed, 10);
        let base = common(seed, &mut rng);
        match self {
            Self::HandOvers => hand_overs(base, &mut rng),
            Self::Sleepers => sleepers(base, &mut rng),
            Self::LoneVoters => lone_voters(base, &mut rng),
            Self::Suspended => suspended(base, &mut rng),
            Self::HungDisks => hung_disks(base, &mut rng),
            Self::Usurpers => usurpers(base),
            Self::WrongClocks => wrong_clocks(base, &mut rng),
            Self::Splits => splits(base, &mut rng),
            Self::Memberships => memberships(base, &mut rng),
            Self::Returns => returns(base, &mut rng),
            Self::Stumbles => stumbles(base, &mut rng),
        }
    }
}

const fn millis(count: u64) -> Span {
    Span::from_millis(count)
}

fn pick<const N: usize>(rng: &mut Rng, choices: [u64; N]) -> u64 {
    choices[usize::try_from(rng.below(N as u64)).unwrap_or(0)]
}

fn between(rng: &mut Rng, (least, most): (u64, u64)) -> Span {
    Span(millis(least).0 + rng.below(millis(most - least).0))
}

/// A small cluster under load for so long as the first phase lasts.
fn common(seed: u64, rng: &mut Rng) -> Plan {
    let mut plan = Plan::calm(seed);
    plan.net.delay_spread = Span::from_micros(pick(rng, [0, 300, 5_000]));
    plan.load = LoadPlan {
        clients: 4 + rng.below(4),
        operations: u64::MAX,
        keys: 1 + rng.below(3),
        think_max: millis(pick(rng, [10, 50])),
        patience: millis(pick(rng, [100, 300])),
        ..plan.load
    };
    plan.disk.snapshots = SnapshotPlan::swarm(seed);
    plan.groups.limits.log = SnapshotPlan::swarm_log(seed);
    plan.phases.safety = millis(20_000);
    plan.faults.length_max = millis(1_000);
    plan
}

/// Strikes of one length each, one after the other, until the first phase ends.
fn series(
    plan: &Plan,
    rng: &mut Rng,
    (pause, length): ((u64, u64), (u64, u64)),
    orders: impl Fn(&mut Rng) -> Vec<Order>,
) -> Vec<Strike> {
    let mut strikes = Vec::new();
    let mut after = millis(1_000);
    loop {
        after = after + between(rng, pause);
        if after >= plan.phases.safety {
            return strikes;
        }
        let length = between(rng, length);
        let orders = orders(rng).into_iter();
        strikes.extend(orders.map(|order| Strike { after, order, length }));
        after = after + length;
    }
}

fn any_store(rng: &mut Rng) -> StoreId {
    StoreId(1 + rng.below(3))
}

fn hand_overs(mut plan: Plan, rng: &mut Rng) -> Plan {
    plan.reads = ReadPlan {
        in_place_permille: 700,
        replica_permille: 0,
        pause_max: millis(pick(rng, [0, 300])),
        transfer_interval: millis(pick(rng, [2_500, 5_000])),
        late_permille: 900,
    };
    // Where nobody writes the log does not grow, and a late hand-over looks like one that was just sent.
    plan.load.think_max = millis(pick(rng, [50, 1_500]));
    plan.faults.ambush = Some(Ambush::HandOver);
    plan.phases.safety = millis(40_000);
    plan
}

fn sleepers(mut plan: Plan, rng: &mut Rng) -> Plan {
    // A thread that reads goes on before the replica has seen what it missed.
    plan.disk.turn_spread = millis(2);
    plan.net.delay_min = millis(pick(rng, [1, 50]));
    let pause_max = millis(pick(rng, [0, 900]));
    plan.reads = ReadPlan { in_place_permille: 900, pause_max, ..ReadPlan::calm() };
    plan.load = LoadPlan { clients: 8, keys: 1, patience: millis(3_000), ..plan.load };
    plan.faults.families = vec![FaultFamily::Pause];
    (plan.faults.interval, plan.faults.length_max) = (millis(3_000), millis(2_500));
    plan.phases.safety = millis(40_000);
    if rng.chance(500) {
        // Reads that need a round, at a leader that hears nothing but answers to rounds that are long over.
        plan.reads.in_place_permille = 200;
        plan.faults.families = vec![FaultFamily::Cut];
        plan.faults.shapes = vec![Shape::Alone];
        (plan.net.straggler_permille, plan.net.straggler_max) = (200, millis(3_000));
    }
    plan
}

fn lone_voters(mut plan: Plan, rng: &mut Rng) -> Plan {
    plan.disk.sync_spread = millis(pick(rng, [1, 20]));
    plan.topology = Topology { replicas: 1, learners: 1 + rng.below(2), ..plan.topology };
    plan.faults.strikes =
        series(&plan, rng, ((10, 500), (1, 300)), |rng| vec![Order::Crash(any_store(rng), 0)]);
    plan
}

fn suspended(mut plan: Plan, rng: &mut Rng) -> Plan {
    // Writes are under way when it begins.
    plan.disk = DiskPlan { sync_min: millis(pick(rng, [1, 30, 50])), ..plan.disk };
    plan.load.patience = millis(2_000);
    // Shorter ones are no stall for a campaign that was due in the middle of them.
    plan.faults.strikes = series(&plan, rng, ((2_000, 5_000), (1_200, 6_000)), |_| {
        (1..=3).map(|store| Order::Pause(StoreId(store))).collect()
    });
    // They wake up at the same moment.
    plan.faults.costs.is_lead_kept = true;
    plan
}

fn hung_disks(mut plan: Plan, rng: &mut Rng) -> Plan {
    plan.phases = Phases { safety: millis(50_000), ..plan.phases };
    plan.faults.strikes = series(&plan, rng, ((1_000, 3_000), (8_000, 9_000)), |rng| {
        vec![Order::Hang(any_store(rng))]
    });
    plan.faults.costs = Costs { silence_max: millis(7_000), ..Costs::default() };
    plan
}

fn usurpers(mut plan: Plan) -> Plan {
    // One entry at a time.
    plan.groups.limits.message_bytes_max = 0;
    plan.groups.limits.inflight_messages_max = 1;
    plan.faults = FaultPlan { ambush: Some(Ambush::Usurp), ..plan.faults };
    plan.phases.safety = millis(30_000);
    plan
}

fn wrong_clocks(mut plan: Plan, rng: &mut Rng) -> Plan {
    plan.pd = PdPlan {
        members: pick(rng, [1, 1, 3]),
        operations: 2_000,
        think_max: millis(5),
        patience: millis(300),
        pause_max: millis(pick(rng, [0, 900])),
        faults: PdFaultPlan {
            families: vec![PdFamily::Clock, PdFamily::Clock, PdFamily::Hang],
            interval: millis(600),
            length_max: millis(600),
            jump_max: millis(3_600_000),
        },
        ..PdPlan::calm()
    };
    plan.disk.sync_min = millis(pick(rng, [1, 30]));
    plan.phases.safety = millis(40_000);
    plan.load = LoadPlan { clients: 1, think_max: millis(1_000), ..plan.load };
    plan
}

fn splits(mut plan: Plan, rng: &mut Rng) -> Plan {
    // A child may be led elsewhere a gate and an election later: an applier must be further behind than that.
    plan.disk.apply_spread = millis(pick(rng, [300, 2_500, 5_000]));
    let pause_max = millis(pick(rng, [0, 300]));
    plan.reads = ReadPlan { in_place_permille: 900, pause_max, ..ReadPlan::calm() };
    plan.splits = SplitPlan { interval: millis(700), count_max: 60 };
    plan.load = LoadPlan { clients: 8, keys: 12, read_permille: 600, ..plan.load };
    plan
}

fn memberships(mut plan: Plan, rng: &mut Rng) -> Plan {
    let (stores, replicas) =
        [(3, 3), (4, 3), (5, 3), (5, 5)][usize::try_from(rng.below(4)).unwrap_or(0)];
    let changes = ChangePlan {
        interval: millis(pick(rng, [300, 1_000])),
        count_max: 200,
        joint_permille: pick(rng, [200, 800]),
        remove_permille: pick(rng, [0, 50, 200]),
        has_additions: rng.chance(500),
        return_permille: 0,
    };
    plan.topology = Topology { stores, replicas, changes, ..plan.topology };
    plan.splits = SplitPlan { interval: millis(pick(rng, [2_000, 6_000])), count_max: 12 };
    plan.groups.limits.promotion_lag_max = pick(rng, [0, 4]);
    plan.net.delay_spread = millis(pick(rng, [0, 20]));
    plan.disk.apply_spread = millis(pick(rng, [0, 10, 200]));
    plan.faults.families = vec![FaultFamily::Cut, FaultFamily::Crash];
    plan.faults.shapes = vec![Shape::Alone, Shape::Half, Shape::Hottest];
    (plan.faults.interval, plan.faults.length_max) = (millis(1_500), millis(2_500));
    plan.phases.safety = millis(30_000);
    if rng.chance(400) {
        // A network breaks in halves between the two entries of a joint change: they take long, and come often.
        let changes = &mut plan.topology.changes;
        (changes.joint_permille, changes.interval) = (1_000, millis(300));
        plan.net.delay_min = millis(pick(rng, [60, 150]));
        (plan.faults.families, plan.faults.shapes) = (vec![FaultFamily::Cut], vec![Shape::Half]);
        plan.phases.safety = millis(60_000);
    } else if rng.chance(500) {
        // Long enough for a leader to go in between.
        plan.net.delay_min = millis(60);
    }
    plan
}

fn returns(mut plan: Plan, rng: &mut Rng) -> Plan {
    let changes = ChangePlan {
        interval: millis(800),
        count_max: 1_000,
        joint_permille: 0,
        remove_permille: 500,
        has_additions: false,
        return_permille: 900,
    };
    let (stores, regions) = (pick(rng, [3, 4]), pick(rng, [1, 2]));
    plan.topology = Topology { stores, regions, changes, ..plan.topology };
    plan.splits = SplitPlan { interval: millis(pick(rng, [2_000, 6_000])), count_max: 6 };
    // A snapshot arrives, and is in place, before what was there is deleted.
    let install_spread = millis(pick(rng, [0, 5, 300]));
    let clean_spread = millis(pick(rng, [1_000, 4_000]));
    plan.disk.snapshots = SnapshotPlan { install_spread, clean_spread, ..SnapshotPlan::calm() };
    plan.load.keys = 6;
    plan.phases.safety = millis(40_000);
    // What is left over then is found on the disk.
    plan.faults.strikes = series(&plan, rng, ((2_000, 12_000), (50, 1_000)), |rng| {
        vec![Order::Crash(any_store(rng), 0)]
    });
    plan
}

fn stumbles(mut plan: Plan, rng: &mut Rng) -> Plan {
    let falls = series(&plan, rng, ((1_000, 4_000), (50, 600)), |rng| {
        vec![Order::Crash(any_store(rng), 0)]
    });
    let stumble = |fall: &Strike| {
        let after = fall.after + fall.length + between(rng, (1, 1_500));
        Strike { after, length: between(rng, (1, 300)), ..fall.clone() }
    };
    let again: Vec<Strike> = falls.iter().map(stumble).collect();
    plan.faults.strikes = falls.into_iter().chain(again).collect();
    plan.faults.strikes.retain(|strike| strike.after < plan.phases.safety);
    // Whoever sleeps relies on the number of a run.
    plan.load.think_max = millis(pick(rng, [50, 1_500]));
    plan.groups.limits.idle_beats = 1;
    plan.pd = PdPlan::swarm(plan.seed);
    plan
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn strikes(situation: Situation) -> Vec<Strike> {
        (1..=50).flat_map(|seed| situation.plan(seed).faults.strikes).collect()
    }

    #[test]
    fn every_situation_has_its_seeds_and_most_seeds_are_swarms() {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for seed in 1..=400 {
            *counts.entry(format!("{:?}", Situation::of(seed))).or_default() += 1;
            assert_eq!(Plan::of(seed).seed, seed);
        }
        assert_eq!(counts.len(), Situation::ALL.len() + 1);
        assert_eq!(counts.remove("None"), Some(175));
        assert!(counts.values().all(|count| *count >= 10), "{counts:?}");
    }

    /// With two of three disks nobody could serve.
    #[test]
    fn one_disk_hangs_at_a_time() {
        for seed in 1..=50 {
            let strikes = Situation::HungDisks.plan(seed).faults.strikes;
            assert!(strikes.len() > 2 && strikes.iter().all(|it| it.length >= millis(8_000)));
            let ends = strikes.iter().map(|it| it.after + it.length);
            assert!(ends.zip(strikes.iter().skip(1)).all(|(end, next)| end < next.after));
        }
    }

    #[test]
    fn a_machine_sleeps_with_all_its_stores() {
        for sleep in strikes(Situation::Suspended).chunks(3) {
            let [first, .., last] = sleep else { panic!("three stores") };
            assert_eq!((first.after, first.length), (last.after, last.length));
            assert_eq!(
                (&first.order, &last.order),
                (&Order::Pause(StoreId(1)), &Order::Pause(StoreId(3)))
            );
        }
    }

    #[test]
    fn what_happens_at_fixed_moments_happens_in_the_first_phase() {
        for (situation, family) in [
            (Situation::Suspended, FaultFamily::Pause),
            (Situation::LoneVoters, FaultFamily::Crash),
            (Situation::HungDisks, FaultFamily::Hang),
            (Situation::Stumbles, FaultFamily::Crash),
            (Situation::Returns, FaultFamily::Crash),
        ] {
            let safety = situation.plan(1).phases.safety;
            for strike in strikes(situation) {
                assert_eq!(strike.order.family(), family, "{situation:?}");
                assert!(strike.after < safety, "{situation:?}");
            }
        }
    }
}
