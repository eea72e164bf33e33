//! `flotilla ctl region scatter`: regions are spread over the stores.

use flotilla_base::{KeyRange, RegionId};
use flotilla_client::{Admin, RegionInfo, placement::Scattered};
use serde_json::{Value, json};

use crate::{
    args::{Globals, ScatterArgs},
    catalogue, context,
    fault::Fault,
    kv,
    output::{self, Format},
    text,
};

/// Regions that are named where some cannot be spread.
const NAMED_MAX: usize = 5;

/// Spreads them. What was begun is told also where it is not all.
pub(super) async fn run(globals: &Globals, admin: &Admin, args: &ScatterArgs) -> Result<(), Fault> {
    let known = admin.regions(KeyRange::all(), usize::MAX).await?;
    let wanted = choose(&known, args)?;
    let scattered = admin.scatter(&wanted).await?;
    if globals.output == Format::Json {
        output::print_json("scatter", json_of(&scattered))?;
    } else {
        output::print(&summary(&scattered))?;
        if !scattered.moving.is_empty() {
            output::note(&context::pasted(globals, "how it goes on: flotilla ctl operators"));
        }
    }
    if scattered.failed.is_empty() { Ok(()) } else { Err(incomplete(&scattered, wanted.len())) }
}

/// The regions that are meant; all have to be known.
fn choose(known: &[RegionInfo], args: &ScatterArgs) -> Result<Vec<RegionId>, Fault> {
    if !args.regions.is_empty() {
        let is_known = |id: &u64| known.iter().any(|info| info.region.id.get() == *id);
        let unknown: Vec<u64> = args.regions.iter().copied().filter(|id| !is_known(id)).collect();
        if !unknown.is_empty() {
            return Err(not_known(&unknown));
        }
        return Ok(args.regions.iter().copied().map(RegionId).collect());
    }
    let key = |text: &Option<String>| text.as_ref().map(|text| kv::key(text, args.hex)).transpose();
    let (from, to) = (key(&args.from)?.unwrap_or_default(), key(&args.to)?.unwrap_or_default());
    if !to.is_empty() && to <= from {
        let what = "no region lies in a range that ends before it begins";
        return Err(Fault::new(&catalogue::INVALID_ARGUMENT, what)
            .why("--to names the first key that is not wanted any more")
            .hint("flotilla ctl regions   shows the borders of all"));
    }
    let overlaps = |info: &&RegionInfo| {
        let KeyRange { start, end } = &info.region.range;
        (to.is_empty() || start[..] < to[..]) && (end.is_empty() || from[..] < end[..])
    };
    Ok(known.iter().filter(overlaps).map(|info| info.region.id).collect())
}

fn not_known(unknown: &[u64]) -> Fault {
    let ids: Vec<String> = unknown.iter().map(u64::to_string).collect();
    let noun = if unknown.len() == 1 { "region" } else { "regions" };
    Fault::new(&catalogue::NO_REGION, "no region was spread")
        .why(format!("no leader has reported {noun} {}", ids.join(", ")))
        .hint("flotilla ctl regions   lists those that there are")
}

fn summary(scattered: &Scattered) -> String {
    let Scattered { moving, settled, failed } = scattered;
    let counted = |regions: usize| text::counted(regions as u64, "region");
    let failed = match failed.len() {
        0 => String::new(),
        count => format!(", {count} cannot be moved"),
    };
    format!(
        "{}: {} begin to move, {} are spread already{failed}\n",
        counted(moving.len() + settled.len() + scattered.failed.len()),
        moving.len(),
        settled.len(),
    )
}

fn incomplete(scattered: &Scattered, asked: usize) -> Fault {
    let failed = &scattered.failed;
    let what = format!("{} of {} not spread", failed.len(), text::counted(asked as u64, "region"));
    let named = failed.iter().take(NAMED_MAX).map(|(id, why)| format!("region {id}: {why}"));
    let named: Vec<String> = named.collect();
    let others = failed.len().saturating_sub(NAMED_MAX);
    let others = if others == 0 { String::new() } else { format!("; and {others} more") };
    Fault::new(&catalogue::REFUSED, what)
        .why(format!("{}{others}", named.join("; ")))
        .hint("give the same command again in a while: what is spread already stays")
        .hint("flotilla ctl operators   shows what is being done to regions")
}

fn json_of(scattered: &Scattered) -> Value {
    let ids = |regions: &[RegionId]| regions.iter().map(|id| id.get()).collect::<Vec<_>>();
    let failed = scattered.failed.iter();
    json!({
        "moving": ids(&scattered.moving),
        "settled": ids(&scattered.settled),
        "failed": failed.map(|(id, why)| json!({"region": id.get(), "why": why})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, Region};

    use super::*;

    fn known() -> Vec<RegionInfo> {
        let borders = [("", "b", 2), ("b", "m", 4), ("m", "", 6)];
        let info = |(start, end, id): (&'static str, &'static str, u64)| {
            let range = KeyRange::new(start, end);
            let region = Region { id: RegionId(id), range, epoch: Epoch::FIRST, peers: Vec::new() };
            RegionInfo { region, leader: None, down: Vec::new(), pending: Vec::new() }
        };
        borders.map(info).into()
    }

    fn chosen(regions: &[u64], from: &str, to: &str) -> Result<Vec<u64>, String> {
        let given = |key: &str| Some(key.to_owned()).filter(|key| !key.is_empty());
        let args =
            ScatterArgs { regions: regions.to_vec(), from: given(from), to: given(to), hex: false };
        let chosen = choose(&known(), &args).map_err(|fault| fault.to_text())?;
        Ok(chosen.iter().map(|id| id.get()).collect())
    }

    #[test]
    fn regions_are_chosen_by_id_or_by_the_keys_that_they_hold() {
        assert_eq!(chosen(&[6, 2], "", ""), Ok(vec![6, 2]));
        assert_eq!(chosen(&[], "b", ""), Ok(vec![4, 6]));
        assert_eq!(chosen(&[], "", "b"), Ok(vec![2]));
        assert_eq!(chosen(&[], "c", "c1"), Ok(vec![4]));
        assert_eq!(chosen(&[], "a", "m1"), Ok(vec![2, 4, 6]));
        let told = chosen(&[2, 7, 8], "", "").expect_err("not known");
        assert!(told.contains("regions 7, 8") && told.contains("FLT-3004"), "{told}");
        assert!(chosen(&[], "m", "b").expect_err("empty").contains("--to names"));
    }

    #[test]
    fn what_is_not_spread_is_told_with_its_reason() {
        let failed = (1..=7).map(|id| (RegionId(id), "it has no leader".to_owned())).collect();
        let scattered =
            Scattered { moving: vec![RegionId(9)], settled: vec![RegionId(10)], failed };
        let told = "9 regions: 1 begin to move, 1 are spread already, 7 cannot be moved\n";
        assert_eq!(summary(&scattered), told);
        let fault = incomplete(&scattered, 9).to_text();
        for part in
            ["7 of 9 regions not spread", "region 5: it has no leader; and 2 more", "FLT-2106"]
        {
            assert!(fault.contains(part), "no {part} in\n{fault}");
        }
        assert_eq!(json_of(&scattered)["failed"][0]["why"], "it has no leader");
    }
}
