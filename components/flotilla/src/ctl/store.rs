//! Commands that change single stores.

use flotilla_base::{ByteSize, StoreId};
use flotilla_client::{
    Admin, Error, ErrorKind, Placement, StoreState,
    placement::{StoreLimit, StoreTreatment},
};
use serde_json::json;

use super::{
    confirm::{Plan, confirm},
    explain::{draining, placement_json},
    forget,
    obstacle::{Sight, Wish, explain},
};
use crate::{
    args::{self, Globals, StoreCommand},
    catalogue, context,
    fault::Fault,
    output::{self, Format},
    text,
};

/// `flotilla ctl store`.
pub(super) async fn run(
    globals: &Globals,
    admin: &Admin,
    command: StoreCommand,
) -> Result<(), Fault> {
    let limit = |limit: args::StoreLimit| match limit {
        args::StoreLimit::Usual => StoreLimit::Usual,
        args::StoreLimit::Peers(peers) => StoreLimit::Peers(peers),
    };
    let (store, treatment) = match command {
        StoreCommand::Drain { store, undo: true, .. } => {
            return keep(globals, admin, StoreId(store.store)).await;
        }
        StoreCommand::Drain { store, yes, .. } => {
            return drain(globals, admin, StoreId(store.store), yes).await;
        }
        StoreCommand::Forget { stores, yes, .. } => {
            return forget::run(globals, admin, &stores, yes).await;
        }
        StoreCommand::Remove { store, yes } => {
            return remove(globals, admin, (StoreId(store.store), "remove"), yes).await;
        }
        StoreCommand::Replace { store, yes } => {
            return remove(globals, admin, (StoreId(store.store), "replace"), yes).await;
        }
        StoreCommand::Label { store, labels, delete } => {
            (store, StoreTreatment::Labels { set: labels, delete })
        }
        StoreCommand::Weight { store, leader, region } => {
            (store, StoreTreatment::Weights { leader, region })
        }
        StoreCommand::Limit { store, add, remove } => {
            (store, StoreTreatment::Limits { add: add.map(limit), remove: remove.map(limit) })
        }
        StoreCommand::Maintain { store, duration, .. } => {
            let millis = duration.unwrap_or_default().as_millis();
            (store, StoreTreatment::Maintain(u64::try_from(millis).unwrap_or(u64::MAX)))
        }
    };
    treat(globals, admin, StoreId(store.store), &treatment).await
}

async fn treat(
    globals: &Globals,
    admin: &Admin,
    store: StoreId,
    treatment: &StoreTreatment,
) -> Result<(), Fault> {
    if let Err(error) = admin.treat_store(store, treatment).await {
        return Err(refused(globals, admin, Wish::Treat(store), error).await);
    }
    let placement = admin.placement().await?.unwrap_or_default();
    let placed = placement.stores.iter().find(|placed| placed.id == store);
    if globals.output == Format::Json {
        return output::print_json("placement", json!(placed.map(placement_json)));
    }
    let told = match treatment {
        StoreTreatment::Labels { .. } => {
            let labels = placed.map(|placed| placed.labels.as_slice()).unwrap_or_default();
            let labels: String =
                labels.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            format!("labels:{}", if labels.is_empty() { " none" } else { &labels })
        }
        StoreTreatment::Weights { .. } => {
            let weights = placed.map(|placed| (placed.leader_weight, placed.region_weight));
            let (leader, region) = weights.unwrap_or_default();
            format!("leader weight {leader}, region weight {region}")
        }
        StoreTreatment::Limits { .. } => {
            let limits =
                placed.map(|placed| (placed.add_peers_per_minute, placed.remove_peers_per_minute));
            let (add, remove) = limits.unwrap_or_default();
            format!("at most {add} replicas come and {remove} leave in a minute")
        }
        StoreTreatment::Maintain(0) => "the work on it is done: it leads again".to_owned(),
        StoreTreatment::Maintain(millis) => {
            let span = text::span(std::time::Duration::from_millis(*millis));
            format!("is being worked on for {span}: it leads nothing, and is not taken for down")
        }
    };
    output::print(&format!("store {store}: {told}\n"))?;
    if matches!(treatment, StoreTreatment::Maintain(1..)) {
        output::note(&format!("it ends by itself, or: flotilla ctl store maintain {store} --end"));
    }
    Ok(())
}

/// A refusal with what to do: about the store, where it is not there; else about what was asked.
async fn refused(globals: &Globals, admin: &Admin, wish: Wish, error: Error) -> Fault {
    if error.kind() != ErrorKind::Refused {
        return error.into();
    }
    let seen = Sight::look(globals, admin).await;
    match seen.and_then(|sight| sight.check(wish)) {
        Err(fault) => fault,
        Ok(()) => {
            let hint = "flotilla ctl store --help   says what is possible".to_owned();
            Fault::from(error).named(wish.failed()).advised(&catalogue::REFUSED, vec![hint])
        }
    }
}

async fn keep(globals: &Globals, admin: &Admin, store: StoreId) -> Result<(), Fault> {
    if let Err(error) = admin.keep_store(store).await {
        return Err(refused(globals, admin, Wish::Treat(store), error).await);
    }
    if globals.output == Format::Json {
        return output::print_json("kept", json!({"store": store.get()}));
    }
    output::print(&format!("store {store}: stays\n"))
}

async fn drain(globals: &Globals, admin: &Admin, store: StoreId, yes: bool) -> Result<(), Fault> {
    let sight = Sight::look(globals, admin).await?;
    sight.check(Wish::Drain(store))?;
    let known = sight.view.store(store);
    let is_leaving = known.is_some_and(|known| known.info.state == StoreState::Offline);
    if !is_leaving {
        if !yes {
            let placement = admin.placement().await?.unwrap_or_default();
            confirm(globals, drain_plan(&sight, &placement, store))?;
        }
        if let Err(error) = admin.drain_store(store).await {
            return Err(explain(globals, admin, Wish::Drain(store), error).await);
        }
    }
    let placement = admin.placement().await?.unwrap_or_default();
    let placed = placement.stores.iter().find(|placed| placed.id == store);
    if globals.output == Format::Json {
        let drain = placed.map(placement_json).map(|mut object| object["drain"].take());
        return output::print_json("drain", json!({"store": store.get(), "progress": drain}));
    }
    let told = placed.and_then(|placed| placed.drain.as_ref()).map(|drain| draining(store, drain));
    output::print(&told.unwrap_or_else(|| format!("store {store} is empty\n")))?;
    output::note(&format!(
        "how it goes on: flotilla ctl stores; it stays: flotilla ctl store drain {store} --undo"
    ));
    Ok(())
}

/// What a drain costs, and what is left then.
fn drain_plan(sight: &Sight, placement: &Placement, store: StoreId) -> Plan {
    let known = sight.view.store(store);
    let (held, address) =
        known.map_or((0, ""), |known| (known.regions, known.info.address.as_str()));
    let placed = placement.stores.iter().find(|placed| placed.id == store);
    let size = ByteSize(placed.map_or(0, |placed| placed.region_bytes));
    let others = sight.view.stores.iter().filter(|other| other.info.id != store);
    let stay = others.filter(|other| other.state == "up").count() as u64;
    let replicas = u64::from(sight.view.replicas_wanted);
    let may_fail = replicas.saturating_sub(1) / 2;
    let moved = text::counted(held as u64, "replica");
    let (stay, failures) = (text::counted(stay, "store"), text::counted(may_fail, "store"));
    Plan {
        what: format!("store {store} at {address} is to be emptied"),
        cost: format!(
            "{moved} ({size}) move to other stores; {stay} stay, and {failures} may fail then as now"
        ),
        hints: vec![format!("flotilla ctl store drain {store} --yes")],
    }
}

async fn remove(
    globals: &Globals,
    admin: &Admin,
    (store, verb): (StoreId, &str),
    yes: bool,
) -> Result<(), Fault> {
    if !yes {
        let sight = Sight::look(globals, admin).await?;
        sight.check(Wish::Remove(store))?;
        confirm(globals, removal_plan(&sight, store, verb))?;
    }
    if let Err(error) = admin.remove_store(store).await {
        return Err(explain(globals, admin, Wish::Remove(store), error).await);
    }
    if globals.output == Format::Json {
        return output::print_json("removed", json!({"store": store.get()}));
    }
    output::print(&format!("store {store}: leaves, what it held is made anew on other stores\n"))?;
    if verb == "replace" {
        output::print(&steps(store))?;
    }
    let note =
        "how it goes on: flotilla ctl stores; what is done to regions: flotilla ctl operators";
    output::note(&context::pasted(globals, note));
    Ok(())
}

/// What is left to do when another store takes the place of one that is lost.
fn steps(store: StoreId) -> String {
    format!(
        "  1  start a store with an empty directory, at another address, unless enough others are up\n  \
         2  wait until flotilla ctl stores does not list store {store} any more: its address is free then\n  \
         3  delete its directory: it must never be started again\n"
    )
}

/// What a removal costs.
fn removal_plan(sight: &Sight, store: StoreId, verb: &str) -> Plan {
    let known = sight.view.store(store);
    let held = known.map_or(0, |known| known.regions) as u64;
    let address = known.map_or("", |known| known.info.address.as_str());
    Plan {
        what: format!("store {store} at {address} is to be removed for good"),
        cost: cost(store, held),
        hints: vec![
            "if its directory is whole, start it again: it catches up by itself".to_owned(),
            format!("flotilla ctl store {verb} {store} --yes"),
        ],
    }
}

fn cost(store: StoreId, held: u64) -> String {
    format!(
        "its replicas of {} are given up and made anew on other stores, and store {store} can never come back, \
         whatever its disk still holds",
        text::counted(held, "region")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_removal_costs_is_told() {
        let told = cost(StoreId(3), 1);
        assert!(told.starts_with("its replicas of 1 region are given up"), "{told}");
        assert!(told.contains("store 3 can never come back"), "{told}");
        assert!(steps(StoreId(3)).contains("does not list store 3 any more"));
    }
}
