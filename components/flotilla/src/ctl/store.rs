//! Commands that change single stores.

use flotilla_base::StoreId;
use flotilla_client::{Admin, KeyRange};
use serde_json::json;

use crate::{
    args::{Globals, StoreCommand},
    catalogue,
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
    let StoreCommand::Remove { store, yes } = command;
    let store = StoreId(store);
    if yes { remove(globals, admin, store).await } else { Err(unconfirmed(admin, store).await?) }
}

async fn remove(globals: &Globals, admin: &Admin, store: StoreId) -> Result<(), Fault> {
    admin.remove_store(store).await?;
    if globals.output == Format::Json {
        return output::print_json("removed", json!({"store": store.get()}));
    }
    output::print(&format!("store {store}: leaves, what it held is made anew on other stores\n"))?;
    output::note(
        "how it goes on: flotilla ctl stores; what is done to regions: flotilla ctl operators",
    );
    Ok(())
}

/// What a removal without `--yes` is told: what it costs.
async fn unconfirmed(admin: &Admin, store: StoreId) -> Result<Fault, Fault> {
    let stores = admin.stores().await?;
    let Some(known) = stores.iter().find(|known| known.id == store) else {
        let fault = Fault::new(&catalogue::INVALID_ARGUMENT, format!("there is no store {store}"));
        return Ok(fault.hint("flotilla ctl stores"));
    };
    let regions = admin.regions(KeyRange::all(), usize::MAX).await?;
    let held = regions.iter().filter(|info| info.region.peer_on(store).is_some()).count() as u64;
    let what = format!("store {store} at {} is to be removed for good", known.address);
    let fault = Fault::new(&catalogue::UNCONFIRMED, what)
        .why(cost(store, held))
        .hint("if its directory is whole, start it again: it catches up by itself")
        .hint(format!("flotilla ctl store remove {store} --yes"));
    Ok(fault)
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
    }
}
