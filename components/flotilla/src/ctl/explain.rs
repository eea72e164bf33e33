//! `flotilla ctl explain`: the decisions of the placement driver with their reasons, and what stands in the way now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flotilla_base::{ByteSize, RegionId, StoreId};
use flotilla_client::{
    Admin, Explanation, KeyRange, RegionInfo, Subject,
    placement::{Decision, Drain, Reason, StoreAccount, StorePlacement},
};
use serde_json::{Value, json};

use super::{obstacle::Obstacle, operators, regions::border, schedulers};
use crate::{
    args::{ExplainSubject, Globals},
    catalogue,
    fault::Fault,
    output::{self, Format},
    text,
};

/// `flotilla ctl explain`.
pub(super) async fn run(
    globals: &Globals,
    admin: &Admin,
    subject: ExplainSubject,
) -> Result<(), Fault> {
    let (subject, limit) = match subject {
        ExplainSubject::Region { region, decisions } => {
            (Subject::Region(RegionId(region)), decisions.limit)
        }
        ExplainSubject::Store { store, decisions } => {
            (Subject::Store(StoreId(store.store)), decisions.limit)
        }
        ExplainSubject::Scheduler { name, decisions } => (Subject::By(name.name), decisions.limit),
        ExplainSubject::Operator { region } => (Subject::Operator(RegionId(region)), 1),
    };
    let regions = admin.regions(KeyRange::all(), usize::MAX).await?;
    check_there(admin, &subject, &regions).await?;
    let told = admin.explain(&subject, limit).await?;
    if globals.output == Format::Json {
        return output::print_json("explanation", json_of(&told));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let region = match &subject {
        Subject::Region(id) | Subject::Operator(id) => {
            regions.iter().find(|info| info.region.id == *id)
        }
        Subject::Store(_) | Subject::By(_) => None,
    };
    output::print(&transcript(&subject, &told, region, now))
}

/// An error where there is nothing to explain.
async fn check_there(
    admin: &Admin,
    subject: &Subject,
    regions: &[RegionInfo],
) -> Result<(), Fault> {
    let is_known = |id: &RegionId| regions.iter().any(|info| info.region.id == *id);
    match subject {
        Subject::Region(id) if !is_known(id) => {
            Err(Obstacle::no_region(*id).into_fault(&format!("cannot explain region {id}")))
        }
        Subject::Store(id) => {
            let stores = admin.placement().await?.unwrap_or_default().stores;
            let is_known = stores.iter().any(|store| store.id == *id);
            let fault =
                || Obstacle::no_store(*id).into_fault(&format!("cannot explain store {id}"));
            if is_known { Ok(()) } else { Err(fault()) }
        }
        Subject::Operator(id) => {
            let all = admin.operators().await?;
            let is_of = |operator: &flotilla_client::OperatorInfo| operator.region == *id;
            if all.running.iter().chain(&all.ended).any(is_of) {
                return Ok(());
            }
            let fault = Fault::new(&catalogue::REFUSED, format!("nothing was done to region {id}"));
            let why = "no operator of this region is remembered by the placement driver that leads";
            Err(fault.why(why).hint("flotilla ctl operators --history   lists those that are"))
        }
        Subject::Region(_) | Subject::By(_) => Ok(()),
    }
}

/// All of it as text.
fn transcript(
    subject: &Subject,
    told: &Explanation,
    region: Option<&RegionInfo>,
    now: Duration,
) -> String {
    let mut text = heading(subject, told, region, now);
    if told.is_halted {
        text.push_str("nothing is decided at all: the setting schedule.halt-scheduling is true\n");
    }
    // The last one at the end, where the present follows.
    for decision in told.decisions.iter().rev() {
        text.push_str(&block(decision));
    }
    let hidden = told.decisions_in_all.saturating_sub(told.decisions.len() as u64);
    if told.decisions.is_empty() {
        text.push_str(&format!("  {}\n", undecided(subject, told)));
    } else if hidden > 0 && !matches!(subject, Subject::Operator(_)) {
        let earlier = text::counted(hidden, "earlier decision");
        text.push_str(&format!("  {earlier} not shown: --limit shows more\n"));
    }
    if let Some(reason) = &told.stuck {
        text.push_str(&line(reason, "checker", "stuck", &reason.why));
    }
    if let Some(operator) = &told.operator {
        text.push_str(&format!("now: {}\n", operators::heading(operator, now)));
    }
    if let Some(account) = &told.store {
        text.push_str(&takes(account));
        if let Some(drain) = &account.placement.drain {
            text.push_str(&draining(account.placement.id, drain));
        }
    }
    text
}

/// Why no decision is shown.
fn undecided(subject: &Subject, told: &Explanation) -> String {
    match (subject, &told.operator) {
        (Subject::Operator(_), Some(operator)) => {
            format!(
                "it was asked for by {}: no decision of the placement driver",
                operator.asked_by
            )
        }
        _ => "the placement driver that leads has decided nothing here".to_owned(),
    }
}

fn heading(
    subject: &Subject,
    told: &Explanation,
    region: Option<&RegionInfo>,
    now: Duration,
) -> String {
    match (subject, region) {
        (Subject::Region(_) | Subject::Operator(_), Some(info)) => region_line(info),
        (Subject::Region(id) | Subject::Operator(id), None) => format!("region {id}\n"),
        (Subject::Store(id), _) => {
            let account = told.store.clone().unwrap_or_default();
            let size = ByteSize(account.bytes);
            let StoreAccount { leaders, replicas, .. } = account;
            let treated = treatment(&account.placement, now);
            let leads = text::counted(leaders, "lead");
            let replicas = text::counted(replicas, "replica");
            format!("store {id}  {leads}  {replicas}  {size}{treated}\n")
        }
        (Subject::By(name), _) => {
            let state = told.scheduler.as_ref().map(|it| schedulers::state(it, now));
            state.map_or_else(|| format!("{name}\n"), |state| format!("{name}  {state}\n"))
        }
    }
}

fn region_line(info: &RegionInfo) -> String {
    let region = &info.region;
    let (start, end) = (border(&region.range.start), border(&region.range.end));
    let leader = info
        .leader
        .map_or_else(|| "no leader".to_owned(), |it| format!("leader store {}", it.store));
    let voters: Vec<String> = region
        .peers
        .iter()
        .filter(|peer| crate::health::votes_on(peer))
        .map(|peer| peer.store.to_string())
        .collect();
    format!("region {}  [{start}, {end})  {leader}  voters {}\n", region.id, voters.join(","))
}

/// What is special about a store.
fn treatment(placement: &StorePlacement, now: Duration) -> String {
    let mut told = String::new();
    for (key, value) in &placement.labels {
        told.push_str(&format!("  {key}={value}"));
    }
    let weights = [("leader", placement.leader_weight), ("region", placement.region_weight)];
    for (name, weight) in weights {
        let is_usual = (weight - 1.0).abs() < f64::EPSILON;
        if !is_usual {
            told.push_str(&format!("  {name} weight {weight}"));
        }
    }
    let left = Duration::from_millis(placement.maintained_until_unix_ms).saturating_sub(now);
    if !left.is_zero() {
        told.push_str(&format!("  worked on for {}", text::span(left)));
    }
    told
}

/// One decision: when, who, what, why, and what else there was.
fn block(decision: &Decision) -> String {
    let Decision { unix_ms, by, region, brief, why, alternatives, .. } = decision;
    let reason = Reason { unix_ms: *unix_ms, why: String::new() };
    let mut told = line(&reason, by, "chosen", &format!("region {region}: {brief}: {why}"));
    for (store, why) in alternatives {
        told.push_str(&format!("{:12}not store {store}: {why}\n", ""));
    }
    told
}

fn line(reason: &Reason, by: &str, word: &str, what: &str) -> String {
    format!("  {}  {by}  {word}  {what}\n", clock(reason.unix_ms))
}

/// The time of the day in UTC.
fn clock(unix_ms: u64) -> String {
    let second = unix_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

fn takes(account: &StoreAccount) -> String {
    let told = |what: &str, why: &Option<String>| match why {
        None => format!("now: takes {what}\n"),
        Some(why) => format!("now: takes no {what}: {why}\n"),
    };
    let copies = match account.copies {
        0 => String::new(),
        copies => format!(
            "now: {} on the way to it\n",
            text::counted(copies.into(), "copy").replace("copys", "copies")
        ),
    };
    told("replicas", &account.no_peers) + &told("leads", &account.no_leads) + &copies
}

/// How far a store is that leaves, and what keeps it.
pub(super) fn draining(store: StoreId, drain: &Drain) -> String {
    let regions = text::counted(drain.regions_left, "region");
    let size = ByteSize(drain.bytes_left);
    let mut told =
        format!("store {store} leaves: {regions} left ({size}), {} moving\n", drain.moving);
    for (region, reason) in &drain.stuck {
        told.push_str(&format!("  region {region} stays for now: {}\n", reason.why));
    }
    let hidden = drain.stuck_regions.saturating_sub(drain.stuck.len() as u64);
    if hidden > 0 {
        told.push_str(&format!("  and {} like these\n", text::counted(hidden, "region")));
    }
    told
}

fn json_of(told: &Explanation) -> Value {
    let reason = |reason: &Reason| json!({"unix_ms": reason.unix_ms, "why": reason.why});
    let decision = |decision: &Decision| {
        let other = |(store, why): &(StoreId, String)| json!({"store": store.get(), "why": why});
        json!({
            "id": decision.id,
            "unix_ms": decision.unix_ms,
            "by": decision.by,
            "region": decision.region.get(),
            "brief": decision.brief,
            "why": decision.why,
            "alternatives": decision.alternatives.iter().map(other).collect::<Vec<_>>(),
        })
    };
    let account = |account: &StoreAccount| {
        json!({
            "placement": placement_json(&account.placement),
            "leaders": account.leaders,
            "replicas": account.replicas,
            "bytes": account.bytes,
            "copies": account.copies,
            "no_peers": account.no_peers,
            "no_leads": account.no_leads,
        })
    };
    json!({
        "decisions": told.decisions.iter().map(decision).collect::<Vec<_>>(),
        "decisions_in_all": told.decisions_in_all,
        "operator": told.operator.as_ref().map(operators::json_of),
        "stuck": told.stuck.as_ref().map(reason),
        "store": told.store.as_ref().map(account),
        "scheduler": told.scheduler.as_ref().map(schedulers::json_of),
        "is_halted": told.is_halted,
    })
}

/// How a store is treated, for programs.
pub(super) fn placement_json(placement: &StorePlacement) -> Value {
    let label = |(key, value): &(String, String)| (key.clone(), Value::from(value.as_str()));
    json!({
        "labels": placement.labels.iter().map(label).collect::<serde_json::Map<_, _>>(),
        "leader_weight": placement.leader_weight,
        "region_weight": placement.region_weight,
        "add_peers_per_minute": placement.add_peers_per_minute,
        "remove_peers_per_minute": placement.remove_peers_per_minute,
        "maintained_until_unix_ms": placement.maintained_until_unix_ms,
        "region_bytes": placement.region_bytes,
        "drain": placement.drain.as_ref().map(drain_json),
    })
}

fn drain_json(drain: &Drain) -> Value {
    let stuck = |(region, reason): &(RegionId, Reason)| json!({"region": region.get(), "unix_ms": reason.unix_ms, "why": reason.why});
    json!({
        "regions_left": drain.regions_left,
        "bytes_left": drain.bytes_left,
        "moving": drain.moving,
        "stuck_regions": drain.stuck_regions,
        "stuck": drain.stuck.iter().map(stuck).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(60_000);

    fn decision(id: u64, brief: &str) -> Decision {
        Decision {
            id,
            unix_ms: 50_531_000 + id,
            by: "balance-region".to_owned(),
            region: RegionId(17),
            brief: brief.to_owned(),
            why: "store 1 carries 96 MiB more than store 4".to_owned(),
            alternatives: vec![(StoreId(5), "only 3 MiB of its 90 MiB are free".to_owned())],
        }
    }

    #[test]
    fn a_region_is_explained_in_the_order_of_time() {
        let told = Explanation {
            decisions: vec![
                decision(2, "mv peer: store [1] to [4]"),
                decision(1, "transfer leader: store 1 to 2"),
            ],
            decisions_in_all: 5,
            stuck: Some(Reason {
                unix_ms: 50_600_000,
                why: "no store is in another zone".to_owned(),
            }),
            ..Explanation::default()
        };
        let subject = Subject::Region(RegionId(17));
        assert_eq!(
            transcript(&subject, &told, None, NOW),
            "region 17\n  \
             14:02:11  balance-region  chosen  region 17: transfer leader: store 1 to 2: store 1 carries 96 MiB more than store 4\n            \
             not store 5: only 3 MiB of its 90 MiB are free\n  \
             14:02:11  balance-region  chosen  region 17: mv peer: store [1] to [4]: store 1 carries 96 MiB more than store 4\n            \
             not store 5: only 3 MiB of its 90 MiB are free\n  \
             3 earlier decisions not shown: --limit shows more\n  \
             14:03:20  checker  stuck  no store is in another zone\n"
        );
    }

    #[test]
    fn a_store_says_what_it_takes_and_what_keeps_it() {
        let drain = Drain {
            regions_left: 3,
            bytes_left: 3 << 20,
            moving: 1,
            stuck: vec![(RegionId(9), Reason { unix_ms: 0, why: "store 5 is busy".to_owned() })],
            stuck_regions: 2,
        };
        let placement = StorePlacement {
            id: StoreId(4),
            labels: vec![("zone".to_owned(), "z1".to_owned())],
            leader_weight: 0.5,
            region_weight: 1.0,
            maintained_until_unix_ms: 60_090_000,
            drain: Some(drain),
            ..StorePlacement::default()
        };
        let account = StoreAccount {
            placement,
            leaders: 1,
            replicas: 3,
            bytes: 3 << 20,
            copies: 2,
            no_peers: Some("it is being emptied".to_owned()),
            no_leads: None,
        };
        let told = Explanation { store: Some(account), is_halted: true, ..Explanation::default() };
        let text = transcript(&Subject::Store(StoreId(4)), &told, None, NOW);
        assert_eq!(
            text,
            "store 4  1 lead  3 replicas  3MiB  zone=z1  leader weight 0.5  worked on for 90 s\n\
             nothing is decided at all: the setting schedule.halt-scheduling is true\n  \
             the placement driver that leads has decided nothing here\n\
             now: takes no replicas: it is being emptied\n\
             now: takes leads\n\
             now: 2 copies on the way to it\n\
             store 4 leaves: 3 regions left (3MiB), 1 moving\n  \
             region 9 stays for now: store 5 is busy\n  \
             and 1 region like these\n"
        );
    }
}
