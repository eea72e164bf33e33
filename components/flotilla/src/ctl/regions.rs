//! `flotilla ctl regions`: a page of them, chosen by key or by store, and how many there are in all.

use std::collections::BTreeMap;

use flotilla_base::{Key, Peer, PeerRole, StoreId, key::guard_border};
use serde_json::{Value, json};

use super::obstacle::Obstacle;
use crate::{
    args::{Globals, REGIONS_LIMIT, RegionsArgs},
    context,
    fault::Fault,
    health::{ClusterView, RegionState, RegionView},
    kv,
    output::{self, Column, Format, Table},
    text,
};

/// Characters of a border in a table.
const BORDER_CHARACTERS_MAX: usize = 60;

/// What is listed of the regions.
struct Page<'a> {
    shown: &'a [&'a RegionView],
    /// Where the next page begins; `None` on the last one.
    next: Option<&'a Key>,
    /// All that are asked for, those of other pages behind this one included.
    all: &'a [&'a RegionView],
}

/// Lists regions.
pub(super) fn list(globals: &Globals, view: &ClusterView, args: &RegionsArgs) -> Result<(), Fault> {
    let chosen = choose(view, args)?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX).min(chosen.len());
    let (shown, rest) = chosen.split_at(limit);
    let next = rest.first().map(|region| &region.info.region.range.start);
    let page = Page { shown, next, all: &chosen };
    if globals.output == Format::Json {
        return page.print_json();
    }
    page.print_table(globals, args)?;
    if let Some(waits_for) = view.waits_for() {
        output::note(&waits_for);
    }
    Ok(())
}

/// All that are asked for, whatever the limit, in the order of their keys.
fn choose<'a>(view: &'a ClusterView, args: &RegionsArgs) -> Result<Vec<&'a RegionView>, Fault> {
    let optional =
        |text: &Option<String>| text.as_ref().map(|text| kv::key(text, args.hex)).transpose();
    let (key, from) = (optional(&args.key)?, optional(&args.from)?);
    let store = args.store.map(StoreId);
    if let Some(id) = store.filter(|id| view.store(*id).is_none()) {
        return Err(Obstacle::no_store(id).into_fault(&format!("there is no store {id}")));
    }
    let is_chosen = |region: &&RegionView| {
        let region = &region.info.region;
        let (start, end) = (&region.range.start, &region.range.end);
        key.as_ref().is_none_or(|key| region.range.contains(key))
            && from.as_ref().is_none_or(|from| {
                end.is_empty()
                    || from.as_slice() < end.as_ref()
                    || from.as_slice() <= start.as_ref()
            })
            && store.is_none_or(|store| region.peer_on(store).is_some())
    };
    Ok(view.regions.iter().filter(is_chosen).collect())
}

impl Page<'_> {
    fn print_json(&self) -> Result<(), Fault> {
        let regions = Value::Array(self.shown.iter().map(|region| region_json(region)).collect());
        let rest = self.next.map_or(
            Value::Null,
            |next| json!({ "from": text::argument(next), "from_hex": text::to_hex(next) }),
        );
        let more = [
            ("truncated", json!(self.next.is_some())),
            ("rest", rest),
            ("total", json!(self.all.len())),
            ("states", json!(self.states())),
        ];
        output::print_json_with("regions", regions, &more)
    }

    fn print_table(&self, globals: &Globals, args: &RegionsArgs) -> Result<(), Fault> {
        output::print(&self.table().render())?;
        if let Some(next) = self.next {
            let (shown, all) = (self.shown.len() as u64, self.all.len() as u64);
            let states: Vec<String> = self
                .states()
                .iter()
                .map(|(state, count)| format!("{} {state}", text::grouped(*count)))
                .collect();
            output::note(&format!(
                "{} of {} ({}), more follow: {}",
                text::grouped(shown),
                text::counted(all, "region"),
                states.join(", "),
                context::pasted(globals, &continuation(args, next)),
            ));
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            Column::Right("ID"),
            Column::Left("START"),
            Column::Left("END"),
            Column::Right("LEADER"),
            Column::Left("VOTERS"),
            Column::Left("LEARNERS"),
            Column::Right("EPOCH"),
            Column::Left("STATE"),
        ]);
        for region in self.shown {
            let info = &region.info;
            let leader =
                region.leader().map_or_else(|| "-".to_owned(), |leader| leader.store.to_string());
            let (voters, learners) = members(&info.region.peers);
            let epoch = info.region.epoch;
            table.row(vec![
                info.region.id.to_string(),
                border(&info.region.range.start),
                border(&info.region.range.end),
                leader,
                voters,
                learners,
                format!("{}.{}", epoch.version, epoch.conf_ver),
                state_text(region).to_owned(),
            ]);
        }
        table
    }

    /// How many are in which state, of all that are asked for.
    fn states(&self) -> BTreeMap<&'static str, u64> {
        let mut states = BTreeMap::new();
        for region in self.all {
            *states.entry(state_text(region)).or_default() += 1;
        }
        states
    }
}

/// The stores of those that vote, and of those that do not. A peer between the two, in a joint change, is marked with what
/// becomes of it: `4+` will vote, `1-` will not.
fn members(peers: &[Peer]) -> (String, String) {
    let listed = |is_wanted: fn(PeerRole) -> bool| {
        let wanted = peers.iter().filter(|peer| is_wanted(peer.role)).map(|peer| {
            let mark = match peer.role {
                PeerRole::Voter | PeerRole::Learner => "",
                PeerRole::IncomingVoter => "+",
                PeerRole::DemotingVoter => "-",
            };
            format!("{}{mark}", peer.store)
        });
        let stores: Vec<String> = wanted.collect();
        if stores.is_empty() { "-".to_owned() } else { stores.join(",") }
    };
    (listed(|role| role != PeerRole::Learner), listed(|role| role == PeerRole::Learner))
}

const fn role_name(role: PeerRole) -> &'static str {
    match role {
        PeerRole::Voter => "voter",
        PeerRole::Learner => "learner",
        PeerRole::IncomingVoter => "incoming_voter",
        PeerRole::DemotingVoter => "demoting_voter",
    }
}

/// The command that shows the next page; it can be pasted.
fn continuation(args: &RegionsArgs, next: &Key) -> String {
    let mut command = format!("flotilla ctl regions --from {}", text::shell_word(next));
    if let Some(store) = args.store {
        command.push_str(&format!(" --store {store}"));
    }
    if args.limit != REGIONS_LIMIT {
        command.push_str(&format!(" --limit {}", args.limit));
    }
    command
}

/// A border for a table. The guard region's is the same everywhere, and long.
pub(super) fn border(key: &[u8]) -> String {
    if key == guard_border() {
        "(guard)".to_owned()
    } else {
        text::shortened(key, BORDER_CHARACTERS_MAX)
    }
}

/// The state for a table: which region is the guard is worth a word only while nothing else is.
fn state_text(region: &RegionView) -> &'static str {
    match region.state {
        RegionState::Whole if region.info.region.is_guard() => "guard",
        state => state.name(),
    }
}

fn region_json(region: &RegionView) -> Value {
    let info = &region.info;
    let peer = |peer: &Peer| json!({"id": peer.id.get(), "store": peer.store.get(), "role": role_name(peer.role)});
    json!({
        "id": info.region.id.get(),
        "start_hex": text::to_hex(&info.region.range.start),
        "end_hex": text::to_hex(&info.region.range.end),
        "version": info.region.epoch.version.get(),
        "conf_ver": info.region.epoch.conf_ver.get(),
        "leader": region.leader().map(|leader| leader.store.get()),
        "peers": info.region.peers.iter().map(peer).collect::<Vec<_>>(),
        "down": info.down.iter().map(|peer| peer.store.get()).collect::<Vec<_>>(),
        "state": state_text(region),
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use flotilla_base::{Epoch, KeyRange, Peer, PeerId, Region, RegionId};
    use flotilla_client::{
        admin::{RegionInfo, StoreState},
        health::{ClusterHealth, Contact},
    };

    use super::*;
    use crate::health::{Facts, tests::store};

    fn args() -> RegionsArgs {
        RegionsArgs { limit: REGIONS_LIMIT, key: None, from: None, store: None, hex: false }
    }

    fn region(id: u64, range: KeyRange) -> RegionInfo {
        // Every other one is on stores 1 to 3, and the rest on 2 to 4.
        let stores = 1 + id % 2..4 + id % 2;
        let peers: Vec<_> =
            stores.map(|store| Peer::voter(PeerId(10 * id + store), StoreId(store))).collect();
        let leader = peers.first().copied();
        let region = Region { id: RegionId(id), range, epoch: Epoch::FIRST, peers };
        RegionInfo { region, leader, down: Vec::new(), pending: Vec::new() }
    }

    /// So many regions, the last of them the guard.
    fn view(count: u64) -> ClusterView {
        let border = |number: u64| match number {
            0 => Key::new(),
            number if number == count => Key::new(),
            number if number + 1 == count => guard_border(),
            number => format!("k{number:05}").into(),
        };
        let regions = (0..count).map(|number| {
            region(number + 2, KeyRange { start: border(number), end: border(number + 1) })
        });
        let up = |id| store(id, &format!("store-{id}"), StoreState::Up);
        let stores: Vec<_> = (1..=4).map(up).collect();
        let up = stores.iter().map(|store| (store.id, Contact::Up));
        let health = ClusterHealth {
            stores: up.collect(),
            silent_regions: BTreeSet::new(),
            max_replicas: 3,
            start_up: None,
        };
        let (regions, health) = (regions.collect(), Some(health));
        ClusterView::of(Facts {
            stores,
            regions,
            health,
            killed: &[],
            silent: BTreeSet::new(),
            now: Duration::ZERO,
        })
    }

    fn ids(view: &ClusterView, args: &RegionsArgs) -> Vec<u64> {
        let chosen = choose(view, args).expect("it makes sense");
        chosen.iter().map(|region| region.info.region.id.get()).collect()
    }

    #[test]
    fn pages_of_ten_thousand_regions_follow_each_other() {
        let view = view(10_001);
        let (mut seen, mut from) = (Vec::new(), None);
        loop {
            let chosen = choose(&view, &RegionsArgs { from, ..args() }).expect("it makes sense");
            let shown = &chosen[..chosen.len().min(3_000)];
            seen.extend(shown.iter().map(|region| region.info.region.id.get()));
            let Some(next) = chosen.get(shown.len()) else { break };
            from = Some(text::shown(&next.info.region.range.start));
        }
        assert!(seen.iter().copied().eq(2..10_003), "{}", seen.len());
        let all: Vec<&RegionView> = view.regions.iter().collect();
        let page = Page { shown: &all[..1_000], next: None, all: &all };
        assert_eq!(page.states(), BTreeMap::from([("guard", 1), ("ok", 10_000)]));
        assert_eq!(page.table().render().lines().count(), 1_001);
    }

    #[test]
    fn regions_are_chosen_by_key_and_by_store() {
        let view = view(10);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(ids(&view, &RegionsArgs { key: text("k00003"), ..args() }), [5]);
        assert_eq!(ids(&view, &RegionsArgs { key: text("k00003x"), ..args() }), [5]);
        assert_eq!(ids(&view, &RegionsArgs { key: text("6b"), hex: true, ..args() }), [2]);
        assert_eq!(ids(&view, &RegionsArgs { key: text(""), ..args() }), [2]);
        assert_eq!(ids(&view, &RegionsArgs { key: text("\\xff\\xff"), ..args() }), [10]);
        assert_eq!(ids(&view, &RegionsArgs { store: Some(1), ..args() }), [2, 4, 6, 8, 10]);
        let from = text("k00007x");
        assert_eq!(ids(&view, &RegionsArgs { store: Some(4), from, ..args() }), [9, 11]);
        assert!(choose(&view, &RegionsArgs { store: Some(5), ..args() }).is_err());
        assert!(choose(&view, &RegionsArgs { key: text("zz"), hex: true, ..args() }).is_err());
    }

    #[test]
    fn who_votes_and_who_does_not_is_told_apart() {
        use PeerRole::{DemotingVoter, IncomingVoter, Learner, Voter};
        let peers = |roles: &[PeerRole]| {
            let peer = |(id, role): (u64, &PeerRole)| Peer {
                id: PeerId(10 + id),
                store: StoreId(id),
                role: *role,
            };
            (1..).zip(roles).map(peer).collect::<Vec<Peer>>()
        };
        let told = |roles: &[PeerRole]| members(&peers(roles));
        let told_as = |voters: &str, learners: &str| (voters.to_owned(), learners.to_owned());
        assert_eq!(told(&[Voter, Voter, Voter]), told_as("1,2,3", "-"));
        assert_eq!(told(&[Voter, Learner, Learner]), told_as("1", "2,3"));
        assert_eq!(told(&[DemotingVoter, Voter, IncomingVoter]), told_as("1-,2,3+", "-"));
        let mut view = view(1);
        view.regions[0].info.region.peers = peers(&[DemotingVoter, Voter, IncomingVoter, Learner]);
        let json = region_json(&view.regions[0]);
        let roles = ["demoting_voter", "voter", "incoming_voter", "learner"];
        let peers = json["peers"].as_array().expect("a list");
        assert!(peers.iter().map(|peer| &peer["role"]).eq(roles), "{json}");
    }

    #[test]
    fn the_next_page_is_named() {
        let next = Key::from("k 1");
        assert_eq!(continuation(&args(), &next), "flotilla ctl regions --from 'k 1'");
        let narrow = RegionsArgs { store: Some(3), limit: 7, hex: true, ..args() };
        let expected = "flotilla ctl regions --from 'k 1' --store 3 --limit 7";
        assert_eq!(continuation(&narrow, &next), expected, "in words, whatever was given");
    }
}
