//! `flotilla ctl operators`: changes of regions that are under way, and that have ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flotilla_base::{KeyRange, StoreId};
use flotilla_client::{Admin, OperatorInfo, RegionInfo};
use serde_json::{Value, json};

use crate::{
    args::{Globals, OperatorsArgs},
    fault::Fault,
    output::{self, Format},
    text,
};

/// Lists them.
pub(super) async fn list(
    globals: &Globals,
    admin: &Admin,
    args: &OperatorsArgs,
) -> Result<(), Fault> {
    let (operators, regions) =
        tokio::join!(admin.operators(), admin.regions(KeyRange::all(), usize::MAX));
    let (operators, regions) = (operators?, regions?);
    let waits = |operator: &OperatorInfo| {
        let region = regions.iter().find(|info| info.region.id == operator.region);
        operator.ending.is_none().then(|| waits_for(operator, region))
    };
    if globals.output == Format::Json {
        let ended = if args.history { operators.ended.as_slice() } else { &[] };
        let all = operators.running.iter().chain(ended).map(|operator| {
            let mut object = json_of(operator);
            object["waits_for"] = json!(waits(operator));
            object
        });
        return output::print_json("operators", Value::Array(all.collect()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let shown = |operator: &OperatorInfo| block(operator, waits(operator).as_deref(), now);
    let mut told: String = operators.running.iter().map(shown).collect();
    if operators.running.is_empty() {
        told.push_str("nothing is being done to regions\n");
    }
    match operators.ended.first() {
        _ if args.history => told.extend(operators.ended.iter().map(shown)),
        Some(last) if operators.running.is_empty() => {
            told.push_str(&format!("the last change: {}\n", heading(last, now)));
        }
        _ => {}
    }
    output::print(&told)
}

/// What it is, for whom, and how long: one line.
pub(super) fn heading(operator: &OperatorInfo, now: Duration) -> String {
    let OperatorInfo { region, brief, asked_by, created_unix_ms, timeout_ms, .. } = operator;
    let begun = Duration::from_millis(*created_unix_ms);
    let age = match &operator.ending {
        None => {
            let (age, most) = (now.saturating_sub(begun), Duration::from_millis(*timeout_ms));
            format!("since {}, at most {}", text::span(age), text::span(most))
        }
        Some(ending) => {
            let ended = Duration::from_millis(ending.unix_ms);
            let (took, ago) = (ended.saturating_sub(begun), now.saturating_sub(ended));
            let reason = match ending.reason.as_str() {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            let (took, ago) = (text::span(took), text::span(ago));
            format!("{} after {took}, {ago} ago{reason}", ending.outcome)
        }
    };
    format!("region {region}: {brief}, by {asked_by}, {age}")
}

/// The same with its steps, the one that is due with what it waits for.
fn block(operator: &OperatorInfo, waits_for: Option<&str>, now: Duration) -> String {
    let mut told = format!("{}\n", heading(operator, now));
    for (position, step) in operator.steps.iter().enumerate() {
        let state = match (position.cmp(&operator.done), waits_for) {
            (std::cmp::Ordering::Less, _) => "done",
            (std::cmp::Ordering::Equal, Some(_)) => "now",
            _ => "-",
        };
        told.push_str(&format!("  {}  {state:<4}  {step}\n", position + 1));
        if let (true, Some(waits_for)) = (position == operator.done, waits_for) {
            told.push_str(&format!("           waits for {waits_for}\n"));
        }
    }
    told
}

/// What has to happen for the step that is due, as the last report of the region shows.
fn waits_for(operator: &OperatorInfo, region: Option<&RegionInfo>) -> String {
    let id = operator.region;
    let Some(info) = region else { return format!("a report of region {id}") };
    let Some(leader) = info.leader else { return format!("region {id} to get a leader") };
    let step = operator.steps.get(operator.done).map_or("", String::as_str);
    let is_concerned = |store: StoreId| names(step, store);
    let of_step = |peers: &[flotilla_base::Peer]| {
        peers.iter().map(|peer| peer.store).find(|store| is_concerned(*store))
    };
    if let Some(store) = of_step(&info.down) {
        return format!("store {store}, which does not answer");
    }
    if let Some(store) = of_step(&info.pending) {
        return format!("the peer on store {store} to get all data");
    }
    format!("the leader on store {} to carry it out", leader.store)
}

/// Whether the text of a step names the store.
fn names(step: &str, store: StoreId) -> bool {
    let name = format!("store {store}");
    let ends = |end: &str| !end.starts_with(|next: char| next.is_ascii_digit());
    step.match_indices(&name).any(|(at, _)| ends(&step[at + name.len()..]))
}

/// The same for programs.
pub(super) fn json_of(operator: &OperatorInfo) -> Value {
    let ending = operator.ending.as_ref().map(|ending| {
        json!({
            "outcome": ending.outcome,
            "reason": ending.reason,
            "unix_ms": ending.unix_ms,
        })
    });
    json!({
        "id": operator.id,
        "region": operator.region.get(),
        "kind": operator.kind,
        "brief": operator.brief,
        "asked_by": operator.asked_by,
        "steps": operator.steps,
        "steps_done": operator.done,
        "created_unix_ms": operator.created_unix_ms,
        "timeout_seconds": operator.timeout_ms / 1000,
        "ending": ending,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use flotilla_base::RegionId;
    use flotilla_client::OperatorEnding;

    use super::*;
    use crate::health::tests::facts;

    /// One that moves a peer from store 1 to store 4, and has added the new one.
    pub(in crate::ctl) fn operator(region: RegionId) -> OperatorInfo {
        let steps = [
            "add learner peer 17 on store 4",
            "use joint consensus, promote learner peer 17 on store 4 to voter",
            "remove peer on store 1",
        ];
        OperatorInfo {
            id: 1,
            region,
            kind: "move-peer".to_owned(),
            brief: "mv peer: store [1] to [4]".to_owned(),
            asked_by: "ctl".to_owned(),
            steps: steps.map(str::to_owned).into(),
            done: 1,
            created_unix_ms: 1_000,
            timeout_ms: 660_000,
            ending: None,
        }
    }

    #[test]
    fn steps_are_shown_with_what_is_waited_for() {
        let operator = operator(RegionId(2));
        let now = Duration::from_secs(13);
        let told = block(&operator, Some("the peer on store 4 to get all data"), now);
        let expected = "\
region 2: mv peer: store [1] to [4], by ctl, since 12 s, at most 11 min
  1  done  add learner peer 17 on store 4
  2  now   use joint consensus, promote learner peer 17 on store 4 to voter
           waits for the peer on store 4 to get all data
  3  -     remove peer on store 1
";
        assert_eq!(told, expected);
        assert_eq!(json_of(&operator)["timeout_seconds"], 660);
    }

    #[test]
    fn what_is_waited_for_shows_in_the_region() {
        let operator = operator(RegionId(2));
        let mut info = facts([1, 1, 1]).regions.remove(0);
        assert_eq!(waits_for(&operator, None), "a report of region 2");
        assert_eq!(waits_for(&operator, Some(&info)), "the leader on store 1 to carry it out");
        let mut peer = info.region.peers[0];
        for (store, expected) in [
            (4, "the peer on store 4 to get all data"),
            // Those who have nothing to do with the step are not waited for.
            (40, "the leader on store 1 to carry it out"),
            (1, "the leader on store 1 to carry it out"),
        ] {
            peer.store = StoreId(store);
            info.pending = vec![peer];
            assert_eq!(waits_for(&operator, Some(&info)), expected);
        }
        peer.store = StoreId(4);
        info.down = vec![peer];
        assert_eq!(waits_for(&operator, Some(&info)), "store 4, which does not answer");
        info.leader = None;
        assert_eq!(waits_for(&operator, Some(&info)), "region 2 to get a leader");
    }

    #[test]
    fn how_it_ended_is_told_with_the_reason() {
        let mut operator = operator(RegionId(2));
        let now = Duration::from_secs(200);
        let mut told = |outcome, reason: &str| {
            let reason = reason.to_owned();
            operator.ending = Some(OperatorEnding { outcome, reason, unix_ms: 4_000 });
            heading(&operator, now)
        };
        let finished = told("finished", "");
        assert!(finished.ends_with("by ctl, finished after 3 s, 3 min ago"), "{finished}");
        let cancelled = told("cancelled", "admin stop");
        assert!(cancelled.ends_with("cancelled after 3 s, 3 min ago (admin stop)"), "{cancelled}");
        assert_eq!(json_of(&operator)["ending"]["outcome"], "cancelled");
        let block = block(&operator, None, now);
        assert!(block.contains("  1  done  add") && block.contains("  2  -     use"), "{block}");
    }
}
