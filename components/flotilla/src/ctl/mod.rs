//! Commands that look at the cluster, and that change it.

mod operators;
mod region;
mod regions;
mod store;

use flotilla_base::ByteSize;
use flotilla_client::Client;
use serde_json::{Value, json};

use crate::{
    args::{CtlCommand, Globals},
    catalogue, context,
    fault::Fault,
    health::{ClusterView, Health, StoreView},
    output::{self, Column, Format, Table},
    playground, text,
};

/// `flotilla ctl`.
pub(crate) async fn run(globals: &Globals, command: CtlCommand) -> Result<(), Fault> {
    let client = context::connect(globals).await?;
    let look = async {
        let killed = playground::killed_stores(globals).await;
        ClusterView::look(&client.admin(), &killed).await
    };
    match command {
        CtlCommand::Status { check } => status(globals, &client, &look.await?, check).await,
        CtlCommand::Stores => stores(globals, &look.await?),
        CtlCommand::Store(command) => store::run(globals, &client.admin(), command).await,
        CtlCommand::Regions(args) => regions::list(globals, &look.await?, &args),
        CtlCommand::Region(command) => region::run(globals, &client.admin(), command).await,
        CtlCommand::Operators(args) => operators::list(globals, &client.admin(), &args).await,
    }
}

async fn status(
    globals: &Globals,
    client: &Client,
    view: &ClusterView,
    check: bool,
) -> Result<(), Fault> {
    let members = client.admin().members().await?;
    let health = Health::of(view);
    let word = health.word();
    let leader = members.members.iter().find(|member| Some(member.id) == members.leader);
    let leader = leader.map(|member| member.name.as_str());
    match globals.output {
        Format::Json => output::print_json(
            "status",
            json!({
                "cluster_id": members.cluster.get(),
                "health": word,
                "pd": {"members": members.members.len(), "leader": leader},
                "stores": {"total": health.stores, "up": health.stores_up, "may_fail": health.may_fail},
                "regions": {
                    "total": health.regions,
                    "leaderless": health.leaderless,
                    "under_replicated": health.under_replicated,
                },
            }),
        )?,
        Format::Table => output::print(&format!(
            "CLUSTER  id {}  {word}\n\
             PD       {}   leader {}\n\
             STORES   {}/{} up   {}\n\
             REGIONS  {}   leaderless {}   under-replicated {}\n",
            members.cluster,
            text::counted(members.members.len() as u64, "member"),
            leader.unwrap_or("none"),
            health.stores_up,
            health.stores,
            health.may_fail_text(),
            text::grouped(health.regions as u64),
            health.leaderless,
            health.under_replicated,
        ))?,
    }
    match health.complaint() {
        Some(complaint) if check => {
            let fault = Fault::new(&catalogue::UNHEALTHY, complaint);
            Err(fault.hint("flotilla ctl stores").hint("flotilla ctl regions"))
        }
        _ => Ok(()),
    }
}

fn stores(globals: &Globals, view: &ClusterView) -> Result<(), Fault> {
    if globals.output == Format::Json {
        let stores = view.stores.iter().map(store_json).collect();
        return output::print_json("stores", Value::Array(stores));
    }
    let mut table = Table::new(&[
        Column::Right("ID"),
        Column::Left("ADDRESS"),
        Column::Left("STATE"),
        Column::Right("LEADERS"),
        Column::Right("REGIONS"),
        Column::Right("USED"),
        Column::Right("FREE"),
        Column::Right("BEAT"),
    ]);
    for store in &view.stores {
        let beat =
            store.silent_for.map_or_else(|| "-".to_owned(), |age| format!("{}s", age.as_secs()));
        table.row(vec![
            store.info.id.to_string(),
            store.info.address.clone(),
            store.state.to_owned(),
            store.leaders.to_string(),
            store.regions.to_string(),
            ByteSize(store.info.report.used_bytes).to_string(),
            ByteSize(store.info.report.available_bytes).to_string(),
            beat,
        ]);
    }
    output::print(&table.render())
}

fn store_json(store: &StoreView) -> Value {
    json!({
        "id": store.info.id.get(),
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
