//! `flotilla ctl plan`: what would be moved if stores came or went, and how long that would take.

use std::time::Duration;

use flotilla_base::{ByteSize, StoreId};
use flotilla_client::{
    Admin, ErrorKind,
    plan::{Carried, Outlook, PlannedStore, Supposed},
};
use serde_json::{Value, json};

use super::rules;
use crate::{
    args::{Globals, PlanArgs},
    catalogue,
    fault::Fault,
    output::{self, Column, Format, Table},
    text,
};

/// `flotilla ctl plan`.
pub(super) async fn run(globals: &Globals, admin: &Admin, args: &PlanArgs) -> Result<(), Fault> {
    let label = |label: &flotilla_base::Label| (label.name().to_owned(), label.value().to_owned());
    let labels: Vec<(String, String)> = args.labels.iter().map(label).collect();
    let rule_operations = args.rules.as_deref().map(rules::wire).transpose()?;
    let rule_operations = rule_operations.unwrap_or_default();
    let supposed = Supposed {
        come: vec![labels; usize::from(args.add_stores)],
        go: args.remove.iter().copied().map(StoreId).collect(),
        horizon_ms: u64::try_from(args.horizon.as_millis()).unwrap_or(u64::MAX),
        rule_operations,
    };
    let outlook = match admin.plan(&supposed).await {
        Ok(outlook) => outlook,
        Err(error) if error.kind() == ErrorKind::Refused => {
            let hints = [
                "flotilla ctl stores   lists the stores",
                "flotilla ctl plan --help   says what can be asked",
            ];
            let fault = Fault::from(error).named("there is no plan for that".to_owned());
            return Err(fault.advised(&catalogue::REFUSED, hints.map(str::to_owned).into()));
        }
        Err(error) => return Err(error.into()),
    };
    if globals.output == Format::Json {
        return output::print_json("plan", json_of(&outlook));
    }
    output::print(&told(&outlook))?;
    output::note(
        "nothing was done: copies are supposed to take the time of their size, and nobody to write meanwhile",
    );
    Ok(())
}

fn told(outlook: &Outlook) -> String {
    let mut told = heading(outlook);
    told.push_str(&table(&outlook.stores));
    for (region, why) in &outlook.stuck {
        told.push_str(&format!("region {region} would stay as it is: {why}\n"));
    }
    let others = outlook.stuck_regions.saturating_sub(outlook.stuck.len() as u64);
    if others > 0 {
        told.push_str(&format!("and {} more\n", text::counted(others, "region")));
    }
    for (scheduler, why) in &outlook.idle {
        told.push_str(&format!("{scheduler} would do no more: {why}\n"));
    }
    told
}

/// What would be done in all, and when it would be over.
pub(super) fn heading(outlook: &Outlook) -> String {
    let Outlook { moves, moved_bytes, transfers, ends_after_ms, .. } = outlook;
    let rate = ByteSize(outlook.copy_bytes_per_second);
    if *moves == 0 && *transfers == 0 && outlook.cut_off.is_none() {
        let span = text::span(Duration::from_millis(outlook.horizon_ms));
        return format!("nothing would be moved within {span}\n");
    }
    let (moves, transfers) = (text::counted(*moves, "replica"), text::counted(*transfers, "lead"));
    let end = text::span(Duration::from_millis(*ends_after_ms));
    let end = if outlook.is_settled {
        format!("about {end}")
    } else if let Some(why) = &outlook.cut_off {
        format!("more than {end}, which is not all of it, since {why}")
    } else {
        let horizon = text::span(Duration::from_millis(outlook.horizon_ms));
        format!("more than {horizon}, which is as far as was looked ahead")
    };
    format!(
        "{moves} ({}) would move and {transfers} change hands; that takes {end}, at {rate} in a second to each store\n",
        ByteSize(*moved_bytes)
    )
}

fn table(stores: &[PlannedStore]) -> String {
    const COLUMNS: [Column; 5] = [
        Column::Right("STORE"),
        Column::Left(""),
        Column::Right("LEADERS"),
        Column::Right("REPLICAS"),
        Column::Right("SIZE"),
    ];
    let mut table = Table::new(&COLUMNS);
    for store in stores {
        let word = match (store.is_new, store.is_removed) {
            (true, _) => "new",
            (_, true) => "leaves",
            _ => "",
        };
        let cell = |of: &dyn Fn(&Carried) -> String| {
            let (before, after) = (of(&store.before), of(&store.after));
            if before == after { before } else { format!("{before} -> {after}") }
        };
        table.row(vec![
            store.id.to_string(),
            word.to_owned(),
            cell(&|carried| text::grouped(carried.leaders)),
            cell(&|carried| text::grouped(carried.replicas)),
            cell(&|carried| ByteSize(carried.bytes).to_string()),
        ]);
    }
    table.render()
}

fn json_of(outlook: &Outlook) -> Value {
    let carried = |carried: &Carried| json!({"leaders": carried.leaders, "replicas": carried.replicas, "bytes": carried.bytes});
    let store = |store: &PlannedStore| {
        json!({
            "id": store.id.get(),
            "is_new": store.is_new,
            "is_removed": store.is_removed,
            "before": carried(&store.before),
            "after": carried(&store.after),
        })
    };
    let stuck = outlook.stuck.iter();
    let idle = outlook.idle.iter();
    json!({
        "moves": outlook.moves,
        "moved_bytes": outlook.moved_bytes,
        "transfers": outlook.transfers,
        "ends_after_seconds": outlook.ends_after_ms.div_ceil(1_000),
        "is_settled": outlook.is_settled,
        "horizon_seconds": outlook.horizon_ms / 1_000,
        "copy_bytes_per_second": outlook.copy_bytes_per_second,
        "cut_off": outlook.cut_off,
        "stores": outlook.stores.iter().map(store).collect::<Vec<_>>(),
        "stuck_regions": outlook.stuck_regions,
        "stuck": stuck.map(|(id, why)| json!({"region": id.get(), "why": why})).collect::<Vec<_>>(),
        "idle": idle.map(|(name, why)| json!({"scheduler": name, "why": why})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use flotilla_base::RegionId;

    use super::*;

    fn outlook() -> Outlook {
        let carried = |leaders, replicas| Carried { leaders, replicas, bytes: replicas << 20 };
        let store = |id, before, after| PlannedStore {
            id: StoreId(id),
            is_new: id == 4,
            is_removed: id == 3,
            before,
            after,
        };
        Outlook {
            moves: 20,
            moved_bytes: 20 << 20,
            transfers: 1,
            ends_after_ms: 300_000,
            is_settled: true,
            stores: vec![
                store(1, carried(10, 20), carried(10, 20)),
                store(3, carried(10, 20), carried(0, 0)),
                store(4, carried(0, 0), carried(10, 20)),
            ],
            stuck: vec![(RegionId(9), "it has no leader".to_owned())],
            stuck_regions: 2,
            idle: vec![("balance-region".to_owned(), "all stores carry alike".to_owned())],
            copy_bytes_per_second: 100 << 20,
            horizon_ms: 3_600_000,
            cut_off: None,
        }
    }

    #[test]
    fn a_plan_is_told_in_numbers_and_reasons() {
        let told = told(&outlook());
        for part in [
            "20 replicas (20MiB) would move and 1 lead change hands; that takes about 5 min, at 100MiB in a second",
            "STORE          LEADERS  REPLICAS         SIZE",
            "    1               10        20        20MiB",
            "    3  leaves  10 -> 0   20 -> 0",
            "    4  new     0 -> 10   0 -> 20",
            "region 9 would stay as it is: it has no leader\nand 1 region more\n",
            "balance-region would do no more: all stores carry alike",
        ] {
            assert!(told.contains(part), "no {part:?} in\n{told}");
        }
        let open = Outlook { is_settled: false, ..outlook() };
        assert!(heading(&open).contains("more than 60 min"), "{}", heading(&open));
        let cut = Outlook { cut_off: Some("a plan ends at 20 moves".to_owned()), ..open };
        let expected =
            "takes more than 5 min, which is not all of it, since a plan ends at 20 moves, at";
        assert!(heading(&cut).contains(expected), "{}", heading(&cut));
        assert_eq!(json_of(&cut)["cut_off"], "a plan ends at 20 moves");
        let none = Outlook { moves: 0, transfers: 0, ..outlook() };
        assert_eq!(heading(&none), "nothing would be moved within 60 min\n");
        let json = json_of(&outlook());
        assert_eq!(
            (&json["stores"][1]["is_removed"], &json["stuck_regions"]),
            (&true.into(), &2.into())
        );
    }
}
