//! `flotilla ctl regions`: those that are asked for, a page of them in the order of their keys or the first in another, and
//! how many there are in all. What is held at a time is what is shown, and one page of what is asked.

use std::{cmp::Reverse, collections::BTreeMap};

use flotilla_base::{ByteSize, Key, KeyRange, Peer, PeerRole, StoreId, key::guard_border};
use flotilla_client::{
    Admin,
    placement::Rates,
    regions::{ListedRegion, RegionCheck, RegionsWanted, ReplicaRole},
};
use serde_json::{Value, json};

use super::{
    hot::{flow, rates_json},
    obstacle::Obstacle,
};
use crate::{
    args::{CheckArg, Globals, REGIONS_LIMIT, RegionsArgs, RoleArg, SortArg, word},
    catalogue, context,
    fault::Fault,
    health::{ClusterView, Facts, Judge, RegionState, RegionView},
    kv,
    output::{self, Column, Format, Table},
    text,
};

/// Characters of a border in a table.
const BORDER_CHARACTERS_MAX: usize = 60;

/// A region that is shown.
#[derive(Debug)]
struct Row {
    view: RegionView,
    size_bytes: u64,
    keys: u64,
    rates: Rates,
}

/// What is shown of the regions that come.
#[derive(Debug)]
struct Choice {
    sort: Option<SortArg>,
    limit: usize,
    /// At most the limit, and while more come in another order than that of their keys, twice as many.
    rows: Vec<Row>,
    /// Where the next page begins, in the order of keys.
    next: Option<Key>,
    total: u64,
    /// How many are in which state, of all that are asked for.
    states: BTreeMap<&'static str, u64>,
}

/// Lists regions. `killed` are addresses of stores that are known to be down.
pub(super) async fn list(
    globals: &Globals,
    admin: &Admin,
    killed: &[String],
    args: &RegionsArgs,
) -> Result<(), Fault> {
    let facts = Facts::of_stores(admin, killed).await?;
    let wanted = wanted(args)?;
    if let Some((id, _role)) = wanted.store
        && !facts.stores.iter().any(|store| store.id == id)
    {
        return Err(Obstacle::no_store(id).into_fault(&format!("there is no store {id}")));
    }
    let mut choice = Choice::new(args);
    let (judge, mut pages) = (Judge::new(&facts), admin.region_pages(wanted));
    while let Some(page) = pages.next().await? {
        page.into_iter().for_each(|listed| choice.take(&judge, listed));
    }
    choice.settle();
    if globals.output == Format::Json {
        return choice.print_json();
    }
    choice.print_table(globals, args)?;
    if let Some(waits_for) = ClusterView::of(facts).waits_for() {
        output::note(&waits_for);
    }
    Ok(())
}

/// What the placement driver is asked for.
fn wanted(args: &RegionsArgs) -> Result<RegionsWanted, Fault> {
    let optional =
        |text: &Option<String>| text.as_ref().map(|text| kv::key(text, args.hex)).transpose();
    let (key, from, to) = (optional(&args.key)?, optional(&args.from)?, optional(&args.to)?);
    let range = match key {
        Some(key) => {
            let behind = [key.as_slice(), &[0]].concat();
            KeyRange::new(key, behind)
        }
        None => KeyRange::new(from.unwrap_or_default(), to.unwrap_or_default()),
    };
    if !range.end.is_empty() && range.end <= range.start {
        let why = "no key is at --from and behind it, and before --to: an empty --to is no border";
        return Err(Fault::new(&catalogue::INVALID_ARGUMENT, "these regions cannot be listed")
            .why(why)
            .hint("flotilla ctl regions --help   says what can be asked"));
    }
    let role = args.role.map_or(ReplicaRole::Any, |role| match role {
        RoleArg::Leader => ReplicaRole::Leader,
        RoleArg::Follower => ReplicaRole::Follower,
        RoleArg::Learner => ReplicaRole::Learner,
    });
    let check = args.check.map(|check| match check {
        CheckArg::MissPeer => RegionCheck::MissPeer,
        CheckArg::ExtraPeer => RegionCheck::ExtraPeer,
        CheckArg::DownPeer => RegionCheck::DownPeer,
        CheckArg::PendingPeer => RegionCheck::PendingPeer,
        CheckArg::LearnerPeer => RegionCheck::LearnerPeer,
        CheckArg::OfflinePeer => RegionCheck::OfflinePeer,
        CheckArg::Empty => RegionCheck::Empty,
        CheckArg::Oversized => RegionCheck::Oversized,
    });
    Ok(RegionsWanted { range, store: args.store.map(|store| (StoreId(store), role)), check })
}

impl Choice {
    fn new(args: &RegionsArgs) -> Self {
        let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
        let (rows, states) = (Vec::new(), BTreeMap::new());
        Self { sort: args.sort, limit, rows, next: None, total: 0, states }
    }

    /// Takes the next one, in the order of keys.
    fn take(&mut self, judge: &Judge<'_>, listed: ListedRegion) {
        let view = judge.region(&listed.info);
        let ListedRegion { size_bytes, keys, rates, .. } = listed;
        self.total += 1;
        *self.states.entry(state_text(&view)).or_default() += 1;
        if self.sort.is_none() && self.rows.len() == self.limit {
            self.next.get_or_insert(listed.info.region.range.start);
            return;
        }
        self.rows.push(Row { view, size_bytes, keys, rates });
        if self.rows.len() >= self.limit.saturating_mul(2) {
            self.settle();
        }
    }

    /// Only those stay that are shown.
    fn settle(&mut self) {
        let Some(sort) = self.sort else { return };
        self.rows.sort_by_key(|row| (Reverse(row.figure(sort)), row.view.info.region.id));
        self.rows.truncate(self.limit);
    }

    fn print_json(&self) -> Result<(), Fault> {
        let regions = Value::Array(self.rows.iter().map(Row::json).collect());
        let rest = self.next.as_ref().map_or(
            Value::Null,
            |next| json!({ "from": text::argument(next), "from_hex": text::to_hex(next) }),
        );
        let more = [
            ("truncated", json!(self.is_truncated())),
            ("rest", rest),
            ("total", json!(self.total)),
            ("states", json!(self.states)),
        ];
        output::print_json_with("regions", regions, &more)
    }

    const fn is_truncated(&self) -> bool {
        (self.rows.len() as u64) < self.total
    }

    fn print_table(&self, globals: &Globals, args: &RegionsArgs) -> Result<(), Fault> {
        output::print(&self.table().render())?;
        if self.is_truncated() {
            output::note(&context::pasted(globals, &self.remainder(args)));
        }
        Ok(())
    }

    /// What is said of those that are not shown, and the command that shows them; it can be pasted.
    fn remainder(&self, args: &RegionsArgs) -> String {
        let states: Vec<String> = self
            .states
            .iter()
            .map(|(state, count)| format!("{} {state}", text::grouped(*count)))
            .collect();
        let (shown, all) = (text::grouped(self.rows.len() as u64), self.total);
        let (all, states) = (text::counted(all, "region"), states.join(", "));
        match &self.next {
            Some(next) => {
                format!("{shown} of {all} ({states}), more follow: {}", continuation(args, next))
            }
            None => format!("the first {shown} of {all} ({states}): --limit N shows more"),
        }
    }

    fn table(&self) -> Table {
        let mut columns = vec![
            Column::Right("ID"),
            Column::Left("START"),
            Column::Left("END"),
            Column::Right("LEADER"),
            Column::Left("VOTERS"),
            Column::Left("LEARNERS"),
            Column::Right("EPOCH"),
            Column::Right("SIZE"),
            Column::Right("KEYS"),
        ];
        match self.sort {
            Some(SortArg::WriteFlow) => columns.push(Column::Right("WRITES")),
            Some(SortArg::ReadFlow) => columns.push(Column::Right("READS")),
            _ => {}
        }
        columns.push(Column::Left("STATE"));
        let mut table = Table::new(&columns);
        self.rows.iter().for_each(|row| table.row(row.cells(self.sort)));
        table
    }
}

impl Row {
    /// What it is sorted by.
    const fn figure(&self, sort: SortArg) -> u64 {
        let epoch = &self.view.info.region.epoch;
        match sort {
            SortArg::Size => self.size_bytes,
            SortArg::Keys => self.keys,
            SortArg::WriteFlow => self.rates.written_bytes,
            SortArg::ReadFlow => self.rates.read_bytes,
            SortArg::Version => epoch.version.get(),
            SortArg::ConfVersion => epoch.conf_ver.get(),
        }
    }

    fn cells(&self, sort: Option<SortArg>) -> Vec<String> {
        let Self { view, size_bytes, keys, rates } = self;
        let region = &view.info.region;
        let leader =
            view.leader().map_or_else(|| "-".to_owned(), |leader| leader.store.to_string());
        let (voters, learners) = members(&region.peers);
        let known = |number: u64, told: String| if number == 0 { "-".to_owned() } else { told };
        let mut cells = vec![
            region.id.to_string(),
            border(&region.range.start),
            border(&region.range.end),
            leader,
            voters,
            learners,
            format!("{}.{}", region.epoch.version, region.epoch.conf_ver),
            known(*size_bytes, ByteSize(*size_bytes).to_string()),
            known(*keys, text::grouped(*keys)),
        ];
        match sort {
            Some(SortArg::WriteFlow) => cells.push(flow(rates.written_keys, rates.written_bytes)),
            Some(SortArg::ReadFlow) => cells.push(flow(rates.read_keys, rates.read_bytes)),
            _ => {}
        }
        cells.push(state_text(view).to_owned());
        cells
    }

    fn json(&self) -> Value {
        let mut json = region_json(&self.view);
        json["size_bytes"] = json!(self.size_bytes);
        json["keys"] = json!(self.keys);
        json["rates"] = rates_json(&self.rates);
        json
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

/// The command that shows the next page.
fn continuation(args: &RegionsArgs, next: &Key) -> String {
    let mut command = format!("flotilla ctl regions --from {}", text::shell_word(next));
    if let Some(to) = args.to.as_ref().and_then(|to| kv::key(to, args.hex).ok()) {
        command.push_str(&format!(" --to {}", text::shell_word(&to)));
    }
    if let Some(store) = args.store {
        command.push_str(&format!(" --store {store}"));
    }
    if let Some(role) = args.role {
        command.push_str(&format!(" --role {}", word(role)));
    }
    if let Some(check) = args.check {
        command.push_str(&format!(" --check {}", word(check)));
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

    use flotilla_base::{Epoch, Peer, PeerId, Region, RegionId, Version};
    use flotilla_client::{
        admin::{RegionInfo, StoreState},
        health::{ClusterHealth, Contact},
    };

    use super::*;
    use crate::health::tests::store;

    fn args() -> RegionsArgs {
        RegionsArgs {
            limit: REGIONS_LIMIT,
            key: None,
            from: None,
            to: None,
            store: None,
            role: None,
            check: None,
            sort: None,
            hex: false,
        }
    }

    /// The larger its id, the less it holds.
    fn listed(id: u64, range: KeyRange) -> ListedRegion {
        let peer = |store| Peer::voter(PeerId(10 * id + store), StoreId(store));
        let peers: Vec<_> = (1..=3).map(peer).collect();
        let (leader, epoch) = (peers.first().copied(), Epoch::FIRST);
        let region = Region { id: RegionId(id), range, epoch, peers };
        let info = RegionInfo { region, leader, down: Vec::new(), pending: Vec::new() };
        let size_bytes = 1_000_000 - id;
        let rates = Rates { read_bytes: id % 7, ..Rates::default() };
        ListedRegion { info, size_bytes, keys: id % 5, rates }
    }

    /// Four stores that are up.
    fn facts() -> Facts<'static> {
        let up = |id| store(id, &format!("store-{id}"), StoreState::Up);
        let stores: Vec<_> = (1..=4).map(up).collect();
        let health = ClusterHealth {
            stores: stores.iter().map(|store| (store.id, Contact::Up)).collect(),
            max_replicas: 3,
            ..ClusterHealth::default()
        };
        let (regions, health, silent) = (Vec::new(), Some(health), BTreeSet::new());
        Facts { stores, regions, health, killed: &[], silent, now: Duration::ZERO }
    }

    /// What is shown of so many regions, the last of them the guard.
    fn choice(count: u64, args: &RegionsArgs) -> Choice {
        let border = |number: u64| match number {
            0 => Key::new(),
            number if number == count => Key::new(),
            number if number + 1 == count => guard_border(),
            number => format!("k{number:05}").into(),
        };
        let (facts, mut choice) = (facts(), Choice::new(args));
        let judge = Judge::new(&facts);
        for number in 0..count {
            let range = KeyRange { start: border(number), end: border(number + 1) };
            choice.take(&judge, listed(number + 2, range));
            assert!(choice.rows.len() <= 2 * choice.limit, "no more are held");
        }
        choice.settle();
        choice
    }

    fn ids(choice: &Choice) -> Vec<u64> {
        choice.rows.iter().map(|row| row.view.info.region.id.get()).collect()
    }

    #[test]
    fn a_page_is_what_comes_first_and_the_next_one_follows() {
        let page = choice(10_001, &RegionsArgs { limit: 3, ..args() });
        assert_eq!((ids(&page), page.total), (vec![2, 3, 4], 10_001));
        assert_eq!(page.next, Some(Key::from("k00003")));
        assert_eq!(page.states, BTreeMap::from([("guard", 1), ("ok", 10_000)]));
        assert_eq!(page.table().render().lines().count(), 4);
        let remainder = page.remainder(&RegionsArgs { limit: 3, ..args() });
        let told = "3 of 10,001 regions (1 guard, 10,000 ok), more follow: \
                    flotilla ctl regions --from k00003 --limit 3";
        assert_eq!(remainder, told);
        let all = choice(7, &args());
        assert_eq!(
            (ids(&all), all.next.is_none(), all.is_truncated()),
            ((2..9).collect(), true, false)
        );
    }

    #[test]
    fn the_largest_are_shown_of_all_that_come() {
        for (sort, expected) in [
            (SortArg::Size, [2, 3, 4]),
            (SortArg::Keys, [4, 9, 14]),
            (SortArg::ReadFlow, [6, 13, 20]),
            // All alike: by id.
            (SortArg::WriteFlow, [2, 3, 4]),
        ] {
            let args = RegionsArgs { sort: Some(sort), limit: 3, ..args() };
            let top = choice(1_000, &args);
            assert_eq!(
                (ids(&top), top.total, &top.next),
                (expected.into(), 1_000, &None),
                "{sort:?}"
            );
            let told = "the first 3 of 1,000 regions (1 guard, 999 ok): --limit N shows more";
            assert_eq!(top.remainder(&args), told);
        }
        let args = RegionsArgs { sort: Some(SortArg::ReadFlow), limit: 1, ..args() };
        let table = choice(10, &args).table().render();
        assert!(table.contains("READS") && table.contains("0 keys/s 6B/s"), "{table}");
        let mut one = choice(1, &args);
        let region = &mut one.rows[0].view.info.region;
        region.epoch = Epoch { version: Version(9), ..region.epoch };
        assert_eq!(one.rows[0].figure(SortArg::Version), 9);
        assert_eq!(one.rows[0].figure(SortArg::ConfVersion), Epoch::FIRST.conf_ver.get());
    }

    #[test]
    fn what_is_asked_for_is_read_or_refused() {
        let text = |text: &str| Some(text.to_owned());
        let one = wanted(&RegionsArgs { key: text("6b"), hex: true, ..args() }).expect("a key");
        assert_eq!(one.range, KeyRange::new(b"k".to_vec(), b"k\0".to_vec()));
        let first = wanted(&RegionsArgs { key: text(""), ..args() }).expect("the first key");
        assert_eq!(first.range, KeyRange::new(Vec::new(), vec![0]));
        let (store, role) = (Some(4), Some(RoleArg::Learner));
        let from = text("k7");
        let some =
            wanted(&RegionsArgs { from: from.clone(), store, role, ..args() }).expect("fine");
        assert_eq!(some.range, KeyRange::new(b"k7".to_vec(), Vec::new()));
        assert_eq!(some.store, Some((StoreId(4), ReplicaRole::Learner)));
        let none = wanted(&RegionsArgs { from, to: text("k7"), ..args() }).expect_err("no key");
        assert!(none.to_text().contains("FLT-2108"), "{}", none.to_text());
        assert!(wanted(&RegionsArgs { key: text("zz"), hex: true, ..args() }).is_err());
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
        let facts = facts();
        let mut listed = listed(2, KeyRange::all());
        listed.info.region.peers = peers(&[DemotingVoter, Voter, IncomingVoter, Learner]);
        let json = region_json(&Judge::new(&facts).region(&listed.info));
        let roles = ["demoting_voter", "voter", "incoming_voter", "learner"];
        let peers = json["peers"].as_array().expect("a list");
        assert!(peers.iter().map(|peer| &peer["role"]).eq(roles), "{json}");
    }

    #[test]
    fn the_next_page_is_named() {
        let next = Key::from("k 1");
        assert_eq!(continuation(&args(), &next), "flotilla ctl regions --from 'k 1'");
        let (role, check) = (Some(RoleArg::Follower), Some(CheckArg::MissPeer));
        let to = Some("6c".to_owned());
        let narrow = RegionsArgs { store: Some(3), role, check, to, limit: 7, hex: true, ..args() };
        let expected = "flotilla ctl regions --from 'k 1' --to l --store 3 --role follower --check miss-peer \
                        --limit 7";
        assert_eq!(continuation(&narrow, &next), expected, "in words, whatever was given");
    }
}
