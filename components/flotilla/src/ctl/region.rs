//! Commands that change single regions.

use flotilla_base::{PeerRole, RegionId, StoreId};
use flotilla_client::{Admin, KeyRange, RegionChange, RegionInfo};
use serde_json::json;

use super::operators::json_of;
use crate::{
    args::{Globals, RegionCommand, SplitArgs},
    catalogue,
    fault::Fault,
    kv,
    output::{self, Format},
    text,
};

/// `flotilla ctl region`.
pub(super) async fn run(
    globals: &Globals,
    admin: &Admin,
    command: RegionCommand,
) -> Result<(), Fault> {
    let (region, change) = match command {
        RegionCommand::Split(args) => return split(globals, admin, args).await,
        RegionCommand::Cancel(region) => {
            return cancel(globals, admin, RegionId(region.region)).await;
        }
        RegionCommand::TransferLeader { region, to } => {
            (region, RegionChange::TransferLeader(StoreId(to)))
        }
        RegionCommand::AddPeer { region, store, learner: true } => {
            (region, RegionChange::AddLearner(StoreId(store)))
        }
        RegionCommand::AddPeer { region, store, learner: false } => {
            (region, RegionChange::AddPeer(StoreId(store)))
        }
        RegionCommand::RemovePeer { region, store, yes } => {
            if !yes {
                return Err(unconfirmed(admin, RegionId(region.region), StoreId(store)).await?);
            }
            (region, RegionChange::RemovePeer(StoreId(store)))
        }
        RegionCommand::MovePeer { region, from, to } => {
            (region, RegionChange::MovePeer { from: StoreId(from), to: StoreId(to) })
        }
    };
    begin(globals, admin, RegionId(region.region), change).await
}

async fn begin(
    globals: &Globals,
    admin: &Admin,
    region: RegionId,
    change: RegionChange,
) -> Result<(), Fault> {
    let operator = admin.change_region(region, change).await?;
    if globals.output == Format::Json {
        return output::print_json("operator", json_of(&operator));
    }
    let mut told = format!("region {region}: {} begins\n", operator.brief);
    for (number, step) in (1..).zip(&operator.steps) {
        told.push_str(&format!("  {number}  {step}\n"));
    }
    output::print(&told)?;
    output::note("how it goes on: flotilla ctl operators --history");
    Ok(())
}

async fn cancel(globals: &Globals, admin: &Admin, region: RegionId) -> Result<(), Fault> {
    admin.cancel_operator(region).await?;
    match globals.output {
        Format::Json => output::print_json("cancelled", json!({"region": region.get()})),
        Format::Table => output::print(&format!("region {region}: given up\n")),
    }
}

/// What a removal without `--yes` is told: what it would cost.
async fn unconfirmed(admin: &Admin, region: RegionId, store: StoreId) -> Result<Fault, Fault> {
    let regions = admin.regions(KeyRange::all(), usize::MAX).await?;
    let known = regions.iter().find(|info| info.region.id == region);
    let what = format!("the peer of region {region} on store {store} is to be removed");
    let fault = Fault::new(&catalogue::UNCONFIRMED, what)
        .why(known.map_or_else(|| format!("region {region} is not known"), |it| cost(it, store)))
        .hint(format!("flotilla ctl region move-peer --region {region} --from {store} --to STORE"))
        .hint(format!("flotilla ctl region remove-peer --region {region} --store {store} --yes"));
    Ok(fault)
}

/// Voters that stay, and how many of their stores may fail then.
fn cost(info: &RegionInfo, store: StoreId) -> String {
    let votes_on = |role| matches!(role, PeerRole::Voter | PeerRole::IncomingVoter);
    let staying = info.region.peers.iter().filter(|it| votes_on(it.role) && it.store != store);
    let voters = staying.count() as u64;
    let may_fail = voters.saturating_sub(1) / 2;
    let stands = match may_fail {
        0 => "it then stands no failure of a store at all".to_owned(),
        count => format!("it then stands the failure of {}", text::counted(count, "store")),
    };
    format!("{} would stay: {stands}", text::counted(voters, "voter"))
}

async fn split(globals: &Globals, admin: &Admin, args: SplitArgs) -> Result<(), Fault> {
    let keys = args.at.iter().map(|text| kv::key(text, args.hex).map(Into::into));
    let keys = keys.collect::<Result<Vec<_>, Fault>>()?;
    let cut = admin.split(keys).await?.len();
    match globals.output {
        Format::Json => output::print_json("split", json!({"regions_cut": cut})),
        Format::Table if cut == 0 => output::print("every key begins a region already\n"),
        Format::Table => output::print(&format!("{} split\n", text::counted(cut as u64, "region"))),
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, Peer, PeerId, Region};

    use super::*;

    #[test]
    fn what_a_removal_costs_is_told_in_failures() {
        let told = |voters: u64, store: u64| {
            let peers = (1..=voters).map(|id| Peer::voter(PeerId(id), StoreId(id)));
            let peers: Vec<Peer> = peers.collect();
            let (id, range) = (RegionId(2), KeyRange::all());
            let leader = peers.first().copied();
            let region = Region { id, range, epoch: Epoch::FIRST, peers };
            let info = RegionInfo { region, leader, down: Vec::new(), pending: Vec::new() };
            cost(&info, StoreId(store))
        };
        assert_eq!(told(3, 3), "2 voters would stay: it then stands no failure of a store at all");
        assert_eq!(told(4, 4), "3 voters would stay: it then stands the failure of 1 store");
        assert_eq!(told(5, 9), "5 voters would stay: it then stands the failure of 2 stores");
    }
}
