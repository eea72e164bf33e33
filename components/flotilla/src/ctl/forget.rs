//! `flotilla ctl store forget`: stores that were removed for good are listed no more.

use flotilla_base::StoreId;
use flotilla_client::{Admin, ErrorKind};
use serde_json::json;

use super::{
    confirm::{Plan, confirm},
    obstacle::{Obstacle, Sight},
};
use crate::{
    args::Globals,
    catalogue,
    fault::Fault,
    health::ClusterView,
    output::{self, Format},
    text,
};

/// Forgets these stores; all that were removed where none is named.
pub(super) async fn run(
    globals: &Globals,
    admin: &Admin,
    named: &[u64],
    yes: bool,
) -> Result<(), Fault> {
    let view = Sight::look(globals, admin).await?.view;
    let gone = chosen(&view, named)?;
    if !yes && !gone.is_empty() {
        confirm(globals, plan(&view, &gone, named.is_empty()))?;
    }
    if let Err(error) = admin.forget_stores(&gone).await {
        if error.kind() != ErrorKind::Refused {
            return Err(error.into());
        }
        let fault = Fault::from(error).named("no store was forgotten".to_owned());
        let hint = "flotilla ctl stores --all   shows which stores are tombstones".to_owned();
        return Err(fault.advised(&catalogue::REFUSED, vec![hint]));
    }
    if globals.output == Format::Json {
        let ids: Vec<u64> = gone.iter().map(|store| store.get()).collect();
        return output::print_json("forgotten", json!({ "stores": ids }));
    }
    output::print(&match gone.as_slice() {
        [] => "no store was removed: there is none to forget\n".to_owned(),
        gone => format!("listed no more: {}\n", listed(gone)),
    })
}

/// The stores that are meant.
fn chosen(view: &ClusterView, named: &[u64]) -> Result<Vec<StoreId>, Fault> {
    let is_gone = |id: StoreId| view.store(id).is_some_and(|store| store.state == "tombstone");
    if named.is_empty() {
        let all = view.stores.iter().map(|store| store.info.id);
        return Ok(all.filter(|id| is_gone(*id)).collect());
    }
    for id in named.iter().copied().map(StoreId) {
        let Some(store) = view.store(id) else {
            return Err(Obstacle::no_store(id).into_fault("no store was forgotten"));
        };
        if !is_gone(id) {
            let why = format!("store {id} is {}: only a tombstone is forgotten", store.state);
            return Err(Fault::new(&catalogue::REFUSED, "no store was forgotten")
                .why(why)
                .hint(format!(
                    "flotilla ctl store drain {id}   empties it first, so that it can be switched off"
                ))
                .hint("flotilla ctl stores --all   shows which stores are tombstones"));
        }
    }
    Ok(named.iter().copied().map(StoreId).collect())
}

fn listed(stores: &[StoreId]) -> String {
    let word = if stores.len() == 1 { "store" } else { "stores" };
    let ids: Vec<String> = stores.iter().map(|store| store.to_string()).collect();
    format!("{word} {}", ids.join(", "))
}

/// What it costs.
fn plan(view: &ClusterView, gone: &[StoreId], is_all: bool) -> Plan {
    let addresses: Vec<&str> = gone
        .iter()
        .filter_map(|id| view.store(*id))
        .map(|store| store.info.address.as_str())
        .collect();
    let records = text::counted(gone.len() as u64, "record");
    let which = match is_all {
        true => "--all-removed".to_owned(),
        false => gone.iter().map(|store| store.to_string()).collect::<Vec<_>>().join(" "),
    };
    Plan {
        what: format!("{} at {} is to be forgotten", listed(gone), addresses.join(", ")),
        cost: format!(
            "{records} of what it was, where, and that it was removed cannot be brought back; its id is refused for ever, so \
             keep its directory from being started again"
        ),
        hints: vec![
            "flotilla ctl stores --all   shows them as long as they are kept, which costs nothing"
                .to_owned(),
            format!("flotilla ctl store forget {which} --yes"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use flotilla_client::{StoreState, health::Contact};

    use super::*;
    use crate::health::tests::judged;

    /// Three stores, the last of which is gone.
    fn view() -> ClusterView {
        let mut facts = judged([Contact::Up; 3]);
        facts.stores[2].state = StoreState::Tombstone;
        ClusterView::of(facts)
    }

    #[test]
    fn only_tombstones_are_forgotten() {
        let view = view();
        assert_eq!(chosen(&view, &[]).expect("those that are gone"), [StoreId(3)]);
        assert_eq!(chosen(&view, &[3]).expect("it is gone"), [StoreId(3)]);
        let up = chosen(&view, &[3, 1]).expect_err("store 1 is up").to_text();
        for part in ["FLT-2106", "store 1 is up", "store drain 1"] {
            assert!(up.contains(part), "no {part} in\n{up}");
        }
        let unknown = chosen(&view, &[9]).expect_err("there is none").to_text();
        assert!(unknown.contains("FLT-3003"), "{unknown}");
    }

    #[test]
    fn what_it_costs_is_told() {
        let told = plan(&view(), &[StoreId(3)], true);
        assert_eq!(told.what, "store 3 at store-3 is to be forgotten");
        assert!(told.cost.contains("its id is refused for ever"), "{}", told.cost);
        assert!(told.hints[1].ends_with("forget --all-removed --yes"), "{:?}", told.hints);
        let named = plan(&view(), &[StoreId(3), StoreId(4)], false);
        assert!(named.hints[1].ends_with("forget 3 4 --yes"), "{:?}", named.hints);
    }
}
