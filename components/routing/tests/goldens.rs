//! Scripts of `testscripts/`: the error table, the cache, and the patience of a call.
//! Regenerate with `UPDATE_GOLDENFILES=1`.

use std::{error::Error, fmt::Write as _};

use flotilla_base::{
    ConfVer, Epoch, KeyRange, Moment, Peer, PeerId, Region, RegionId, Span, StoreId, Version,
};
use flotilla_routing::{
    Access, Applied, Attempts, Correction, Failure, Next, NoRoute, Refusal, RegionCache, Route,
    Step, Unready, decide,
};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[test]
fn scripts() -> std::io::Result<()> {
    for script in ["decide", "cache", "attempts"] {
        goldenscript::run(&mut Script::default(), format!("testscripts/{script}"))?;
    }
    Ok(())
}

/// A cache, a clock, and perhaps a call under way. Peers are written as stores: the peer on
/// store 3 of region 2 has the id 23.
#[derive(Default)]
struct Script {
    cache: RegionCache,
    now: Moment,
    call: Option<Attempts>,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let mut args = command.consume_args();
        let output = match command.name.as_str() {
            "learn" => self.learn(&mut args)?,
            "locate" => self.show_route(self.cache.locate(word(&mut args)?.as_bytes())),
            "locate_below" => self.show_route(self.cache.locate_below(word(&mut args)?.as_bytes())),
            "reload" => format!("{:?}", self.cache.claim_reload(RegionId(number(&mut args)?))),
            "now" => {
                self.now = Moment::default() + Span::from_millis(number(&mut args)?);
                String::new()
            }
            // replica TURN: whom a read asks instead of the leader.
            "replica" => {
                let turn = number(&mut args)?;
                let route = self.route_from(&mut args)?;
                self.show_route(Some(self.cache.replica(self.now, &route, turn)))
            }
            "confirm" => self.confirm(&mut args)?,
            "decide" => self.decide(&mut args)?,
            "correct" => self.correct(&mut args)?,
            "call" => self.start_call(&mut args)?,
            "after" => self.after(&mut args)?,
            name => return Err(format!("unknown command {name}").into()),
        };
        args.reject_next()?;
        Ok(output)
    }
}

impl Script {
    fn learn(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let leader = args.take_key("leader").map(str::to_owned);
        let id = RegionId(number(args)?);
        let region = region(id, args)?;
        let leader = leader.map(|store| peer(region.id, &store)).transpose()?;
        Ok(format!("{:?}", self.cache.learn(region, leader)))
    }

    fn show_route(&self, route: Option<Route>) -> String {
        route.map_or_else(
            || "not cached".to_owned(),
            |Route { region, peer }| {
                let doubted = if self.cache.is_doubted(region.id) { ", doubted" } else { "" };
                let Region { id, range, epoch, .. } = region.as_ref();
                format!("region {id} {range} {epoch} at store {}{doubted}", peer.store)
            },
        )
    }

    fn route_from(&self, args: &mut ArgumentConsumer<'_>) -> Outcome<Route> {
        let asked = args.take_key("at").map(str::to_owned);
        let id = args.take_key("region").map_or(Ok(2), str::parse)?;
        let mut route = self.cache.route(RegionId(id)).ok_or("region is not cached")?;
        if let Some(store) = asked {
            route.peer = peer(route.region.id, &store)?;
        }
        Ok(route)
    }

    fn confirm(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let route = self.route_from(args)?;
        self.cache.confirm(&route);
        Ok(self.show_route(self.cache.route(route.region.id)))
    }

    fn decide(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let route = self.route_from(args)?;
        let decision = decide(&failure(args)?, Some(&route));
        Ok(show_decision(&decision))
    }

    fn correct(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let route = self.route_from(args)?;
        let decision = decide(&failure(args)?, Some(&route));
        self.cache.correct(self.now, &route, &decision.correction);
        Ok(self.show_route(self.cache.route(route.region.id)))
    }

    fn start_call(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let deadline: u64 = args.take_key("deadline").map_or(Ok(10_000), str::parse)?;
        let access = match word(args)?.as_str() {
            "read" => Access::Read,
            "write" => Access::Write { repeat_unknown: true },
            "checked_write" => Access::Write { repeat_unknown: false },
            other => return Err(format!("unknown access {other}").into()),
        };
        self.call = Some(Attempts::new(access, self.now + Span::from_millis(deadline), 7));
        Ok(String::new())
    }

    /// `after FAILURE… [times=N]`: fails, waits as told, fails again.
    fn after(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let times: u64 = args.take_key("times").map_or(Ok(1), str::parse)?;
        let route = self.route_from(args)?;
        let decision = decide(&failure(args)?, Some(&route));
        let call = self.call.as_mut().ok_or("no call under way")?;
        let mut output = String::new();
        for _attempt in 0..times {
            let now = self.now;
            match call.after(now, &decision, 3) {
                Step::Retry => writeln!(output, "{now}: retry at once")?,
                Step::Wait(until) => {
                    let fresh = if call.is_search_long() { ", region doubted" } else { "" };
                    writeln!(output, "{now}: wait {}{fresh}", until.since(now))?;
                    self.now = until;
                }
                Step::GiveUp(ending) => {
                    writeln!(
                        output,
                        "{now}: give up, {:?}, {}",
                        ending.ended,
                        show(ending.applied)
                    )?;
                    break;
                }
            }
        }
        Ok(output)
    }
}

fn show(applied: Applied) -> &'static str {
    match applied {
        Applied::No => "not applied",
        Applied::Yes => "applied",
        Applied::Unknown => "outcome unknown",
    }
}

fn show_decision(decision: &flotilla_routing::Decision) -> String {
    let next = match decision.next {
        Next::Again(cause) => format!("again at once ({})", cause.name()),
        Next::Pause(cause) => format!("pause ({})", cause.name()),
        Next::PauseFor(cause, least) => format!("pause of {least} or more ({})", cause.name()),
        Next::End(ended) => format!("end: {ended:?}"),
    };
    let learn = match &decision.correction {
        Correction::Nothing => "nothing".to_owned(),
        Correction::Leader(leader) => format!("store {} leads", leader.store),
        Correction::NextPeer => "another peer may lead".to_owned(),
        Correction::AvoidStore => "avoid the store".to_owned(),
        Correction::ReloadRegion => "reload the region".to_owned(),
        Correction::ReloadStore => "reload store and region".to_owned(),
        Correction::Replace(regions) => {
            let shown: Vec<_> = regions.iter().map(|r| format!("{} {}", r.id, r.range)).collect();
            format!("replace by {}", shown.join(", "))
        }
    };
    let applied = if decision.may_have_happened { "perhaps applied" } else { "not applied" };
    format!("{next} · learn: {learn} · {applied}")
}

fn word(args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
    Ok(args.next_pos().ok_or("a word is missing")?.to_owned())
}

fn number(args: &mut ArgumentConsumer<'_>) -> Outcome<u64> {
    Ok(word(args)?.parse()?)
}

fn peer(region: RegionId, store: &str) -> Outcome<Peer> {
    let store: u64 = store.parse()?;
    Ok(Peer::voter(PeerId(region.get() * 10 + store), StoreId(store)))
}

/// A bound of a range; `_` for none.
fn bound(text: &str) -> String {
    if text == "_" { String::new() } else { text.to_owned() }
}

/// `START..END VERSION/CONF_VER STORE-STORE-…`
fn region(id: RegionId, args: &mut ArgumentConsumer<'_>) -> Outcome<Region> {
    let range = word(args)?;
    let (start, end) = range.split_once("..").ok_or("a range is START..END")?;
    let epoch = word(args)?;
    let (version, conf_ver) = epoch.split_once('/').ok_or("an epoch is VERSION/CONF_VER")?;
    let peers = word(args)?.split('-').map(|store| peer(id, store)).collect::<Result<_, _>>()?;
    Ok(Region {
        id,
        range: KeyRange::new(bound(start), bound(end)),
        epoch: Epoch { version: Version(version.parse()?), conf_ver: ConfVer(conf_ver.parse()?) },
        peers,
    })
}

fn failure(args: &mut ArgumentConsumer<'_>) -> Outcome<Failure> {
    let text = || "some text".to_owned();
    let name = word(args)?;
    let plain = match name.as_str() {
        "pd_down" => Failure::NoRoute(NoRoute::PlacementDriver(text())),
        "not_bootstrapped" => Failure::NoRoute(NoRoute::NotBootstrapped),
        "no_region" => Failure::NoRoute(NoRoute::Region),
        "no_store" => Failure::NoRoute(NoRoute::Store(StoreId(9))),
        "unsent" => Failure::Unsent(text()),
        "lost" => Failure::Lost(text()),
        "late" => Failure::Late,
        "silent" => Failure::Silent,
        "answer_too_large" => Failure::AnswerTooLarge(text()),
        "rejected" => Failure::Rejected(text()),
        refusal => Failure::Refused(self::refusal(refusal, args)?),
    };
    Ok(plain)
}

fn refusal(name: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<Refusal> {
    let unready = |unready| Ok(Refusal::NotReady(unready));
    match name {
        "not_leader" => {
            let leader = args.take_key("leader").map(str::to_owned);
            let leader = leader.map(|store| peer(RegionId(2), &store)).transpose()?;
            Ok(Refusal::NotLeader { leader })
        }
        "region_not_found" => Ok(Refusal::RegionNotFound),
        "key_not_in_region" => Ok(Refusal::KeyNotInRegion),
        "epoch_not_match" => {
            let mut current = Vec::new();
            while let Some(id) = args.next_pos() {
                let id = RegionId(id.parse()?);
                current.push(region(id, args)?);
            }
            Ok(Refusal::EpochNotMatch { current })
        }
        "busy" => {
            let wait = args.take_key("wait").map_or(Ok(0), str::parse)?;
            Ok(Refusal::ServerIsBusy { reason: "queue".to_owned(), wait: Span::from_millis(wait) })
        }
        "stale_command" => Ok(Refusal::StaleCommand),
        "store_not_match" => Ok(Refusal::StoreNotMatch),
        "entry_too_large" => Ok(Refusal::EntryTooLarge { entry_bytes: 9 << 20 }),
        "mismatch_peer" => Ok(Refusal::MismatchPeer),
        "disk_full" => Ok(Refusal::DiskFull),
        "flashback" => Ok(Refusal::Flashback),
        "undetermined" => Ok(Refusal::Undetermined("proposed".to_owned())),
        "other" => Ok(Refusal::Other("closing".to_owned())),
        "unready_timestamp" => unready(Unready::Timestamp),
        "unready_read_index" => unready(Unready::ReadIndex),
        "unready_merge" => unready(Unready::Merge),
        "unready_data" => unready(Unready::Data),
        "unready_snapshot" => unready(Unready::Snapshot),
        "unready_recovery" => unready(Unready::Recovery),
        "unready_witness" => unready(Unready::Witness),
        "unready_buckets" => unready(Unready::Buckets),
        other => Err(format!("unknown failure {other}").into()),
    }
}
