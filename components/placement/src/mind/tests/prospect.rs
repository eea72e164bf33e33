//! What would be if stores came or went.

use super::*;
use crate::{
    Role, Rule, RuleBook, StoreLoad, StoreState,
    prospect::{Prospect, ProspectStore, Supposition, SuppositionRefusal},
};

const HOUR: Span = Span::from_millis(3_600_000);

fn supposed(come: usize, go: &[u64]) -> Supposition {
    Supposition { come: vec![Vec::new(); come], go: go.iter().copied().map(StoreId).collect() }
}

fn replicas(prospect: &Prospect) -> Vec<(u64, u64, u64)> {
    let of = |store: &ProspectStore| (store.id.get(), store.before.regions, store.after.regions);
    prospect.stores.iter().map(of).collect()
}

#[test]
fn a_store_that_would_come_gets_its_share() {
    let premises = premises(3, &[64; 40]);
    let nothing = Prospect::of(premises.clone(), &Supposition::default(), HOUR).expect("possible");
    assert_eq!(nothing.outlook.moves, []);
    assert_eq!(replicas(&nothing), [(1, 40, 40), (2, 40, 40), (3, 40, 40)]);
    let one = Prospect::of(premises, &supposed(1, &[]), HOUR).expect("possible");
    assert!(one.outlook.is_settled, "{:?}", one.outlook.ends_after);
    let new = one.stores.last().expect("it is there");
    assert!(new.is_new && new.before == StoreLoad::default(), "{new:?}");
    assert!((27..=33).contains(&new.after.regions), "{new:?}");
    assert_eq!(
        one.outlook.moves.len() as u64,
        new.after.regions,
        "each moves once, and only there"
    );
    // Copies to one store come one after the other.
    let least = Span::from_millis(new.after.region_bytes * 1_000 / (100 * MIB));
    assert!(one.outlook.ends_after >= least, "{:?} {least:?}", one.outlook.ends_after);
    assert!(one.idle.iter().any(|(name, _)| *name == "balance-region"), "{:?}", one.idle);
}

/// The region is cut where the rule begins to apply, and nowhere else.
#[test]
fn a_rule_that_begins_within_a_region_cuts_it_once() {
    let mut premises = premises(4, &[64; 4]);
    let usual = premises.policy.default_rule();
    let copy = Rule {
        id: "copy".to_owned(),
        role: Role::Learner,
        count: 1,
        range: KeyRange::new("000000015", ""),
        ..usual.clone()
    };
    premises.policy.rules = RuleBook::new(1, Vec::new(), vec![usual, copy]);
    let prospect = Prospect::of(premises, &Supposition::default(), HOUR).expect("possible");
    assert!(prospect.outlook.is_settled && prospect.stuck().is_empty(), "{:?}", prospect.outlook);
    let after: u64 = replicas(&prospect).iter().map(|(_, _, after)| after).sum();
    assert_eq!(after, 5 * 3 + 3, "five regions, of which three have a copy more");
}

#[test]
fn a_store_that_would_go_is_emptied() {
    let premises = premises(4, &[64; 20]);
    let prospect = Prospect::of(premises, &supposed(0, &[1]), HOUR).expect("possible");
    let gone = &prospect.stores[0];
    assert!(gone.is_leaving && gone.before.regions == 20 && gone.after.regions == 0, "{gone:?}");
    assert_eq!(gone.after.leaders, 0);
    assert_eq!(replicas(&prospect), [(1, 20, 0), (2, 20, 20), (3, 20, 20), (4, 0, 20)]);
    assert_eq!(prospect.stuck(), []);
}

#[test]
fn a_plan_that_is_too_long_ends_and_says_so() {
    let quiet = Span::from_millis(1_260_000);
    let run = |bounds: Bounds, shuffles: bool| {
        let mut premises = premises(4, &[64; 40]);
        if shuffles {
            let shuffle = SchedulerPolicy::default();
            premises.policy.schedulers.insert(SchedulerName::ShuffleRegion, shuffle);
        }
        let outlook = Forecast::new(premises).run(quiet, bounds).clone();
        (outlook.cut_off, outlook.is_settled, outlook.moves.len())
    };
    let day = Bounds::of(Span(24 * HOUR.0));
    let (cut_off, is_settled, all) = run(day, false);
    assert_eq!((cut_off, is_settled, all > 20), (None, true, true), "{all} moves");
    let (cut_off, is_settled, moves) = run(Bounds { moves: 5, ..day }, false);
    assert_eq!((cut_off, is_settled), (Some(CutOff::Moves(5)), false));
    assert!((5..all).contains(&moves), "{moves} of {all}");
    // What never ends.
    let (cut_off, is_settled, _) = run(Bounds { looks: 1_000, ..day }, true);
    assert_eq!((cut_off, is_settled), (Some(CutOff::Looks(1_000)), false));
    let told = CutOff::Moves(5).to_string();
    assert_eq!(told, "a plan ends at 5 replicas that move");
}

#[test]
fn a_store_that_a_rule_needs_is_not_supposed_to_go() {
    let mut premises = premises(5, &[1]);
    let south = vec![("zone".to_owned(), "south".to_owned())];
    premises.stores.get_mut(&StoreId(1)).expect("known").labels = south;
    premises.policy.rules = crate::rule::tests::book("a/a voter 1 zone:in=south; a/b voter 2");
    let of =
        |premises: &Premises, go: u64| Prospect::of(premises.clone(), &supposed(0, &[go]), HOUR);
    let refused = of(&premises, 1).expect_err("there is no other").to_string();
    assert!(refused.contains("without what would go placement rule \"a/a\""), "{refused}");
    assert!(of(&premises, 2).is_ok(), "anybody else may");
}

#[test]
fn what_cannot_be_supposed_is_refused_with_what_would_be_possible() {
    let told = |come: usize, go: &[u64], horizon: Span| {
        let refusal = Prospect::of(premises(5, &[1]), &supposed(come, go), horizon);
        refusal.expect_err("refused").to_string()
    };
    assert_eq!(told(0, &[9], HOUR), "there is no store 9: there are the stores 1, 2, 3, 4, 5");
    let few = "stores 1, 2, 3 cannot be emptied: 2 would stay that are up, and a region has 3 replicas, one to a store. ";
    assert_eq!(
        told(0, &[1, 2, 3], HOUR),
        format!("{few}2 of them can go, or all if 1 more store comes")
    );
    assert!(told(65, &[], HOUR).contains("at most 64 are possible"));
    assert!(told(0, &[], Span::from_millis(1)).contains("from 60 s to 604800 s"));
    let labels = vec![vec![("zo ne".to_owned(), "z4".to_owned())]];
    let odd = Supposition { come: labels, go: BTreeSet::new() };
    let refusal = Prospect::of(premises(3, &[1]), &odd, HOUR).expect_err("no label");
    assert!(matches!(refusal, SuppositionRefusal::Label(_)), "{refusal}");
    let mut premises = premises(3, &[1]);
    let none = Prospect::of(premises.clone(), &supposed(0, &[2]), HOUR).expect_err("too few");
    assert!(
        none.to_string().ends_with("None can go; it is possible if 1 more store comes"),
        "{none}"
    );
    // With one more it is.
    assert!(Prospect::of(premises.clone(), &supposed(1, &[2]), HOUR).is_ok());
    // One that is down counts for nothing, and may go.
    premises.statuses.remove(&StoreId(2));
    assert!(Prospect::of(premises.clone(), &supposed(0, &[2]), HOUR).is_ok());
    premises.stores.get_mut(&StoreId(2)).expect("it is there").state = StoreState::Tombstone;
    let gone = Prospect::of(premises, &supposed(0, &[2]), HOUR).expect_err("gone");
    assert_eq!(gone, SuppositionRefusal::Gone(StoreId(2)));
}
