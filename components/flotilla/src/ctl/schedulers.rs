//! `flotilla ctl schedulers`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flotilla_base::StoreId;
use flotilla_client::{
    Admin, ErrorKind,
    placement::{Scheduler, SchedulerChange},
};
use serde_json::{Value, json};

use crate::{
    args::{Globals, SchedulersArgs, SchedulersCommand},
    catalogue,
    fault::Fault,
    output::{self, Column, Format, Table},
    text,
};

/// `flotilla ctl schedulers`.
pub(super) async fn run(
    globals: &Globals,
    admin: &Admin,
    args: SchedulersArgs,
) -> Result<(), Fault> {
    let of_store = |store: Option<u64>| store.map(StoreId);
    let (name, change) = match args.command {
        None | Some(SchedulersCommand::List) => return list(globals, &admin.schedulers().await?),
        Some(SchedulersCommand::Add { name, store }) => {
            (name.name, SchedulerChange::Add(of_store(store)))
        }
        Some(SchedulersCommand::Remove { name, store }) => {
            (name.name, SchedulerChange::Remove(of_store(store)))
        }
        Some(SchedulersCommand::Pause { name, duration }) => {
            let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            (name.name, SchedulerChange::Pause(millis))
        }
        Some(SchedulersCommand::Resume(name)) => (name.name, SchedulerChange::Pause(0)),
    };
    if let Err(error) = admin.change_scheduler(&name, change).await {
        if error.kind() != ErrorKind::Refused {
            return Err(error.into());
        }
        let hint = "flotilla ctl schedulers   lists all of them, and what they are for".to_owned();
        let fault = Fault::from(error).named(format!("cannot change the scheduler {name}"));
        return Err(fault.advised(&catalogue::BAD_SCHEDULER, vec![hint]));
    }
    let all = admin.schedulers().await?;
    let found = all.iter().find(|scheduler| is_called(scheduler, &name));
    if globals.output == Format::Json {
        return output::print_json("scheduler", json!(found.map(json_of)));
    }
    output::print(&told(&name, change))?;
    output::note(&format!("back again: flotilla ctl schedulers {}", way_back(&name, change)));
    Ok(())
}

fn is_called(scheduler: &Scheduler, name: &str) -> bool {
    scheduler.name == name || short(&scheduler.name) == name
}

/// Without the ending that all have.
fn short(name: &str) -> &str {
    name.strip_suffix("-scheduler").unwrap_or(name)
}

fn told(name: &str, change: SchedulerChange) -> String {
    match change {
        SchedulerChange::Add(None) => format!("{name} runs\n"),
        SchedulerChange::Add(Some(store)) => format!("{name} runs for store {store}\n"),
        SchedulerChange::Remove(None) => format!("{name} does not run any more\n"),
        SchedulerChange::Remove(Some(store)) => {
            format!("{name} does not run for store {store} any more\n")
        }
        SchedulerChange::Pause(0) => format!("{name} goes on\n"),
        SchedulerChange::Pause(millis) => {
            let span = text::span(Duration::from_millis(millis));
            format!("{name} does nothing for {span}\n")
        }
    }
}

fn way_back(name: &str, change: SchedulerChange) -> String {
    match change {
        SchedulerChange::Add(None) => format!("remove {name}"),
        SchedulerChange::Add(Some(store)) => format!("remove {name} --store {store}"),
        SchedulerChange::Remove(None) => format!("add {name}"),
        SchedulerChange::Remove(Some(store)) => format!("add {name} --store {store}"),
        SchedulerChange::Pause(0) => format!("pause {name} --for 10m"),
        SchedulerChange::Pause(_) => format!("resume {name}"),
    }
}

/// What it does at the moment, in a few words.
pub(super) fn state(scheduler: &Scheduler, now: Duration) -> String {
    let paused = Duration::from_millis(scheduler.paused_until_unix_ms).saturating_sub(now);
    if !scheduler.runs {
        "does not run".to_owned()
    } else if !paused.is_zero() {
        format!("paused for {}", text::span(paused))
    } else if scheduler.running > 0 {
        format!("{} under way", text::counted(scheduler.running, "change"))
    } else {
        scheduler.idle.as_ref().map_or_else(|| "looks".to_owned(), |idle| idle.why.clone())
    }
}

fn list(globals: &Globals, all: &[Scheduler]) -> Result<(), Fault> {
    if globals.output == Format::Json {
        return output::print_json("schedulers", Value::Array(all.iter().map(json_of).collect()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut table = Table::new(&[
        Column::Left("SCHEDULER"),
        Column::Left("STORES"),
        Column::Left("AT THE MOMENT"),
    ]);
    for scheduler in all {
        let stores: Vec<String> = scheduler.stores.iter().map(ToString::to_string).collect();
        let stores = if stores.is_empty() { "all".to_owned() } else { stores.join(",") };
        let stores = if scheduler.runs { stores } else { "-".to_owned() };
        let cells = [short(&scheduler.name).to_owned(), stores, state(scheduler, now)];
        table.row(cells.into());
    }
    output::print(&table.render())
}

pub(super) fn json_of(scheduler: &Scheduler) -> Value {
    let idle = scheduler.idle.as_ref();
    json!({
        "name": scheduler.name,
        "runs": scheduler.runs,
        "paused_until_unix_ms": scheduler.paused_until_unix_ms,
        "stores": scheduler.stores.iter().map(|store| store.get()).collect::<Vec<_>>(),
        "running": scheduler.running,
        "idle": idle.map(|idle| json!({"unix_ms": idle.unix_ms, "why": idle.why})),
    })
}

#[cfg(test)]
mod tests {
    use flotilla_client::placement::Reason;

    use super::*;

    #[test]
    fn a_scheduler_is_told_in_a_few_words() {
        let now = Duration::from_secs(1_000);
        let mut scheduler = Scheduler::default();
        assert_eq!(state(&scheduler, now), "does not run");
        scheduler.runs = true;
        assert_eq!(state(&scheduler, now), "looks");
        let why = "all stores carry alike".to_owned();
        scheduler.idle = Some(Reason { unix_ms: 999_000, why: why.clone() });
        assert_eq!(state(&scheduler, now), why);
        scheduler.running = 2;
        assert_eq!(state(&scheduler, now), "2 changes under way");
        scheduler.paused_until_unix_ms = 1_090_000;
        assert_eq!(state(&scheduler, now), "paused for 90 s");
        scheduler.paused_until_unix_ms = 999_000;
        assert_eq!(state(&scheduler, now), "2 changes under way");
    }

    #[test]
    fn each_change_has_a_way_back() {
        let store = Some(StoreId(4));
        let pairs = [
            (SchedulerChange::Add(store), "remove evict-leader --store 4"),
            (SchedulerChange::Remove(store), "add evict-leader --store 4"),
            (SchedulerChange::Pause(1), "resume evict-leader"),
        ];
        for (change, back) in pairs {
            assert_eq!(way_back("evict-leader", change), back);
        }
        let told = told("balance-region", SchedulerChange::Pause(600_000));
        assert_eq!(told, "balance-region does nothing for 10 min\n");
    }
}
