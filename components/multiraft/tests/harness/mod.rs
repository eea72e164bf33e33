//! Stores that do one step at a time and write down what they do.

mod disk;
mod show;
mod snapshots;
mod store;

use std::error::Error;

use flotilla_base::{
    Epoch, Index, KeyRange, Moment, Peer, PeerId, Region, RegionId, Span, StoreId, Term, Version,
};
use flotilla_multiraft::{
    Allowance, ChangeKind, Input, NewRegion, PeerChange, PeerMessage, SplitCommand,
};
use flotilla_raftgroup::{Message, MessageKind};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};

use store::{Limits, Put, Store};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Three stores, and the messages between them. Regions are numbered from 2 on; the peer of region 2 on
/// store 3 has the id 23.
#[derive(Default)]
pub(crate) struct Stores {
    now: Moment,
    stores: Vec<Store>,
    /// Regions have members on so many of them; on all where it is not said.
    members: Option<usize>,
    network: Vec<PeerMessage>,
    /// What the groups of new stores keep.
    limits: Limits,
}

impl Runner for Stores {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let mut args = command.consume_args();
        let output = self.execute(&command.name, &mut args)?;
        args.reject_next()?;
        Ok(output)
    }
}

impl Stores {
    /// Makes stores and regions.
    fn found(
        &mut self,
        verb: &str,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        match verb {
            // stores COUNT [members=COUNT] [idle_beats=COUNT]: empty stores, how many of them regions begin on, and
            // after how many heartbeats without a request a region sleeps.
            "stores" => {
                self.members = args.take_key("members").map(str::parse).transpose()?;
                let count: u64 = number(args)?;
                if let Some(beats) = args.take_key("idle_beats").map(str::parse).transpose()? {
                    self.limits.idle_beats = beats;
                }
                self.stores = (1..=count).map(|id| Store::new(StoreId(id), self.limits)).collect();
            }
            // bootstrap REGION [only=STORE]: the order reaches the stores; the first one is to lead.
            "bootstrap" => {
                let only = args.take_key("only").map(str::parse).transpose()?;
                self.bootstrap(RegionId(number(args)?), only.map(StoreId))?;
            }
            // lead REGION: bootstraps the region and lets everything happen; store 1 leads.
            "lead" => {
                let region = RegionId(number(args)?);
                self.bootstrap(region, None)?;
                self.settle();
                self.store(1)?.post_all(|| Input::Wake);
                self.settle();
                if self.store(1)?.is_leader(region) {
                    lines.push("store 1 leads".to_owned());
                }
            }
            _ => return Err(format!("{verb} makes nothing").into()),
        }
        Ok(())
    }

    fn execute(&mut self, verb: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let mut lines = Vec::new();
        match verb {
            "stores" | "bootstrap" | "lead" => self.found(verb, args, &mut lines)?,
            // after MILLIS: time passes.
            "after" => self.now = self.now + Span::from_millis(number(args)?),
            // wake STORE / put STORE KEY VALUE / get STORE: inputs; ticket=NAME names the answer. over=OLD puts
            // only where the key has this value, over=nothing only where it has none.
            "wake" => self.at(args)?.post_all(|| Input::Wake),
            "put" => {
                let ticket = args.take_key("ticket").unwrap_or("put").to_owned();
                let region = region_of(args)?;
                let version = args.take_key("version").unwrap_or("1").parse()?;
                let over =
                    args.take_key("over").map(|old| (old != "nothing").then(|| old.to_owned()));
                let (store, key, value) = (number(args)?, word(args)?, word(args)?);
                self.store(store)?.put(region, Put { key, value, over }, version, ticket);
            }
            "get" => {
                let ticket = args.take_key("ticket").unwrap_or("get").to_owned();
                let region = region_of(args)?;
                self.at(args)?.get(region, ticket);
            }
            // turn STORE: its replicas take all their inputs, and the round ends.
            "turn" => {
                let now = self.now;
                let sent = self.at(args)?.turn(now, &mut lines);
                self.network.extend(sent);
            }
            // sync STORE: what it has written is durable now.
            "sync" => {
                let sent = self.at(args)?.sync(&mut lines);
                self.network.extend(sent);
            }
            // apply STORE: its appliers take all their entries.
            "apply" => self.at(args)?.apply(&mut lines),
            // deliver / lose [to=STORE] [from=STORE]: what becomes of messages under way.
            "deliver" | "lose" => self.arrive(verb == "deliver", args, &mut lines)?,
            // settle: everything happens until nothing is left; not written down.
            "settle" => {
                // until=staged: until a store has staged a snapshot, of which its peer has not heard.
                let is_stopped = args.take_key("until").is_some_and(|until| until == "staged");
                self.settle_until(is_stopped);
            }
            "crash" => {
                let kept = args.take_key("keeps").map(str::parse).transpose()?;
                self.at(args)?.crash(kept.unwrap_or(0), &mut lines);
            }
            "restart" => {
                let now = self.now;
                self.at(args)?.restart(now, &mut lines)?;
            }
            // spoil STORE INDEX: this entry of region 2 is no entry any more.
            "spoil" => {
                let store: u64 = number(args)?;
                let index = Index(number(args)?);
                self.store(store)?.spoil(RegionId(2), index);
            }
            "show" => lines.push(self.at(args)?.show()),
            // heartbeat FROM TO TERM COMMIT / vote FROM TO TERM / vote_answer FROM TO TERM: messages made by
            // hand.
            "heartbeat" | "vote" | "vote_answer" => {
                self.network.push(message_by_hand(verb, args)?);
            }
            name => self.read_or_transfer(name, args, &mut lines)?,
        }
        Ok(lines.join("\n"))
    }

    fn read_or_transfer(
        &mut self,
        verb: &str,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        match verb {
            // replica_get STORE: any replica may serve it. transfer STORE TO: the lead shall go there.
            "replica_get" => {
                let ticket = args.take_key("ticket").unwrap_or("get").to_owned();
                let region = region_of(args)?;
                self.at(args)?.replica_get(region, ticket);
            }
            "transfer" => {
                let region = region_of(args)?;
                let (store, to): (u64, u64) = (number(args)?, number(args)?);
                self.store(store)?.transfer(region, peer(region.get(), to).id);
            }
            // step_aside STORE: the store stops, and its lead shall go to whoever holds the most.
            "step_aside" => {
                let region = region_of(args)?;
                self.at(args)?.step_aside(region);
            }
            // turn_unwritten STORE: its replicas take all their inputs while the disk takes nothing more.
            "turn_unwritten" => {
                let now = self.now;
                let sent = self.at(args)?.turn_unwritten(now, lines);
                self.network.extend(sent);
            }
            // begin_read STORE / finish_read STORE: a read in place, up to its view of the data, and behind it.
            "begin_read" => {
                let region = region_of(args)?;
                lines.push(self.at(args)?.begin_read(region));
            }
            "finish_read" => {
                let (region, now) = (region_of(args)?, self.now);
                lines.push(self.at(args)?.finish_read(region, now));
            }
            // allow STORE [cache=BYTES] [backlog=BYTES]: what its replicas may hold in memory.
            "allow" => {
                let free = Allowance::UNSHARED;
                let number = |said: Option<&str>| said.map(str::parse).transpose();
                let cached_bytes = number(args.take_key("cache"))?.unwrap_or(free.cached_bytes);
                let backlog_bytes = number(args.take_key("backlog"))?.unwrap_or(free.backlog_bytes);
                self.at(args)?.allow(Allowance { cached_bytes, backlog_bytes });
            }
            // held STORE: what its replicas hold in memory.
            "held" => lines.push(self.at(args)?.held()),
            // split STORE KEY CHILD [version=VERSION]: a region becomes two; peers of region 5 are 51 to 53.
            "split" => self.split(args)?,
            name => self.membership(name, args, lines)?,
        }
        Ok(())
    }

    fn membership(
        &mut self,
        verb: &str,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        match verb {
            // change STORE STEP* [conf_ver=VERSION]: steps are add-STORE, promote-STORE, demote-STORE and
            // remove-STORE; add-STORE-PEER gives the new member an id that does not follow from its store.
            "change" => {
                let ticket = args.take_key("ticket").unwrap_or("change").to_owned();
                let conf_ver = args.take_key("conf_ver").map(str::parse).transpose()?;
                let region = region_of(args)?;
                let store: u64 = number(args)?;
                let mut changes = Vec::new();
                while let Some(step) = args.next_pos() {
                    changes.push(parse_step(region, step)?);
                }
                self.store(store)?.change(region, changes, conf_ver, ticket);
            }
            // gone FROM TO CONF_VER: FROM says that TO is no member of this version of the membership.
            "gone" => {
                let region = region_of(args)?.get();
                let (from, to): (u64, u64) = (number(args)?, number(args)?);
                let (from, to) = (peer(region, from), peer(region, to));
                let conf_ver = number(args)?.into();
                let message = Message::new(MessageKind::PeerGone, from.id, to.id, Term(0));
                let epoch = Epoch { conf_ver, ..Epoch::FIRST };
                let (region, matched_by_all) = (RegionId(region), Index(0));
                self.network.push(PeerMessage { region, from, to, epoch, matched_by_all, message });
            }
            // members STORE: who its replicas think are members, and what is left of destroyed ones.
            "members" => lines.push(self.at(args)?.members()),
            // clean STORE: it deletes what nobody owns. begin_clean, end_clean: it sets that aside, and then deletes it.
            "clean" => {
                let store = self.at(args)?;
                store.begin_cleaning(lines);
                store.end_cleaning(lines);
            }
            "begin_clean" => self.at(args)?.begin_cleaning(lines),
            "end_clean" => self.at(args)?.end_cleaning(lines),
            // value STORE KEY: what is there, whoever owns it.
            "value" => {
                let (store, key): (u64, String) = (number(args)?, word(args)?);
                lines.push(self.store(store)?.value(&key));
            }
            name => self.sleep_command(name, args, lines)?,
        }
        Ok(())
    }

    fn sleep_command(
        &mut self,
        verb: &str,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        match verb {
            // signs: every store that runs gives every other one a sign of life.
            "signs" => {
                let runs = self.stores.iter().filter_map(|it| Some((it.id, it.living_run()?)));
                let runs: Vec<(StoreId, u64)> = runs.collect();
                for store in &mut self.stores {
                    let own = store.id;
                    for (from, run) in runs.iter().filter(|(from, _)| *from != own) {
                        store.hear(*from, *run, self.now);
                    }
                }
            }
            // sign FROM TO: one store gives another one a sign of life.
            "sign" => {
                let from = self.at(args)?;
                let (from, run) = (from.id, from.living_run().ok_or("it does not run")?);
                let now = self.now;
                self.at(args)?.hear(from, run, now);
            }
            // judge STORE: it looks for signs of the others.
            "judge" => {
                let now = self.now;
                self.at(args)?.judge(now, lines);
            }
            // live MILLIS: time passes, with signs of life and judgements four times in a gate.
            "live" => {
                let end = self.now + Span::from_millis(number(args)?);
                while self.now < end {
                    self.now = end.min(self.now + Span::from_millis(200));
                    self.sleep_command("signs", args, lines)?;
                    for store in &mut self.stores {
                        store.judge(self.now, lines);
                    }
                }
            }
            // bury STORE OTHER: it learns that the other one is gone for good.
            "bury" => {
                let (store, other): (u64, u64) = (number(args)?, number(args)?);
                self.store(store)?.bury(StoreId(other));
            }
            // asleep STORE: what of it sleeps.
            "asleep" => lines.push(self.at(args)?.asleep()),
            name => self.snapshot_command(name, args, lines)?,
        }
        Ok(())
    }

    fn split(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
        let ticket = args.take_key("ticket").unwrap_or("split").to_owned();
        let region = region_of(args)?;
        let version = Version(args.take_key("version").unwrap_or("1").parse()?);
        let (store, end): (u64, String) = (number(args)?, word(args)?);
        let child = RegionId(number(args)?);
        let members = self.store(store)?.stores_of(region);
        let peers = members.into_iter().map(|it| peer(child.get(), it.get()).id).collect();
        let children = vec![NewRegion { end: end.into(), region: child, peers }];
        let known = self.store(store)?.epoch(region);
        let epoch = Epoch { version, ..known };
        self.store(store)?.split(region, SplitCommand { epoch, children }, ticket);
        Ok(())
    }

    fn bootstrap(&mut self, region: RegionId, only: Option<StoreId>) -> Outcome<()> {
        let region = self.region(region);
        let now = self.now;
        let chosen = |store: &&mut Store| {
            region.peer_on(store.id).is_some() && only.is_none_or(|only| only == store.id)
        };
        self.stores.iter_mut().filter(chosen).try_for_each(|store| store.bootstrap(&region, now))
    }

    fn arrive(
        &mut self,
        is_delivered: bool,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        let to: Option<u64> = args.take_key("to").map(str::parse).transpose()?;
        let from: Option<u64> = args.take_key("from").map(str::parse).transpose()?;
        let is_meant = |message: &PeerMessage| {
            to.is_none_or(|to| message.to.store.get() == to)
                && from.is_none_or(|from| message.from.store.get() == from)
        };
        let (chosen, others) = std::mem::take(&mut self.network).into_iter().partition(is_meant);
        self.network = others;
        let chosen: Vec<PeerMessage> = chosen;
        for message in chosen {
            lines.push(show::message(&message));
            if is_delivered {
                let (store, now) = (message.to.store.get(), self.now);
                match self.store(store)?.receive(message, now) {
                    Ok(answer) => {
                        let answers = answer.into_iter();
                        for answer in answers {
                            lines.push(format!("answer {}", show::message(&answer)));
                            self.network.push(answer);
                        }
                    }
                    Err(reason) => lines.push(reason.to_string()),
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self) {
        self.settle_until(false);
    }

    fn settle_until(&mut self, is_stopped: bool) {
        let mut ignored = Vec::new();
        while !self.network.is_empty() || self.stores.iter().any(Store::is_busy) {
            for message in std::mem::take(&mut self.network) {
                let store =
                    &mut self.stores[usize::try_from(message.to.store.get()).expect("small") - 1];
                // What is dropped is lost.
                let answer = store.receive(message, self.now).unwrap_or_default();
                self.network.extend(answer);
            }
            for store in &mut self.stores {
                self.network.extend(store.turn(self.now, &mut ignored));
                self.network.extend(store.sync(&mut ignored));
                store.apply(&mut ignored);
                store.take_views(&mut ignored);
                store.replace(&mut ignored);
            }
            self.stream(&mut ignored).expect("a sound snapshot");
            if is_stopped && self.stores.iter().any(|store| !store.snapshots.stages.is_empty()) {
                break;
            }
        }
    }

    fn region(&self, id: RegionId) -> Region {
        let stores = self.stores.iter().take(self.members.unwrap_or(usize::MAX));
        let peers = stores.map(|store| peer(id.get(), store.id.get())).collect();
        let (start, end) = if id.get() == 2 { ("", "m") } else { ("m", "") };
        Region { id, range: KeyRange::new(start, end), epoch: Epoch::FIRST, peers }
    }

    fn at(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<&mut Store> {
        let store = number(args)?;
        self.store(store)
    }

    fn store(&mut self, id: u64) -> Outcome<&mut Store> {
        self.stores.get_mut(usize::try_from(id)? - 1).ok_or_else(|| "no such store".into())
    }
}

fn parse_step(region: RegionId, step: &str) -> Outcome<PeerChange> {
    let (verb, target) = step.split_once('-').ok_or("a step is VERB-STORE")?;
    let kind = match verb {
        "add" => ChangeKind::AddLearner,
        "promote" => ChangeKind::Promote,
        "demote" => ChangeKind::Demote,
        "remove" => ChangeKind::Remove,
        name => return Err(format!("unknown step {name}").into()),
    };
    let (store, id) = target.split_once('-').map_or((target, None), |(a, b)| (a, Some(b)));
    let store: u64 = store.parse()?;
    let id = id.map_or(Ok(peer(region.get(), store).id), |id| id.parse().map(PeerId))?;
    Ok(PeerChange { kind, peer: id, store: StoreId(store) })
}

fn peer(region: u64, store: u64) -> Peer {
    Peer::voter(PeerId(region * 10 + store), StoreId(store))
}

fn region_of(args: &mut ArgumentConsumer<'_>) -> Outcome<RegionId> {
    Ok(RegionId(args.take_key("region").unwrap_or("2").parse()?))
}

fn word(args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
    Ok(args.next_pos().ok_or("an argument is missing")?.to_owned())
}

fn number(args: &mut ArgumentConsumer<'_>) -> Outcome<u64> {
    Ok(word(args)?.parse()?)
}

fn message_by_hand(verb: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<PeerMessage> {
    let (from, to): (u64, u64) = (number(args)?, number(args)?);
    let (from, to) = (peer(2, from), peer(2, to));
    let term = Term(number(args)?);
    let mut message = Message::new(MessageKind::Heartbeat, from.id, to.id, term);
    match verb {
        "vote" => {
            message.kind = MessageKind::RequestVote;
            (message.log_term, message.index) = (term, Index(99));
        }
        "vote_answer" => message.kind = MessageKind::RequestVoteResponse,
        _ => message.commit = Index(number(args)?),
    }
    let (region, epoch, matched_by_all) = (RegionId(2), Epoch::FIRST, Index(0));
    Ok(PeerMessage { region, from, to, epoch, matched_by_all, message })
}
