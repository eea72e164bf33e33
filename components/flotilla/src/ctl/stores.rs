//! `flotilla ctl stores`: those that there are, and on request those that were removed.

use std::collections::BTreeMap;

use flotilla_base::ByteSize;
use flotilla_client::Placement;
use serde_json::{Value, json};

use super::explain::{draining, placement_json};
use crate::{
    args::{Globals, StoresArgs},
    fault::Fault,
    health::{ClusterView, StoreView},
    output::{self, Column, Format, Table},
    text,
};

/// Node names of the playground that runs here, by address.
type Names = BTreeMap<String, String>;

/// Lists stores.
pub(super) fn list(
    globals: &Globals,
    (view, placement): (&ClusterView, &Placement),
    names: &Names,
    args: &StoresArgs,
) -> Result<(), Fault> {
    if globals.output == Format::Json {
        let stores = view.stores.iter().map(|store| {
            let placed = placement.stores.iter().find(|placed| placed.id == store.info.id);
            let mut object = store_json(store, node(view, names, store));
            object["placement"] = json!(placed.map(placement_json));
            object
        });
        return output::print_json("stores", Value::Array(stores.collect()));
    }
    let is_shown = |store: &&StoreView| args.all || !is_gone(store);
    let shown: Vec<&StoreView> = view.stores.iter().filter(is_shown).collect();
    output::print(&table(view, names, &shown).render())?;
    for store in &placement.stores {
        if let Some(drain) = &store.drain {
            output::print(&draining(store.id, drain))?;
        }
    }
    if let Some(note) = hidden_note(view.stores.len() - shown.len()) {
        output::note(&note);
    }
    Ok(())
}

fn is_gone(store: &StoreView) -> bool {
    store.state == "tombstone"
}

/// What is to be said of stores that are not shown.
fn hidden_note(hidden: usize) -> Option<String> {
    let removed = text::counted(hidden as u64, "removed store");
    (hidden > 0).then(|| format!("{removed} not shown: flotilla ctl stores --all"))
}

/// The node that a store is, in the playground that runs here. Whoever has the address of a removed store now has its
/// name, too.
fn node<'a>(view: &ClusterView, names: &'a Names, store: &StoreView) -> Option<&'a str> {
    let address = &store.info.address;
    let has_heir =
        || view.stores.iter().any(|other| !is_gone(other) && other.info.address == *address);
    if is_gone(store) && has_heir() {
        return None;
    }
    names.get(address).map(String::as_str)
}

fn table(view: &ClusterView, names: &Names, shown: &[&StoreView]) -> Table {
    const COLUMNS: [Column; 9] = [
        Column::Left("NODE"),
        Column::Right("ID"),
        Column::Left("ADDRESS"),
        Column::Left("STATE"),
        Column::Right("LEADERS"),
        Column::Right("REGIONS"),
        Column::Right("USED"),
        Column::Right("FREE"),
        Column::Right("BEAT"),
    ];
    // Only a playground gives its stores names.
    let unnamed = usize::from(names.is_empty());
    let mut table = Table::new(&COLUMNS[unnamed..]);
    for store in shown {
        let beat =
            store.silent_for.map_or_else(|| "-".to_owned(), |age| format!("{}s", age.as_secs()));
        let cells = [
            node(view, names, store).unwrap_or("-").to_owned(),
            store.info.id.to_string(),
            store.info.address.clone(),
            store.state.to_owned(),
            store.leaders.to_string(),
            store.regions.to_string(),
            ByteSize(store.info.report.used_bytes).to_string(),
            ByteSize(store.info.report.available_bytes).to_string(),
            beat,
        ];
        table.row(cells.into_iter().skip(unnamed).collect());
    }
    table
}

fn store_json(store: &StoreView, node: Option<&str>) -> Value {
    json!({
        "id": store.info.id.get(),
        "node": node,
        "address": store.info.address,
        "status_address": store.info.status_address,
        "state": store.state,
        "version": store.info.version,
        "leaders": store.leaders,
        "regions": store.regions,
        "capacity_bytes": store.info.report.capacity_bytes,
        "available_bytes": store.info.report.available_bytes,
        "used_bytes": store.info.report.used_bytes,
        "heartbeat_age_seconds": store.silent_for.map(|age| age.as_secs_f64()),
    })
}

#[cfg(test)]
mod tests {
    use flotilla_client::StoreState;

    use super::*;
    use crate::health::tests::{facts, store};

    /// Two stores that were removed, one of them from an address that another has now.
    fn view() -> ClusterView {
        let mut facts = facts([1, 1, 1]);
        for (id, address) in [(8, "store-2"), (9, "store-9")] {
            let gone = store(id, address, StoreState::Tombstone);
            facts.stores.push(gone);
        }
        ClusterView::of(facts)
    }

    #[test]
    fn stores_have_the_names_of_their_nodes() {
        let view = view();
        let names = ["store-2", "store-9"].map(|name| (name.to_owned(), format!("node of {name}")));
        let names: Names = names.into();
        let found: Vec<_> = view.stores.iter().map(|store| node(&view, &names, store)).collect();
        let [second, ninth] = [Some("node of store-2"), Some("node of store-9")];
        assert_eq!(found, [None, second, None, None, ninth], "the heir has the name");
        let all: Vec<&StoreView> = view.stores.iter().collect();
        assert!(table(&view, &names, &all).render().starts_with("NODE "));
        assert!(table(&view, &Names::new(), &all).render().trim_start().starts_with("ID "));
        assert_eq!(store_json(all[4], ninth)["node"], "node of store-9");
        assert_eq!(store_json(all[4], ninth)["state"], "tombstone");
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let note = |hidden| hidden_note(hidden).unwrap_or_default();
        assert_eq!(note(0), "");
        assert_eq!(note(1), "1 removed store not shown: flotilla ctl stores --all");
        assert_eq!(note(2), "2 removed stores not shown: flotilla ctl stores --all");
        assert_eq!(view().stores.iter().filter(|store| is_gone(store)).count(), 2);
    }
}
