//! `flotilla ctl hot`: what stores and regions are asked for most.

use flotilla_base::ByteSize;
use flotilla_client::{
    Admin,
    placement::{LoadOrder, Loads, Rates, RegionHeat, StoreHeat},
};
use serde_json::{Value, json};

use super::regions::border;
use crate::{
    args::{Globals, HotArgs, HotWhat},
    fault::Fault,
    output::{self, Column, Format, Table},
    text,
};

/// `flotilla ctl hot`.
pub(super) async fn run(globals: &Globals, admin: &Admin, args: &HotArgs) -> Result<(), Fault> {
    let order = match args.what {
        HotWhat::All | HotWhat::Stores => LoadOrder::Heat,
        HotWhat::Read => LoadOrder::Reads,
        HotWhat::Write => LoadOrder::Writes,
    };
    let loads = admin.loads(order, args.limit).await?;
    if globals.output == Format::Json {
        return output::print_json("loads", json_of(&loads, args.what));
    }
    output::print(&told(&loads, args.what))
}

const fn shows_stores(what: HotWhat) -> bool {
    matches!(what, HotWhat::All | HotWhat::Stores)
}

fn told(loads: &Loads, what: HotWhat) -> String {
    let mut told = String::new();
    if shows_stores(what) {
        told.push_str(&stores(loads));
    }
    if what != HotWhat::Stores {
        if !told.is_empty() {
            told.push('\n');
        }
        told.push_str(&regions(&loads.regions));
    }
    told
}

/// Keys and bytes of a second, in few characters.
pub(super) fn flow(keys: u64, bytes: u64) -> String {
    format!("{} keys/s {}/s", text::grouped(keys), ByteSize(bytes))
}

fn flows(rates: &Rates) -> [String; 2] {
    [flow(rates.read_keys, rates.read_bytes), flow(rates.written_keys, rates.written_bytes)]
}

fn stores(loads: &Loads) -> String {
    let mut table = Table::new(&[
        Column::Left("STORE"),
        Column::Right("HEAT"),
        Column::Left("READS"),
        Column::Left("WRITES"),
        Column::Left("SLOW"),
        Column::Left("STATE"),
    ]);
    for store in &loads.stores {
        let [reads, writes] = flows(&store.rates);
        let slow =
            if store.slow_score == 0 { "-".to_owned() } else { store.slow_score.to_string() };
        let state = state(store, loads.heat_limit).to_owned();
        let (id, heat) = (store.id.to_string(), text::grouped(store.heat));
        table.row(vec![id, heat, reads, writes, slow, state]);
    }
    let scale = match loads.heat_limit {
        0 => "load is not spread: balance-hot-region does not run\n".to_owned(),
        limit => {
            let (mean, limit) = (text::grouped(loads.mean_heat), text::grouped(limit));
            format!("mean heat {mean}; a store with more than {limit} is hot\n")
        }
    };
    table.render() + &scale
}

const fn state(store: &StoreHeat, limit: u64) -> &'static str {
    if store.is_slow {
        "slow: kept free of leads"
    } else if limit > 0 && store.heat > limit {
        "hot"
    } else {
        "-"
    }
}

fn regions(regions: &[RegionHeat]) -> String {
    if regions.is_empty() {
        return "no region is asked for anything\n".to_owned();
    }
    let mut table = Table::new(&[
        Column::Right("REGION"),
        Column::Right("LEADER"),
        Column::Right("HEAT"),
        Column::Left("READS"),
        Column::Left("WRITES"),
        Column::Left("START"),
    ]);
    for region in regions {
        let [reads, writes] = flows(&region.rates);
        let leader = region.leader.map_or_else(|| "-".to_owned(), |store| store.to_string());
        let (id, heat) = (region.id.to_string(), text::grouped(region.heat));
        table.row(vec![id, leader, heat, reads, writes, border(&region.range.start)]);
    }
    table.render()
}

/// Rates of a second.
pub(super) fn rates_json(rates: &Rates) -> Value {
    json!({
        "read_keys_per_second": rates.read_keys,
        "read_bytes_per_second": rates.read_bytes,
        "written_keys_per_second": rates.written_keys,
        "written_bytes_per_second": rates.written_bytes,
    })
}

fn json_of(loads: &Loads, what: HotWhat) -> Value {
    let store = |store: &StoreHeat| {
        json!({
            "store": store.id.get(),
            "heat": store.heat,
            "rates": rates_json(&store.rates),
            "slow_score": store.slow_score,
            "is_slow": store.is_slow,
        })
    };
    let region = |region: &RegionHeat| {
        json!({
            "region": region.id.get(),
            "leader_store": region.leader.map(|store| store.get()),
            "heat": region.heat,
            "rates": rates_json(&region.rates),
        })
    };
    let stores = shows_stores(what).then(|| loads.stores.iter().map(store).collect::<Vec<_>>());
    let regions =
        (what != HotWhat::Stores).then(|| loads.regions.iter().map(region).collect::<Vec<_>>());
    json!({
        "mean_heat": loads.mean_heat,
        "heat_limit": loads.heat_limit,
        "stores": stores,
        "regions": regions,
    })
}

#[cfg(test)]
mod tests {
    use flotilla_base::{KeyRange, RegionId, StoreId};

    use super::*;

    fn loads() -> Loads {
        let rates = Rates { read_keys: 1_200, written_bytes: 3 << 20, ..Rates::default() };
        let store = |id, heat, is_slow| StoreHeat {
            id: StoreId(id),
            rates,
            heat,
            slow_score: u64::from(is_slow) * 99 + 1,
            is_slow,
        };
        let region = RegionHeat {
            id: RegionId(7),
            leader: Some(StoreId(1)),
            range: KeyRange::new("k", ""),
            rates,
            heat: 7_344,
        };
        let stores = vec![store(1, 9_000, false), store(2, 10, true), store(3, 7_000, false)];
        Loads { stores, regions: vec![region], mean_heat: 6_000, heat_limit: 7_200 }
    }

    #[test]
    fn stores_and_regions_are_told_with_what_they_are_asked_for() {
        let all = told(&loads(), HotWhat::All);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 8, "{all}");
        assert!(lines[1].contains("9,000") && lines[1].ends_with("hot"), "{all}");
        assert!(
            lines[2].contains("100") && lines[2].ends_with("slow: kept free of leads"),
            "{all}"
        );
        assert!(lines[3].contains("1,200 keys/s") && lines[3].ends_with('-'), "{all}");
        assert!(lines[4].starts_with("mean heat 6,000; a store with more than 7,200"), "{all}");
        assert!(lines[7].contains("7,344") && lines[7].ends_with('k'), "{all}");
        let written = told(&loads(), HotWhat::Write);
        assert_eq!(written.lines().count(), 2, "{written}");
        assert_eq!(told(&loads(), HotWhat::Stores).lines().count(), 5);
        let none = Loads { heat_limit: 0, regions: Vec::new(), ..loads() };
        assert!(told(&none, HotWhat::Stores).ends_with("balance-hot-region does not run\n"));
        assert_eq!(told(&none, HotWhat::Read), "no region is asked for anything\n");
    }

    #[test]
    fn programs_get_what_was_asked_for() {
        let all = json_of(&loads(), HotWhat::All);
        assert_eq!(all["regions"][0]["rates"]["read_keys_per_second"], 1_200);
        assert_eq!(all["stores"][1]["is_slow"], true);
        assert!(json_of(&loads(), HotWhat::Read)["stores"].is_null());
        assert!(json_of(&loads(), HotWhat::Stores)["regions"].is_null());
    }
}
