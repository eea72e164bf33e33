//! Effects as text.

use bytes::Bytes;
use flotilla_base::{Epoch, Family, KvRead, Mutation, PeerRole, Region, RegionId, key::display};
use flotilla_multiraft::persist::{RegionState, read_region_state};
use flotilla_multiraft::{
    Delegate, InstallEffect, PeerMessage, Permit, Reply, Report, SnapshotEffect, SplitDone,
};
use flotilla_raftgroup::disk;

pub(crate) fn message(message: &PeerMessage) -> String {
    let PeerMessage { region, from, to, message, .. } = message;
    let mut text = format!(
        "{}->{} region {region} {:?} term {}",
        from.store, to.store, message.kind, message.term
    );
    if message.index.get() > 0 {
        text += &format!(" at {}/{}", message.log_term, message.index);
    }
    if message.commit.get() > 0 {
        text += &format!(" commit {}", message.commit);
    }
    if let (Some(first), Some(last)) = (message.entries.first(), message.entries.last()) {
        text += &format!(" entries {}..={}", first.index, last.index);
    }
    if let Some(hint) = message.reject {
        text += &format!(" rejected, hint {hint}");
    }
    text
}

/// What a batch writes; states are read back from `view`, which already shows it.
pub(crate) fn batch(batch: &[Mutation], view: &dyn KvRead) -> String {
    let shown: Vec<String> = batch.iter().map(|change| mutation(change, view)).collect();
    format!("[{}]", shown.join(", "))
}

fn mutation(change: &Mutation, view: &dyn KvRead) -> String {
    match change {
        Mutation::Put(Family::RaftLog, key, _) => format!("entry {}", position(key)),
        Mutation::Delete(Family::RaftLog, key) => format!("no entry {}", position(key)),
        Mutation::Put(Family::RaftMeta, key, _) => record(key, view),
        Mutation::Delete(Family::RaftMeta, key) => {
            format!("no {}", record(key, view))
        }
        Mutation::Put(_, key, value) => format!("{}={}", display(key), display(value)),
        Mutation::DeleteRange(family, range) => format!("nothing in {family:?} {range}"),
        other @ Mutation::Delete(..) => format!("{other:?}"),
    }
}

fn position(key: &Bytes) -> String {
    format!("{}/{}", number(&key[..8]), number(&key[8..]))
}

fn record(key: &Bytes, view: &dyn KvRead) -> String {
    let region = RegionId(number(&key[1..9]));
    match key[0] {
        0x10 => match read_region_state(view, region).expect("sound") {
            Some(RegionState::Applying(applying)) => {
                format!("region {region} applying stage {}", applying.stage.0)
            }
            _ => format!("region {region}"),
        },
        0x11 => format!("mark {region}"),
        0x14 => format!("removed members {region}"),
        0x15 => format!("tombstone {region}"),
        0x16 => format!("order to clean {region}"),
        0x20 => {
            let Some(state) = disk::read_raft_state(view, region).expect("sound") else {
                return format!("raft state {region}");
            };
            let (term, vote) = (state.hard_state.term, state.hard_state.vote);
            format!("raft state {region}: term {term} vote {vote} last {}", state.last.index)
        }
        _ => {
            let Some(state) = disk::read_apply_state(view, region).expect("sound") else {
                return format!("apply state {region}");
            };
            format!("apply state {region}: applied {}", state.applied.index)
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

pub(crate) fn reply(ticket: &str, reply: &Reply) -> String {
    match reply {
        Reply::Written => format!("reply {ticket}: written"),
        Reply::Split(division) => {
            let regions: Vec<String> = division.regions().map(shape).collect();
            format!("reply {ticket}: {}", regions.join(", "))
        }
        Reply::Changed(region) => format!("reply {ticket}: {}", members(region)),
        Reply::GuardFailed => format!("reply {ticket}: the guard failed"),
        Reply::ReadAt(index) => format!("reply {ticket}: read at {index}"),
        Reply::Unknown => format!("reply {ticket}: outcome not known"),
        Reply::Failed(error) => format!("reply {ticket}: {error}"),
    }
}

pub(crate) fn delegate(region: RegionId, delegate: &Delegate) -> String {
    let Delegate { generation, permit } = delegate;
    match permit {
        None => format!("permit region {region}: withdrawn, generation {generation}"),
        Some(Permit { term, commit, until, .. }) => format!(
            "permit region {region}: term {term} commit {commit} until {until}, generation {generation}"
        ),
    }
}

/// Id and epoch of a region, and its range where that has changed.
pub(crate) fn shape(region: &Region) -> String {
    if region.epoch == Epoch::FIRST {
        return region.id.to_string();
    }
    format!("{} {} of {}", region.id, region.range, region.epoch)
}

pub(crate) fn ranges(done: &SplitDone) -> String {
    let children = done.births.iter().map(|birth| &birth.region);
    let shapes: Vec<String> = children.chain([&done.parent]).map(shape).collect();
    shapes.join(", ")
}

pub(crate) fn snapshot(effect: &SnapshotEffect) -> String {
    match effect {
        SnapshotEffect::Take { region, to, .. } => {
            format!("snapshot region {region}: a view for peer {}", to.id)
        }
        SnapshotEffect::Send { message: sent, .. } => format!("snapshot {}", message(sent)),
        SnapshotEffect::Cancel { region, .. } => format!("snapshot region {region}: given up"),
        SnapshotEffect::Install(InstallEffect::Replace { region, clean, stage, .. }) => {
            format!("install region {region}: stage {} in place of {clean}", stage.0)
        }
        SnapshotEffect::Install(InstallEffect::Refused { region, stage, .. }) => {
            format!("install region {region}: stage {} is refused", stage.0)
        }
        SnapshotEffect::Install(InstallEffect::Done { region, stage, .. }) => {
            format!("install region {}: stage {} is done with", shape(region), stage.0)
        }
    }
}

/// Id, version of the membership, and who is in it: `v` for voters, `l` for learners, `+` and `-` for voters of one
/// half of a joint configuration.
pub(crate) fn members(region: &Region) -> String {
    let member = |peer: &flotilla_base::Peer| {
        let role = match peer.role {
            PeerRole::Voter => "v",
            PeerRole::Learner => "l",
            PeerRole::IncomingVoter => "+",
            PeerRole::DemotingVoter => "-",
        };
        format!("{role}{}", peer.id)
    };
    let members: Vec<String> = region.peers.iter().map(member).collect();
    format!("region {} at {}: {}", region.id, region.epoch.conf_ver, members.join(" "))
}

pub(crate) fn report(report: &Report) -> String {
    match report {
        Report::Split { parent, births, .. } => {
            let births: Vec<String> = births
                .iter()
                .map(|birth| {
                    let leads = if birth.leads { " to lead" } else { "" };
                    format!("{}{leads}", shape(&birth.region))
                })
                .collect();
            format!("report region {} split, born: {}", shape(parent), births.join(", "))
        }
        Report::Role { region, change, .. } => {
            let leader = change.leader.map_or("nobody".to_owned(), |leader| leader.to_string());
            let (role, term) = (change.role, change.term);
            format!("report region {}: {role:?} in term {term}, {leader} leads", region.id)
        }
        Report::Quarantined { region, damage } => {
            format!("report region {region} quarantined: {damage}")
        }
        Report::Members { region, .. } => format!("report {}", members(region)),
        Report::Lagging { region, peers } => {
            let peers: Vec<u64> = peers.iter().map(|peer| peer.id.get()).collect();
            format!("report region {region}: peers {peers:?} are far behind")
        }
        Report::Leaving { region, peer } => format!("report region {region}: peer {peer} leaves"),
        Report::Destroyed { region, peer, tombstone, cleanup } => {
            let cleanup = cleanup.as_ref().map_or_else(
                || "nothing to clean".to_owned(),
                |cleanup| format!("{} to clean", cleanup.range),
            );
            let next = tombstone.min_next;
            format!("report region {region}: peer {peer} is destroyed, next is {next}, {cleanup}")
        }
        Report::Orphaned(cleanup) => {
            format!("report {} of region {} has no peer here", cleanup.range, cleanup.region)
        }
        Report::Initialised { region, .. } => format!("report region {} initialised", region.id),
    }
}
