//! Rules as tables: which apply where, who counts for what, what cannot be, and that records keep them.

use bytes::Bytes;
use flotilla_base::{
    Epoch, Key, Peer, PeerId, PeerRole, Region, RegionId, StoreId,
    codec::{CodecError, RecordReader, RecordWriter},
    key::guard_border,
};
use flotilla_damage::{assert_canonical, damaged_records};
use proptest::prelude::*;

use super::*;
use crate::policy::Policy;

/// `pd/a voter 2 b..m zone:in=z1,z2 host:exists spread=zone,host level=zone index=3 override`: one rule. What is not said is
/// as usual.
pub(crate) fn rule(text: &str) -> Rule {
    let mut words = text.split_whitespace();
    let mut next = || words.next().expect("a name, a role and a count");
    let (group_id, id) = next().split_once('/').expect("a group and a name");
    let mut rule = Rule {
        group_id: group_id.to_owned(),
        id: id.to_owned(),
        index: 0,
        is_override: false,
        role: Role::parse(next()).expect("a role"),
        count: next().parse().expect("a count"),
        range: KeyRange::all(),
        constraints: Vec::new(),
        location_labels: Vec::new(),
        isolation_level: String::new(),
    };
    let texts = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<String>>();
    for word in words {
        match word.split_once('=') {
            Some(("spread", labels)) => rule.location_labels = texts(labels),
            Some(("level", level)) => level.clone_into(&mut rule.isolation_level),
            Some(("index", index)) => rule.index = index.parse().expect("a number"),
            None if word == "override" => rule.is_override = true,
            None if word.contains("..") => {
                let (start, end) = word.split_once("..").expect("it is in it");
                rule.range = KeyRange::new(start.to_owned(), end.to_owned());
            }
            other => {
                let (asked, values) = other.unwrap_or((word, ""));
                let (key, op) = asked.split_once(':').expect("a label and what is asked");
                let values = if values.is_empty() { Vec::new() } else { texts(values) };
                let op = LabelOp::parse(op).expect("a known one");
                rule.constraints.push(LabelConstraint { key: key.to_owned(), op, values });
            }
        }
    }
    rule
}

/// Rules with `;` between them, and groups: `group tiflash 5 override`.
pub(crate) fn book(text: &str) -> RuleBook {
    let (mut groups, mut rules) = (Vec::new(), Vec::new());
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        match part.strip_prefix("group ") {
            Some(group) => {
                let words: Vec<&str> = group.split_whitespace().collect();
                let (id, index) = (words[0].to_owned(), words[1].parse().expect("a number"));
                groups.push(RuleGroup { id, index, is_override: words.contains(&"override") });
            }
            None => rules.push(rule(part)),
        }
    }
    RuleBook::new(0, groups, rules)
}

fn names<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Vec<String> {
    rules.into_iter().map(Rule::name).collect()
}

#[test]
fn rules_apply_in_the_order_of_groups_and_indices() {
    let text = "z/a voter 1; a/b voter 1; a/a voter 1 index=2; m/x voter 1; group m 3; group z 1";
    let expected = ["a/b", "a/a", "z/a", "m/x"];
    assert_eq!(names(book(text).rules()), expected);
    // Whatever the order in which they come.
    let mut parts: Vec<&str> = text.split(';').collect();
    parts.reverse();
    assert_eq!(names(book(&parts.join(";")).rules()), expected);
}

#[test]
fn what_overrides_drops_what_comes_before() {
    let applying = |text: &str| {
        let book = book(text);
        names(book.rules_for(&KeyRange::new("b", "c")).expect("no border"))
    };
    let two = "a/a voter 1; a/b voter 1 index=1";
    assert_eq!(applying(two), ["a/a", "a/b"]);
    assert_eq!(applying(&format!("{two} override")), ["a/b"], "the earlier ones of its group");
    assert_eq!(applying(&format!("{two} override; A/x voter 1")), ["A/x", "a/b"], "not of others");
    let other = "; b/x voter 1; b/y voter 1; group b 1";
    assert_eq!(applying(&format!("{two}{other}")), ["a/a", "a/b", "b/x", "b/y"]);
    assert_eq!(applying(&format!("{two}{other} override")), ["b/x", "b/y"]);
    let elsewhere = "; b/x voter 1 x..; group b 1 override";
    assert_eq!(applying(&format!("{two}{elsewhere}")), ["a/a", "a/b"], "where it does not apply");
    assert_eq!(applying(&format!("{two}; b/x voter 1 override; group b 1")), ["a/a", "a/b", "b/x"]);
}

#[test]
fn a_border_is_where_other_rules_begin() {
    let book =
        book("a/a voter 3; a/b learner 1 d..g; a/c voter 3 override index=1 m..; a/d voter 3 g..m");
    let of = |start: &str, end: &str| {
        let range = KeyRange::new(start.to_owned(), end.to_owned());
        book.rules_for(&range).map(names)
    };
    let border = |key: &str| Err(Border(Key::from(key.to_owned())));
    assert_eq!(of("b", "d"), Ok(vec!["a/a".to_owned()]), "it ends where others begin");
    assert_eq!(of("b", "e"), border("d"));
    assert_eq!(of("d", "g"), Ok(vec!["a/a".to_owned(), "a/b".to_owned()]));
    assert_eq!(of("d", "h"), border("g"));
    assert_eq!(of("f", ""), border("g"));
    assert_eq!(of("m", ""), Ok(vec!["a/c".to_owned()]));
    let borders = |start: &str, end: &str| {
        let range = KeyRange::new(start.to_owned(), end.to_owned());
        book.borders(&range).cloned().collect::<Vec<Key>>()
    };
    assert_eq!(borders("", ""), [Key::from("d"), Key::from("g"), Key::from("m")]);
    assert_eq!(borders("d", "m"), [Key::from("g")]);
    // Rules that are the same on both sides are no border.
    let same =
        self::book("a/a voter 3; a/b voter 2 override index=1 d..g; a/c voter 1 override index=2");
    assert_eq!(same.borders(&KeyRange::all()).count(), 0);
}

#[test]
fn where_no_rule_applies_the_settings_do() {
    let mut policy = Policy::default();
    policy.set("max-replicas", "5").expect("possible");
    policy.set("location-labels", "zone,host").expect("possible");
    policy.set("isolation-level", "host").expect("possible");
    let region = |start: &str, end: &str| Region {
        id: RegionId(2),
        range: KeyRange::new(start.to_owned(), end.to_owned()),
        epoch: Epoch::FIRST,
        peers: Vec::new(),
    };
    let shown = |policy: &Policy, region: &Region| {
        let shown = policy.demands(region).expect("no border").into_iter().map(|it| {
            let (role, labels) = (it.role.name(), it.location_labels.join(","));
            format!("{}/{} {role} {} {labels} {:?}", it.group_id, it.id, it.count, it.isolation)
        });
        shown.collect::<Vec<_>>()
    };
    let usual = ["pd/default voter 5 zone,host Some(1)"];
    assert_eq!(shown(&policy, &region("", "")), usual);
    policy.rules = book("a/a voter 2 d..g spread=rack; a/b leader 1 d..g");
    assert_eq!(shown(&policy, &region("a", "d")), usual);
    assert_eq!(shown(&policy, &region("d", "f")), ["a/a voter 2 rack None", "a/b leader 1  None"]);
    assert_eq!(policy.demands(&region("d", "h")).err(), Some(Border("g".into())));
    // The guard region is never split.
    let guard = Region { range: KeyRange::new(guard_border(), ""), ..region("", "") };
    policy.rules = book("a/a voter 2 \u{7f}zz..");
    policy.rules = RuleBook::new(
        0,
        Vec::new(),
        vec![Rule { range: KeyRange::new(vec![0xff; 90], ""), ..rule("a/a voter 2") }],
    );
    assert_eq!(shown(&policy, &guard), usual);
}

#[test]
fn rules_that_make_no_sense_say_why() {
    let refused = |text: &str| book(text).check().expect_err(text).to_string();
    let why = |rest: &str| format!("placement rule \"a/a\" cannot be: {rest}");
    for (text, rest) in [
        ("a/a voter 0", "its count is 0. A number from 1 to 7 is possible"),
        ("a/a voter 8", "its count is 8. A number from 1 to 7 is possible"),
        ("a/a leader 2", "it asks for 2 leaders. A region has one leader: give it the count 1"),
        (
            "a/a voter 3 m..b",
            "its keys [m, b) end before they begin. An end above the start is possible, or none",
        ),
        (
            "a/a voter 3 spread=zone level=host",
            "its isolation level is \"host\". One of its location labels is possible (zone), or nothing",
        ),
        (
            "a/a voter 3 level=host",
            "its isolation level is \"host\". One of its location labels is possible (none is set), or nothing",
        ),
        (
            "a/a voter 3 spread=zone,zone",
            "its location labels are zone,zone. At most 8 are possible, each once",
        ),
        (
            "a/a voter 3 zone:in",
            "it asks for zone in without a value. Give it values, or ask for exists or notExists",
        ),
        (
            "a/a voter 3; a/a voter 3",
            "there is another of its name. Each rule has an id of its own within its group",
        ),
        (
            "a/a learner 1 b..m",
            "for the keys [b, m) nobody could lead. Another rule of role voter is needed there, such as pd/default",
        ),
        (
            "a/a follower 3",
            "for the keys [\"\", \"\") nobody could lead. Another rule of role voter is needed there, such as pd/default",
        ),
    ] {
        assert_eq!(refused(text), why(rest), "{text}");
    }
    assert!(refused("a/a voter 3 zo!ne:exists").contains("'!' is in it"));
    assert!(refused("a/a voter 3 zone:notIn=z!").contains("'!' is in it"));
    assert!(refused("a/a voter 3 spread=zo!ne").contains("'!' is in it"));
    assert!(refused("/a voter 3").contains("it has no name"));
    assert!(refused("a/a leader 1; a/b leader 1 c..").contains("for the keys [c, \"\") 2 leaders"));
    assert!(refused("a/a voter 7; a/b voter 7; a/c learner 3").contains("17 replicas"));
    assert!(refused("a/a voter 3; group a 1; group a 2").contains("\"a/\""));
    let many = RuleBook::new(0, Vec::new(), vec![rule("a/a voter 3"); RULES_MAX + 1]);
    assert!(many.check().expect_err("many").to_string().contains("1025 rules in 0 groups"));
    assert!(
        Role::parse("witness")
            .expect_err("none")
            .to_string()
            .contains("leader, voter, follower and learner")
    );
    for text in [
        "",
        "a/a voter 3 zone:in=z1,z2 host:notExists disk:notIn=hdd spread=zone,host level=host b..m",
        "a/a leader 1; a/b follower 2; tiflash/t learner 1 engine:in=tiflash",
        "pd/default voter 3; pd/x learner 1 b..m; group pd 1 override",
    ] {
        assert_eq!(book(text).check(), Ok(()), "{text}");
    }
}

#[test]
fn constraints_look_at_labels() {
    let labels = [("zone".to_owned(), "z1".to_owned()), ("disk".to_owned(), "ssd".to_owned())];
    let by_hand = [("zone".to_owned(), "z2".to_owned())];
    let usual = Labels { by_hand: &by_hand, registered: &labels };
    let reserved = [("engine".to_owned(), "tiflash".to_owned())];
    let reserved = Labels { by_hand: &[], registered: &reserved };
    for (constraint, is_met) in [
        ("zone:in=z2,z3", true),
        ("zone:in=z1", false),
        ("host:in=h1", false),
        ("zone:notIn=z1", true),
        ("zone:notIn=z2", false),
        ("host:notIn=h1", true),
        ("disk:exists", true),
        ("host:exists", false),
        ("host:notExists", true),
        ("disk:notExists", false),
    ] {
        let rule = rule(&format!("a/a voter 3 {constraint}"));
        assert_eq!(usual.satisfy(&rule.constraints), is_met, "{constraint}");
        assert!(!reserved.satisfy(&rule.constraints), "{constraint}");
    }
    assert!(usual.satisfy(&[]) && !reserved.satisfy(&[]));
    assert!(reserved.satisfy(&rule("a/a learner 1 engine:in=tiflash").constraints));
    assert!(!reserved.satisfy(&rule("a/a learner 1 engine:notIn=tiflash").constraints));
}

/// A region and its stores: `1v* zone=z1; 2v down; 3l ill`. The star leads.
fn fitted(members: &str, rules: &str) -> String {
    type Drawn<'a> = (Peer, Vec<&'a str>, Vec<(String, String)>);
    let mut all: Vec<Drawn<'_>> = Vec::new();
    for part in members.split(';') {
        let mut words = part.split_whitespace();
        let word = words.next().expect("a member").trim_end_matches('*');
        let (store, role) = word.split_at(word.len() - 1);
        let store: u64 = store.parse().expect("a store");
        let role = if role == "v" { PeerRole::Voter } else { PeerRole::Learner };
        let (labels, states): (Vec<&str>, Vec<&str>) = words.partition(|word| word.contains('='));
        let pair = |word: &&str| {
            let (key, value) = word.split_once('=').expect("a label");
            (key.to_owned(), value.to_owned())
        };
        let peer = Peer { id: PeerId(10 * store), store: StoreId(store), role };
        let leads = if part.contains('*') { vec!["leads"] } else { Vec::new() };
        all.push((peer, [states, leads].concat(), labels.iter().map(pair).collect()));
    }
    let members: Vec<Member<'_>> = all
        .iter()
        .map(|(peer, states, labels)| Member {
            peer: *peer,
            is_leader: states.contains(&"leads"),
            is_lost: states.contains(&"lost"),
            is_healthy: !states.contains(&"ill"),
            labels: Labels { by_hand: &[], registered: labels },
        })
        .collect();
    let book = book(rules);
    let demands: Vec<Demand<'_>> = book.rules().iter().map(Rule::demand).collect();
    let fit = fit(&members, &demands);
    let shown = |set: MemberSet, marked: MemberSet| {
        let mut words: Vec<String> = set
            .iter()
            .map(|at| {
                format!("{}{}", members[at].peer.store, if marked.contains(at) { "!" } else { "" })
            })
            .collect();
        words.sort();
        words.join(" ")
    };
    let mut parts: Vec<String> =
        fit.rules.iter().map(|rule| shown(rule.members, rule.mismatched)).collect();
    parts.push(shown(fit.orphans, MemberSet::NONE));
    parts.join(" | ")
}

/// Who counts for each rule, those marked that have to change, and who is left over.
#[test]
fn the_best_members_count() {
    let zones = "a/a voter 3 spread=zone,host";
    for (members, rules, expected) in [
        ("1v*; 2v; 3v", "a/a voter 3", "1 2 3 | "),
        ("1v*; 2v", "a/a voter 3", "1 2 | "),
        ("1v*; 2v; 3v; 4v", "a/a voter 3", "1 2 3 | 4"),
        ("1v*; 2v; 3v lost; 4v", "a/a voter 3", "1 2 4 | 3"),
        ("1v*; 2v; 3l; 4v", "a/a voter 3", "1 2 4 | 3"),
        ("1v*; 2v; 3v lost; 4l", "a/a voter 3", "1 2 3 | 4"),
        ("1v*; 2v; 4l", "a/a voter 3", "1 2 4! | "),
        // Apart as far as can be, which counts less than that they stay.
        ("1v* zone=a; 2v zone=a; 3v zone=b; 4v zone=c", zones, "1 3 4 | 2"),
        ("1v* zone=a; 2v zone=a; 3v zone=b; 4v zone=c lost", zones, "1 2 3 | 4"),
        ("1v* zone=a host=x; 2v zone=a host=x; 3v zone=a host=y; 4v zone=b", zones, "1 3 4 | 2"),
        ("1v*; 2v; 3v zone=a; 4v zone=b", zones, "1 3 4 | 2"),
        // The sum is not all: no two in one host.
        (
            "1v* zone=a host=x; 2v zone=b host=x; 3v zone=b host=x; 4v zone=a host=y",
            "a/a voter 3 spread=zone,host level=host",
            "1 2 4 | 3",
        ),
        // Roles.
        ("1v*; 2v; 3v", "a/a follower 2; a/b leader 1", "2 3 | 1 | "),
        (
            "1v* zone=b; 2v zone=a; 3v zone=b",
            "a/a follower 2; a/b leader 1 zone:in=a",
            "1! 3 | 2! | ",
        ),
        ("1v*; 2v; 3v; 4l", "a/a learner 1; a/b voter 3", "4 | 1 2 3 | "),
        ("1v*; 2v; 3v; 4v", "a/a learner 1; a/b voter 3", "4! | 1 2 3 | "),
        ("1v*; 2v; 3v", "a/a learner 1; a/b voter 3", " | 1 2 3 | "),
        // Constraints.
        ("1v* zone=a; 2v zone=b; 3v zone=b", "a/a voter 1 zone:in=b; a/b voter 1", "2 | 1 | 3"),
        ("1v* zone=a; 2v zone=b", "a/a voter 2 zone:in=c", " | 1 2"),
    ] {
        assert_eq!(fitted(members, rules), expected, "{members} by {rules}");
    }
}

#[test]
fn many_members_are_looked_at_in_bounded_time() {
    let members: Vec<String> =
        (1..=80).map(|store| format!("{store}v zone=z{}", store % 9)).collect();
    let shown = fitted(&members.join(";"), "a/a voter 7 spread=zone; a/b voter 3; a/c learner 6");
    assert!(shown.starts_with("1 2 3 4 5 6 7 | 10 8 9 | 11! 12! 13! 14! 15! 16! | 17"), "{shown}");
}

#[test]
fn isolation_is_a_sum_and_a_predicate() {
    let book = book("a/a voter 3 spread=zone,host level=host");
    let demand = book.rules()[0].demand();
    let place = |zone: &str, host: &str| {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        vec![pair("zone", zone), pair("host", host)]
    };
    let of = |places: &[Vec<(String, String)>]| {
        let member = |labels: &'_ Vec<(String, String)>| labels.clone();
        let owned: Vec<_> = places.iter().map(member).collect();
        let members: Vec<Member<'_>> = owned
            .iter()
            .map(|labels| Member {
                peer: Peer::default(),
                is_leader: false,
                is_lost: false,
                is_healthy: true,
                labels: Labels { by_hand: &[], registered: labels },
            })
            .collect();
        let isolation = isolation(&members, &demand, MemberSet::first(members.len()));
        (isolation.score(), isolation.is_kept())
    };
    assert_eq!(of(&[place("a", "x"), place("b", "x"), place("c", "x")]), (300, true));
    assert_eq!(of(&[place("a", "x"), place("a", "y"), place("b", "x")]), (201, true));
    assert_eq!(of(&[place("a", "x"), place("a", "x"), place("b", "x")]), (200, false));
    assert_eq!(of(&[place("a", "x")]), (0, true));
    assert_eq!(of(&[Vec::new(), Vec::new()]), (0, false), "who says nothing is in one place");
    assert_eq!(Isolation::best(&demand, 3).score(), 300);
}

fn texts() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "zone", "z1", "host", "Ω"]).prop_map(str::to_owned)
}

prop_compose! {
    fn any_rule()(
        names in prop::array::uniform4(texts()),
        numbers in prop::array::uniform2(0..9_u32),
        is_override: bool,
        keys in prop::array::uniform2(prop::collection::vec(any::<u8>(), 0..2)),
        role in prop::sample::select(Role::ALL.to_vec()),
        constraints in prop::collection::vec(
            (texts(), prop::sample::select(LabelOp::ALL.to_vec()), prop::collection::vec(texts(), 0..3)),
            0..3,
        ),
        location_labels in prop::collection::vec(texts(), 0..3),
    ) -> Rule {
        let [group_id, id, isolation_level, _] = names;
        let ([index, count], [start, end]) = (numbers, keys);
        let constraint = |(key, op, values)| LabelConstraint { key, op, values };
        Rule {
            group_id, id, index, is_override, role, count, location_labels, isolation_level,
            range: KeyRange::new(start, end),
            constraints: constraints.into_iter().map(constraint).collect(),
        }
    }
}

pub(crate) fn any_book() -> impl Strategy<Value = RuleBook> {
    let group = (texts(), 0..4_u32, any::<bool>()).prop_map(|(id, index, is_override)| RuleGroup {
        id,
        index,
        is_override,
    });
    let groups = prop::collection::vec(group, 0..3);
    (0..4_u64, groups, prop::collection::vec(any_rule(), 0..6))
        .prop_map(|(revision, groups, rules)| RuleBook::new(revision, groups, rules))
}

fn encode(book: &RuleBook) -> Vec<u8> {
    let mut writer = RecordWriter::new(1);
    book.write(&mut writer);
    writer.finish().to_vec()
}

fn decode(record: &[u8]) -> Result<RuleBook, CodecError> {
    let mut reader = RecordReader::open(&Bytes::copy_from_slice(record), 1)?;
    let book = RuleBook::read(&mut reader)?;
    reader.finish()?;
    Ok(book)
}

#[test]
fn a_count_that_lies_takes_no_memory() {
    for count in [RULES_MAX as u64 + 1, u64::MAX] {
        let mut writer = RecordWriter::new(1);
        writer.number(1).number(0).number(count);
        let meaningless = CodecError::Meaningless("number of placement rules");
        assert_eq!(decode(&writer.finish()), Err(meaningless));
    }
}

proptest! {
    #[test]
    fn a_record_keeps_the_rules(book in any_book()) {
        prop_assert_eq!(decode(&encode(&book)), Ok(book));
    }

    #[test]
    fn damaged_rules_are_refused_or_canonical(record in damaged_records(any_book().prop_map(|book| encode(&book)))) {
        assert_canonical(&record, decode, encode);
        if let Ok(book) = decode(&record) {
            let _sensible_or_not = book.check();
        }
    }

    /// One key at a time is the same as a range without a border, and a border is where that changes.
    #[test]
    fn segments_agree_with_the_rules(book in any_book(), key in prop::collection::vec(any::<u8>(), 0..2)) {
        let here = KeyRange::new(key.clone(), [key.clone(), vec![0]].concat());
        let applying = names(book.rules_for(&here).expect("nothing is between a key and the next"));
        let holds = |rule: &&Rule| rule.range.contains(&key);
        let all: Vec<&Rule> = book.rules().iter().filter(holds).collect();
        let is_dropped = |at: usize| all[at + 1..].iter().any(|later| {
            let is_of_group = later.group_id == all[at].group_id;
            let overrides = book.groups().iter().any(|it| it.id == later.group_id && it.is_override);
            if is_of_group { later.is_override } else { overrides }
        });
        let kept = (0..all.len()).filter(|at| !is_dropped(*at)).map(|at| all[at].name());
        prop_assert_eq!(applying, kept.collect::<Vec<_>>());
    }
}

proptest! {
    /// What is counted place by place is what a look at each choice of stores finds.
    #[test]
    fn the_best_that_stores_allow_is_that_of_the_best_of_them(
        places in prop::collection::vec((0..3_u8, 0..3_u8), 0..8),
        count in 1..5_usize,
        is_bound in any::<bool>(),
    ) {
        let level = if is_bound { "level=zone" } else { "" };
        let rule = rule(&format!("pd/a voter {count} spread=zone,host {level}"));
        let label = |key: &str, value: u8| (key.to_owned(), format!("{value}"));
        let labels = |(zone, host): &(u8, u8)| vec![label("zone", *zone), label("host", *host)];
        let registered: Vec<Vec<(String, String)>> = places.iter().map(labels).collect();
        let stores = || registered.iter().map(|labels| Labels { by_hand: &[], registered: labels });
        let demand = rule.demand();
        let mut expected = vec![Isolation::default(); count.min(places.len()) + 1];
        let mut is_first = vec![true; expected.len()];
        for chosen in 0..1_u32 << places.len() {
            let chosen: Vec<Labels<'_>> =
                stores().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, it)| it).collect();
            if chosen.len() < expected.len() {
                let all = chosen.iter().enumerate().fold(Isolation::default(), |sum, (at, it)| {
                    sum.plus(Isolation::between(&demand, *it, chosen[..at].iter().copied()))
                });
                let known = &mut expected[chosen.len()];
                *known = if is_first[chosen.len()] { all } else { all.max(*known) };
                is_first[chosen.len()] = false;
            }
        }
        prop_assert_eq!(Isolation::best_of(&demand, stores().collect()), expected);
    }
}
