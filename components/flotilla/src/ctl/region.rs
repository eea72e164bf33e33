//! Commands that change single regions.

use flotilla_base::{Key, PeerRole, Region, RegionId, StoreId};
use flotilla_client::{Admin, Cut, Error, ErrorKind, OperatorInfo, RegionChange};
use serde_json::{Value, json};

use super::{
    obstacle::{Sight, Wish, explain},
    operators::json_of,
    regions::border,
    scatter,
};
use crate::{
    args::{Globals, RegionCommand, SplitArgs},
    catalogue, context,
    fault::Fault,
    health::{RegionView, votes_on},
    kv,
    output::{self, Column, Format, Table},
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
        RegionCommand::Scatter(args) => return scatter::run(globals, admin, &args).await,
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
                return Err(unconfirmed(globals, admin, region.region, store).await?);
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
    let operator = match admin.change_region(region, change).await {
        Ok(operator) => operator,
        Err(error) => {
            return Err(explain(globals, admin, Wish::Change(region, change), error).await);
        }
    };
    if globals.output == Format::Json {
        return output::print_json("operator", json_of(&operator));
    }
    let mut told = format!("region {region}: {} begins\n", operator.brief);
    for (number, step) in (1..).zip(&operator.steps) {
        told.push_str(&format!("  {number}  {step}\n"));
    }
    output::print(&told)?;
    output::note(&context::pasted(globals, "how it goes on: flotilla ctl operators --history"));
    Ok(())
}

async fn cancel(globals: &Globals, admin: &Admin, region: RegionId) -> Result<(), Fault> {
    if let Err(error) = admin.cancel_operator(region).await {
        return Err(explain(globals, admin, Wish::Cancel(region), error).await);
    }
    let sight = Sight::look(globals, admin).await?;
    let ended = sight.ended.iter().find(|operator| operator.region == region);
    let stays = sight.view.region(region).map(stays_behind).unwrap_or_default();
    if globals.output == Format::Json {
        let object = json!({
            "region": region.get(),
            "operator": ended.map(json_of),
            "stays_behind": stays.iter().map(|stays| &stays.what).collect::<Vec<_>>(),
        });
        return output::print_json("cancelled", object);
    }
    output::print(&format!("{}\n", given_up(region, ended)))?;
    let told = stays.iter().map(|Leftover { what, remedies }| {
        let remedies: String = remedies
            .iter()
            .map(|line| format!("    {}\n", context::pasted(globals, line)))
            .collect();
        format!("  stays behind: {what}\n{remedies}")
    });
    output::print(&told.collect::<String>())
}

fn given_up(region: RegionId, ended: Option<&OperatorInfo>) -> String {
    let done = ended.map_or_else(String::new, |operator| {
        let steps = text::counted(operator.steps.len() as u64, "step");
        format!(" ({}) after {} of {steps}", operator.brief, operator.done)
    });
    format!("region {region}: given up{done}; what was ordered last may still happen")
}

/// What a change leaves that was given up.
#[derive(Debug)]
struct Leftover {
    what: String,
    /// What to do about it.
    remedies: Vec<String>,
}

/// What is left of a change that was given up: copies that decide nothing, and joint changes.
fn stays_behind(region: &RegionView) -> Vec<Leftover> {
    let Region { id, peers, .. } = &region.info.region;
    let learners = peers.iter().filter(|peer| peer.role == PeerRole::Learner).map(|peer| {
        let place = format!("--region {id} --store {}", peer.store);
        Leftover {
            what: format!("a learner on store {}", peer.store),
            remedies: vec![
                format!("flotilla ctl region add-peer {place}   lets it vote"),
                format!("flotilla ctl region remove-peer {place} --yes   takes it away"),
            ],
        }
    });
    let is_half = |role| matches!(role, PeerRole::IncomingVoter | PeerRole::DemotingVoter);
    let joint = peers.iter().any(|peer| is_half(peer.role)).then(|| Leftover {
        what: "a change of several voters at once, which has begun".to_owned(),
        remedies: vec!["the next change of the region ends it first".to_owned()],
    });
    learners.chain(joint).collect()
}

/// What a removal without `--yes` is told: why it cannot be, or what it would cost.
async fn unconfirmed(
    globals: &Globals,
    admin: &Admin,
    region: u64,
    store: u64,
) -> Result<Fault, Fault> {
    let sight = Sight::look(globals, admin).await?;
    let change = RegionChange::RemovePeer(StoreId(store));
    sight.check(Wish::Change(RegionId(region), change))?;
    let cost = sight.view.region(RegionId(region)).map(|it| cost(it, StoreId(store)));
    let what = format!("the peer of region {region} on store {store} is to be removed");
    let fault = Fault::new(&catalogue::UNCONFIRMED, what)
        .why(cost.unwrap_or_else(|| catalogue::UNCONFIRMED.cause.to_owned()))
        .hint(format!("flotilla ctl region move-peer --region {region} --from {store} --to STORE"))
        .hint(format!("flotilla ctl region remove-peer --region {region} --store {store} --yes"));
    Ok(fault)
}

/// Voters that stay, and how many of their stores may fail then.
fn cost(region: &RegionView, store: StoreId) -> String {
    let peers = region.info.region.peers.iter();
    let voters = peers.filter(|it| votes_on(it) && it.store != store).count() as u64;
    let may_fail = voters.saturating_sub(1) / 2;
    let stands = match may_fail {
        0 => "it then stands no failure of a store at all".to_owned(),
        count => format!("it then stands the failure of {}", text::counted(count, "store")),
    };
    format!("{} would stay: {stands}", text::counted(voters, "voter"))
}

async fn split(globals: &Globals, admin: &Admin, args: SplitArgs) -> Result<(), Fault> {
    let keys = args.at.iter().map(|text| kv::key(text, args.hex).map(Into::into));
    let keys = keys.collect::<Result<Vec<Key>, Fault>>()?;
    let cuts = admin.split(keys.clone()).await.map_err(unsplit)?;
    if globals.output == Format::Json {
        let cut = json!({"regions_cut": cuts.len()});
        return output::print_json_with("split", cut, &[("regions", split_json(&cuts))]);
    }
    if cuts.is_empty() {
        return output::print("every key begins a region already\n");
    }
    output::print(&cuts.iter().map(split_text).collect::<String>())?;
    if has_fences(&cuts, &keys) {
        output::note(
            "borders that were not asked for are for clients of transactions, which cannot read a raw key as a border",
        );
    }
    Ok(())
}

/// Whether there are borders that nobody asked for.
fn has_fences(cuts: &[Cut], keys: &[Key]) -> bool {
    let borders = cuts.iter().flat_map(|cut| cut.parts.iter().skip(1).map(|it| &it.range.start));
    borders.into_iter().any(|border| !keys.contains(border))
}

/// A split is refused for its keys: what is at these keys helps on.
fn unsplit(error: Error) -> Fault {
    if error.kind() != ErrorKind::Refused {
        return error.into();
    }
    let hints = [
        "flotilla ctl regions --key KEY   shows the region that holds a key, with its borders",
        "choose keys between borders, and below the guard region, which holds no key and stays whole",
    ];
    Fault::from(error).advised(&catalogue::REFUSED, hints.map(str::to_owned).into())
}

/// A region and what came out of it.
fn split_text(cut: &Cut) -> String {
    let mut table = Table::new(&[
        Column::Right("ID"),
        Column::Left("START"),
        Column::Left("END"),
        Column::Left(""),
    ]);
    for part in &cut.parts {
        let is_new = if part.id == cut.region { "" } else { "new" };
        let (start, end) = (border(&part.range.start), border(&part.range.end));
        table.row(vec![part.id.to_string(), start, end, is_new.to_owned()]);
    }
    let parts = text::counted(cut.parts.len() as u64, "region");
    format!("region {} is {parts} now:\n{}", cut.region, table.render())
}

fn split_json(cuts: &[Cut]) -> Value {
    let part = |cut: &Cut, part: &Region| {
        json!({
            "id": part.id.get(),
            "start_hex": text::to_hex(&part.range.start),
            "end_hex": text::to_hex(&part.range.end),
            "cut_from": cut.region.get(),
            "is_new": part.id != cut.region,
        })
    };
    let parts = cuts.iter().flat_map(|cut| cut.parts.iter().map(move |it| part(cut, it)));
    Value::Array(parts.collect())
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, KeyRange, Peer, PeerId};
    use flotilla_client::RegionInfo;

    use super::*;
    use crate::health::{ClusterView, tests::facts};

    fn region(peers: Vec<Peer>) -> RegionView {
        let mut facts = facts([1, 1, 1]);
        let (id, range) = (RegionId(2), KeyRange::all());
        let leader = peers.first().copied();
        let region = Region { id, range, epoch: Epoch::FIRST, peers };
        facts.regions = vec![RegionInfo { region, leader, down: Vec::new(), pending: Vec::new() }];
        ClusterView::of(facts).regions.remove(0)
    }

    fn voters(count: u64) -> Vec<Peer> {
        (1..=count).map(|id| Peer::voter(PeerId(id), StoreId(id))).collect()
    }

    #[test]
    fn what_a_removal_costs_is_told_in_failures() {
        let told = |count: u64, store: u64| cost(&region(voters(count)), StoreId(store));
        assert_eq!(told(3, 3), "2 voters would stay: it then stands no failure of a store at all");
        assert_eq!(told(4, 4), "3 voters would stay: it then stands the failure of 1 store");
        assert_eq!(told(5, 9), "5 voters would stay: it then stands the failure of 2 stores");
    }

    #[test]
    fn what_stays_behind_is_told_with_what_to_do() {
        assert!(stays_behind(&region(voters(3))).is_empty());
        let mut peers = voters(4);
        peers[3].role = PeerRole::Learner;
        let stays = stays_behind(&region(peers.clone()));
        let [Leftover { what, remedies }] = stays.as_slice() else { panic!("{stays:?}") };
        assert_eq!(what, "a learner on store 4");
        let ways =
            ["add-peer --region 2 --store 4   lets", "remove-peer --region 2 --store 4 --yes"];
        for (remedy, way) in remedies.iter().zip(ways) {
            assert!(remedy.contains(way), "{remedy}");
        }
        (peers[0].role, peers[3].role) = (PeerRole::DemotingVoter, PeerRole::IncomingVoter);
        let stays = stays_behind(&region(peers));
        assert!(stays.len() == 1 && stays[0].what.contains("several voters"), "{stays:?}");
        let told =
            given_up(RegionId(2), Some(&super::super::operators::tests::operator(RegionId(2))));
        assert!(
            told.starts_with("region 2: given up (mv peer: store [1] to [4]) after 1 of 3 steps")
        );
    }

    #[test]
    fn a_split_shows_what_came_out_of_it() {
        let part = |id: u64, start: &'static str, end: &'static str| Region {
            id: RegionId(id),
            range: KeyRange::new(start, end),
            epoch: Epoch::FIRST,
            peers: voters(1),
        };
        let cut = Cut { region: RegionId(2), parts: vec![part(14, "", "b"), part(2, "b", "m")] };
        let lines =
            "region 2 is 2 regions now:\nID  START  END\n14  \"\"     b    new\n 2  b      m\n";
        assert_eq!(split_text(&cut), lines);
        let cuts = [cut];
        assert!(has_fences(&cuts, &["c".into()]) && !has_fences(&cuts, &["b".into(), "c".into()]));
        let json = split_json(&cuts);
        assert_eq!((&json[0]["id"], &json[0]["is_new"]), (&14.into(), &true.into()));
        assert_eq!((&json[1]["start_hex"], &json[1]["is_new"]), (&"62".into(), &false.into()));
    }
}
