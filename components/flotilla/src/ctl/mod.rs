//! Commands that look at the cluster.

mod health;

use flotilla_base::{ByteSize, key};
use flotilla_client::{Client, KeyRange, RegionInfo};
use serde_json::{Value, json};

use self::health::{Health, StoreView};
use crate::{
    args::{CtlCommand, Globals},
    catalogue, context,
    fault::Fault,
    output::{self, Column, Format, Table},
    text,
};

/// Characters of a border in a table.
const BORDER_CHARACTERS_MAX: usize = 60;

/// `flotilla ctl`.
pub(crate) async fn run(globals: &Globals, command: CtlCommand) -> Result<(), Fault> {
    let client = context::connect(globals).await?;
    match command {
        CtlCommand::Status { check } => status(globals, &client, check).await,
        CtlCommand::Stores => stores(globals, &client).await,
        CtlCommand::Regions { limit } => regions(globals, &client, limit).await,
    }
}

async fn status(globals: &Globals, client: &Client, check: bool) -> Result<(), Fault> {
    let admin = client.admin();
    let members = admin.members().await?;
    let regions = admin.regions(KeyRange::all(), usize::MAX).await?;
    let stores = health::views(admin.stores().await?, &regions);
    let health = Health::of(&stores, &regions);
    let word = if health.is_well() { "healthy" } else { "degraded" };
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
             PD       {} members   leader {}\n\
             STORES   {}/{} up   {}\n\
             REGIONS  {}   leaderless {}   under-replicated {}\n",
            members.cluster,
            members.members.len(),
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
        Some(complaint) if check => Err(Fault::new(&catalogue::UNHEALTHY, complaint)),
        _ => Ok(()),
    }
}

async fn stores(globals: &Globals, client: &Client) -> Result<(), Fault> {
    let admin = client.admin();
    let regions = admin.regions(KeyRange::all(), usize::MAX).await?;
    let stores = health::views(admin.stores().await?, &regions);
    if globals.output == Format::Json {
        let stores = stores.iter().map(store_json).collect();
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
    for store in &stores {
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

async fn regions(globals: &Globals, client: &Client, limit: usize) -> Result<(), Fault> {
    let regions = client.admin().regions(KeyRange::all(), limit).await?;
    if globals.output == Format::Json {
        let regions = regions.iter().map(region_json).collect();
        return output::print_json("regions", Value::Array(regions));
    }
    let mut table = Table::new(&[
        Column::Right("ID"),
        Column::Left("START"),
        Column::Left("END"),
        Column::Right("LEADER"),
        Column::Left("VOTERS"),
        Column::Right("EPOCH"),
        Column::Left("STATE"),
    ]);
    for info in &regions {
        let leader = info.leader.map_or_else(|| "-".to_owned(), |leader| leader.store.to_string());
        let voters: Vec<String> =
            info.region.peers.iter().map(|peer| peer.store.to_string()).collect();
        let epoch = info.region.epoch;
        table.row(vec![
            info.region.id.to_string(),
            border(&info.region.range.start),
            border(&info.region.range.end),
            leader,
            voters.join(","),
            format!("{}.{}", epoch.version, epoch.conf_ver),
            region_state(info).to_owned(),
        ]);
    }
    output::print(&table.render())
}

/// A border for a table. The guard region's is the same everywhere, and long.
fn border(key: &[u8]) -> String {
    if key == key::guard_border() {
        "(guard)".to_owned()
    } else {
        text::shortened(key, BORDER_CHARACTERS_MAX)
    }
}

fn region_state(info: &RegionInfo) -> &'static str {
    if info.leader.is_none() {
        "leaderless"
    } else if !info.down.is_empty() {
        "under-replicated"
    } else if info.region.is_guard() {
        "guard"
    } else {
        "ok"
    }
}

fn region_json(info: &RegionInfo) -> Value {
    let peer = |peer: &flotilla_base::Peer| json!({"id": peer.id.get(), "store": peer.store.get()});
    json!({
        "id": info.region.id.get(),
        "start_hex": text::to_hex(&info.region.range.start),
        "end_hex": text::to_hex(&info.region.range.end),
        "version": info.region.epoch.version.get(),
        "conf_ver": info.region.epoch.conf_ver.get(),
        "leader": info.leader.map(|leader| leader.store.get()),
        "peers": info.region.peers.iter().map(peer).collect::<Vec<_>>(),
        "down": info.down.iter().map(|peer| peer.store.get()).collect::<Vec<_>>(),
        "state": region_state(info),
    })
}
