//! What a run of placement does, drawn from its seed.

use flotilla_base::{Rng, Seeded, Span};
use flotilla_placement::SchedulerName;

use super::store::StorePlan;
use super::trouble::{Place, Trouble};
use super::world::{Noise, RegionPlan};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What is wrong on purpose.
    pub seeded: Seeded,
    /// Voters of each region.
    pub max_replicas: u32,
    /// The stores at the beginning.
    pub stores: Vec<StorePlan>,
    /// The regions at the beginning.
    pub regions: Vec<RegionPlan>,
    /// What is decided at the beginning.
    pub settings: Vec<(&'static str, String)>,
    /// How messages fare while there is trouble.
    pub noise: Noise,
    /// What happens from outside, and when, counted from the beginning.
    pub troubles: Vec<(Span, Trouble)>,
    /// How long there is trouble.
    pub length: Span,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 41);
        let rng = &mut rng;
        let max_replicas = [1, 3, 3, 3, 3, 3, 5][index(rng, 7)];
        let fewest = u64::from(max_replicas).max(2);
        let stores = draw_stores(rng, fewest);
        let regions = draw_regions(rng, stores.len(), max_replicas as usize);
        let length = Span::from_millis([60_000, 600_000, 1_800_000][index(rng, 3)]);
        let noise = match rng.below(3) {
            0 => Noise::default(),
            1 => Noise { lost: 10, doubled: 10, late: 20 },
            _ => Noise { lost: 100, doubled: 50, late: 100 },
        };
        let troubles = draw_troubles(rng, (stores.len(), fewest), length);
        let settings = draw_settings(rng);
        let seeded = Seeded::NONE;
        Self { seed, seeded, max_replicas, stores, regions, settings, noise, troubles, length }
    }
}

fn index(rng: &mut Rng, count: u64) -> usize {
    usize::try_from(rng.below(count)).unwrap_or(0)
}

fn draw_store(rng: &mut Rng) -> StorePlan {
    StorePlan {
        capacity_bytes: 1 << 44,
        foreign_bytes: rng.below(100) * GIB,
        copy_bytes_per_second: [8, 64, 256][index(rng, 3)] * MIB,
        labels: Vec::new(),
    }
}

fn draw_stores(rng: &mut Rng, fewest: u64) -> Vec<StorePlan> {
    let count = fewest + rng.below(6);
    let mut stores: Vec<StorePlan> = (0..count).map(|_| draw_store(rng)).collect();
    if rng.chance(150) {
        // One has next to no room.
        let at = index(rng, count);
        stores[at].capacity_bytes = (1 + rng.below(8)) * GIB;
        stores[at].foreign_bytes = 0;
    }
    stores
}

fn draw_regions(rng: &mut Rng, stores: usize, replicas: usize) -> Vec<RegionPlan> {
    let count = [5, 20, 40, 60][index(rng, 4)];
    let shape = rng.below(4);
    let is_heap = rng.chance(500);
    let region = |number: u64| {
        let size_bytes = match shape {
            0 => 96 * MIB,
            // Nearly empty.
            1 => rng.below(MIB),
            // Zipf: the first is as large as the second twice, and so on.
            2 => 8 * GIB / (number + 1),
            _ => (1 + rng.below(512)) * MIB,
        };
        // All in the same place, or anywhere.
        let first = if is_heap { 0 } else { index(rng, stores as u64) };
        let places = (0..replicas).map(|offset| (first + offset) % stores).collect();
        RegionPlan { size_bytes, places }
    };
    (0..count).map(region).collect()
}

fn draw_settings(rng: &mut Rng) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    let mut maybe = |name, values: [u32; 3]| {
        if rng.chance(300) {
            settings.push((name, values[index(rng, 3)].to_string()));
        }
    };
    maybe("leader-schedule-limit", [1, 4, 64]);
    maybe("region-schedule-limit", [1, 4, 64]);
    maybe("copies-per-store-limit", [1, 2, 32]);
    maybe("store-limit", [10, 60, 600]);
    settings
}

/// Stores that are stopped start again, before the trouble is over, unless they are removed.
fn draw_troubles(
    rng: &mut Rng,
    (stores, fewest): (usize, u64),
    length: Span,
) -> Vec<(Span, Trouble)> {
    let mut troubles = Vec::new();
    let at = |rng: &mut Rng, part: u64| Span(length.0 / 100 * (part + rng.below(50)));
    let count = rng.below(12);
    for _trouble in 0..count {
        let begin = at(rng, 0);
        let place: Place = index(rng, stores as u64);
        let trouble = match rng.below(13) {
            0 | 1 => {
                troubles.push((at(rng, 50), Trouble::Start(place)));
                Trouble::Stop(place)
            }
            2 => {
                troubles.push((at(rng, 50), Trouble::Fast(place)));
                Trouble::Slow(place)
            }
            3 => Trouble::Join(Box::new(draw_store(rng))),
            4 => Trouble::RestartPd,
            5 => Trouble::Resize(50 + rng.below(150)),
            6 | 7 => Trouble::Split,
            8 => Trouble::Transfer,
            12 => Trouble::Meddle,
            9 => Trouble::Move,
            10 => {
                let weight = |rng: &mut Rng| [500, 1_000, 2_000, 3_000][index(rng, 4)];
                Trouble::Weigh(place, weight(rng), weight(rng))
            }
            _ => {
                troubles.push((at(rng, 50), Trouble::Unschedule(SchedulerName::EvictLeader)));
                Trouble::Schedule(SchedulerName::EvictLeader, vec![place])
            }
        };
        troubles.push((begin, trouble));
    }
    if stores as u64 > fewest && rng.chance(200) {
        let place: Place = index(rng, stores as u64);
        troubles.push((at(rng, 0), Trouble::Stop(place)));
        troubles.push((at(rng, 50), Trouble::Remove(place)));
    }
    troubles.sort_by_key(|(at, _)| *at);
    troubles
}
