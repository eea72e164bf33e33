//! `flotilla ctl operators`: changes of regions that are under way, and that have ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flotilla_client::{Admin, OperatorInfo};
use serde_json::{Value, json};

use crate::{
    args::{Globals, OperatorsArgs},
    fault::Fault,
    output::{self, Column, Format, Table},
};

/// Lists them.
pub(super) async fn list(
    globals: &Globals,
    admin: &Admin,
    args: &OperatorsArgs,
) -> Result<(), Fault> {
    let operators = admin.operators().await?;
    let ended = if args.history { operators.ended } else { Vec::new() };
    if globals.output == Format::Json {
        let all = operators.running.iter().chain(&ended);
        return output::print_json("operators", Value::Array(all.map(json_of).collect()));
    }
    let mut table = Table::new(&[
        Column::Right("REGION"),
        Column::Left("CHANGE"),
        Column::Right("STEP"),
        Column::Right("AGE"),
        Column::Left("BY"),
        Column::Left("STATE"),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for operator in operators.running.iter().chain(&ended) {
        let age = now.saturating_sub(Duration::from_millis(operator.created_unix_ms));
        table.row(vec![
            operator.region.to_string(),
            operator.brief.clone(),
            format!("{}/{}", operator.done, operator.steps.len()),
            format!("{}s", age.as_secs()),
            operator.asked_by.clone(),
            state(operator),
        ]);
    }
    output::print(&table.render())
}

/// What it is about, or how it ended.
fn state(operator: &OperatorInfo) -> String {
    match &operator.ending {
        Some(ending) if ending.reason.is_empty() => ending.outcome.to_owned(),
        Some(ending) => format!("{}: {}", ending.outcome, ending.reason),
        None => operator.steps.get(operator.done).cloned().unwrap_or_default(),
    }
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
mod tests {
    use flotilla_base::RegionId;
    use flotilla_client::OperatorEnding;

    use super::*;

    #[test]
    fn the_step_that_is_due_is_shown_and_then_how_it_ended() {
        let mut operator = OperatorInfo {
            id: 1,
            region: RegionId(2),
            kind: "add-peer".to_owned(),
            brief: "add peer: store [4]".to_owned(),
            asked_by: "ctl".to_owned(),
            steps: vec!["add".to_owned(), "promote".to_owned()],
            done: 1,
            created_unix_ms: 1_000,
            timeout_ms: 660_000,
            ending: None,
        };
        assert_eq!(state(&operator), "promote");
        assert_eq!(json_of(&operator)["timeout_seconds"], 660);
        operator.done = 2;
        let ending = |outcome, reason: &str| {
            Some(OperatorEnding { outcome, reason: reason.to_owned(), unix_ms: 2_000 })
        };
        operator.ending = ending("finished", "");
        assert_eq!(state(&operator), "finished");
        operator.ending = ending("cancelled", "admin stop");
        assert_eq!(state(&operator), "cancelled: admin stop");
        assert_eq!(json_of(&operator)["ending"]["outcome"], "cancelled");
    }
}
