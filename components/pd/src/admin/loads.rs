//! What stores and regions are asked for.

use flotilla_pdcore::Leading;
use flotilla_placement::{HeatScale, Rates, RegionInfo, SchedulerName, StoreState};
use flotilla_proto::placement::{self as wire, LoadOrder};

/// Regions that are told of where nobody says how many, and how many at most.
const REGIONS_DEFAULT: u32 = 16;
const REGIONS_MAX: u32 = 10_240;

/// All stores, and the hottest regions.
pub(crate) fn loads(
    sight: &Leading<'_>,
    unix_ms: u64,
    order: LoadOrder,
    limit: u32,
) -> wire::ListLoadsResponse {
    let limit = if limit == 0 { REGIONS_DEFAULT } else { limit.min(REGIONS_MAX) };
    let key: fn(&Rates) -> u64 = match order {
        LoadOrder::Heat => Rates::leader_heat,
        LoadOrder::Reads => Rates::read_heat,
        LoadOrder::Writes => Rates::write_heat,
    };
    let regions = sight.regions().hottest(key, limit as usize);
    let scheduler = sight.state().policy().schedulers.get(&SchedulerName::EvictSlowStore);
    let stores = sight.stores().into_iter();
    let stores = stores.filter(|entry| entry.record.state != StoreState::Tombstone);
    let stores = stores.map(|entry| {
        let (id, status) = (entry.record.id, entry.status.unwrap_or_default());
        wire::StoreHeat {
            store_id: id.get(),
            rates: Some(rates_to_wire(&status.load.rates)),
            heat: entry.load.heat,
            slow_score: status.stats.slow_score,
            is_slow: scheduler.is_some_and(|scheduler| scheduler.stores.contains(&id)),
        }
    });
    let scale = sight.fleet(unix_ms).heat_scale();
    let HeatScale { mean, limit } = scale.unwrap_or(HeatScale { mean: 0, limit: 0 });
    wire::ListLoadsResponse {
        stores: stores.collect(),
        regions: regions.iter().map(|info| region_to_wire(info)).collect(),
        mean_heat: mean,
        heat_limit: limit,
    }
}

fn region_to_wire(info: &RegionInfo) -> wire::RegionHeat {
    wire::RegionHeat {
        region_id: info.region.id.get(),
        leader_store_id: info.leader.map_or(0, |leader| leader.store.get()),
        start_key: info.region.range.start.clone(),
        end_key: info.region.range.end.clone(),
        rates: Some(rates_to_wire(&info.load.rates)),
        heat: info.load.rates.leader_heat(),
    }
}

/// What is asked for in a second.
pub(super) const fn rates_to_wire(rates: &Rates) -> wire::Rates {
    let Rates { written_bytes, read_bytes, written_keys, read_keys } = *rates;
    wire::Rates { written_bytes, read_bytes, written_keys, read_keys }
}
