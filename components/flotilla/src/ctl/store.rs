//! Commands that change single stores.

use flotilla_base::StoreId;
use flotilla_client::Admin;
use serde_json::json;

use super::obstacle::{Sight, Wish, explain};
use crate::{
    args::{Globals, StoreCommand},
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
    let StoreCommand::Remove { store, yes } = command;
    let store = StoreId(store);
    if yes {
        return remove(globals, admin, store).await;
    }
    let sight = Sight::look(globals, admin).await?;
    sight.check(Wish::Remove(store))?;
    Err(unconfirmed(&sight, store))
}

async fn remove(globals: &Globals, admin: &Admin, store: StoreId) -> Result<(), Fault> {
    if let Err(error) = admin.remove_store(store).await {
        return Err(explain(globals, admin, Wish::Remove(store), error).await);
    }
    if globals.output == Format::Json {
        return output::print_json("removed", json!({"store": store.get()}));
    }
    output::print(&format!("store {store}: leaves, what it held is made anew on other stores\n"))?;
    let note =
        "how it goes on: flotilla ctl stores; what is done to regions: flotilla ctl operators";
    output::note(&context::pasted(globals, note));
    Ok(())
}

/// What a removal without `--yes` is told that is possible: what it costs.
fn unconfirmed(sight: &Sight, store: StoreId) -> Fault {
    let held = sight.view.store(store).map_or(0, |known| known.regions) as u64;
    let address = sight.view.store(store).map_or("", |known| known.info.address.as_str());
    let what = format!("store {store} at {address} is to be removed for good");
    Fault::new(&catalogue::UNCONFIRMED, what)
        .why(cost(store, held))
        .hint("if its directory is whole, start it again: it catches up by itself")
        .hint(format!("flotilla ctl store remove {store} --yes"))
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
