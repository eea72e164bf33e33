//! Scripts of `testscripts/`: one group, step by step. Regenerate with `UPDATE_GOLDENFILES=1`, and read
//! what changed.

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use common::Disk;
use flotilla_base::{Index, KvRead, Moment, PeerId, RegionId, Seeded, Span, Term};
use flotilla_raftgroup::{
    ApplyState, Group, GroupConfig, GroupLimits, GroupReady, HardState, Initial, LogPosition,
    Message, MessageKind, Origin, RaftState, ReadyNumber, Timing, Voters, disk, single,
};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};

type Outcome<T> = Result<T, Box<dyn Error>>;

const GROUP: RegionId = RegionId(1);
const FIRST: LogPosition = LogPosition { term: Term(5), index: Index(5) };

#[test]
fn f0_single_voter_with_learners() -> std::io::Result<()> {
    run("f0_single_voter_with_learners")
}

#[test]
fn f0_candidate() -> std::io::Result<()> {
    run("f0_candidate")
}

#[test]
fn gate_and_fence() -> std::io::Result<()> {
    run("gate_and_fence")
}

#[test]
fn failed_campaigns() -> std::io::Result<()> {
    run("failed_campaigns")
}

#[test]
fn quorum_check() -> std::io::Result<()> {
    run("quorum_check")
}

#[test]
fn guard() -> std::io::Result<()> {
    run("guard")
}

#[test]
fn lease() -> std::io::Result<()> {
    run("lease")
}

#[test]
fn transfer() -> std::io::Result<()> {
    run("transfer")
}

#[test]
fn stalled_disk() -> std::io::Result<()> {
    run("stalled_disk")
}

#[test]
fn unwritten() -> std::io::Result<()> {
    run("unwritten")
}

#[test]
fn follower_reads() -> std::io::Result<()> {
    run("follower_reads")
}

fn run(script: &str) -> std::io::Result<()> {
    goldenscript::run(&mut Peers::default(), format!("tests/testscripts/{script}"))
}

struct Peer {
    group: Group,
    disk: Disk,
    hard_state: HardState,
    waiting: Vec<(ReadyNumber, Vec<Message>)>,
}

/// The members of a group, and the messages between them.
#[derive(Default)]
struct Peers {
    now: Moment,
    voters: Voters,
    peers: BTreeMap<PeerId, Peer>,
    network: Vec<Message>,
}

impl Runner for Peers {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let mut args = command.consume_args();
        let mut lines = Vec::new();
        self.execute(&command.name, &mut args, &mut lines)?;
        args.reject_next()?;
        Ok(lines.join("\n"))
    }
}

impl Peers {
    fn execute(
        &mut self,
        verb: &str,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        match verb {
            // group VOTERS [learners=COUNT]: new members; none of them leads.
            "group" => {
                let learners: u64 = args.take_key("learners").map_or(Ok(0), str::parse)?;
                let voters = number(args)?;
                self.create(voters, learners);
            }
            // restart PEER: after a crash that loses whatever is not durable.
            "restart" => {
                let id = self.id(args)?;
                let mut peer = self.peers.remove(&id).ok_or("no such peer")?;
                lines.push(format!("lost {} batches", peer.disk.unsynced()));
                peer.disk.crash(0);
                let found = disk::recover(peer.disk.view.as_ref(), GROUP)?.ok_or("empty")?;
                let state = (found.raft, found.apply);
                self.start(id, peer.disk, state, Origin::Restarted);
            }
            // after MILLIS: time passes.
            "after" => self.now = self.now + Span::from_millis(number(args)?),
            "wake" => {
                let now = self.now;
                self.peer(args)?.group.wake(now);
            }
            "propose" => {
                let peer = self.peer(args)?;
                let position = peer.group.propose(word(args)?.into());
                lines.push(match position {
                    Ok(position) => format!("at {}/{}", position.term, position.index),
                    Err(error) => error.to_string(),
                });
            }
            // collect PEER: all Readys, written but not durable.
            "collect" => {
                let sent = self.peer(args)?.collect(lines);
                self.network.extend(sent);
            }
            // persist PEER: everything that it has written is durable.
            "persist" => {
                let sent = self.peer(args)?.persist(lines);
                self.network.extend(sent);
            }
            // deliver / lose [to=PEER] [from=PEER]: what becomes of messages under way.
            "deliver" | "lose" => self.arrive(verb == "deliver", args, lines)?,
            // message KIND FROM TO term=T [index=I] [log_term=T] [commit=I] [hint=I]: made by hand.
            "message" => {
                let message = handmade(args)?;
                let (now, to) = (self.now, message.to);
                let peer = self.peers.get_mut(&to).ok_or("no such peer")?;
                lines.push(match peer.group.step(now, message) {
                    Ok(()) => "taken".to_owned(),
                    Err(error) => format!("refused: {error}"),
                });
            }
            "show" => {
                let peer = self.peer(args)?;
                let role = peer.group.role();
                let committed = peer.group.committed();
                let leader = role.leader.map_or("nobody".to_owned(), |leader| leader.to_string());
                lines.push(format!(
                    "{:?} in term {}, {leader} leads, committed {committed}",
                    role.role, role.term
                ));
            }
            name => return self.lead_or_read(name, args, lines),
        }
        Ok(())
    }

    fn lead_or_read(
        &mut self,
        verb: &str,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        let now = self.now;
        match verb {
            // lead VOTERS: new members; peer 1 leads, and all logs are equal. Not written down.
            "lead" => {
                let voters = number(args)?;
                self.create(voters, 0);
                self.now = self.now + Span::from_millis(1_000);
                while !self.peers[&PeerId(1)].group.is_leader() {
                    self.now = self.now + Span::from_millis(1);
                    let now = self.now;
                    self.peers.entry(PeerId(1)).and_modify(|peer| peer.group.wake(now));
                    self.settle();
                }
            }
            // collect_unwritten PEER: what needs no write.
            "collect_unwritten" => {
                let sent = self.peer(args)?.collect_unwritten(lines);
                self.network.extend(sent);
            }
            // sleep PEER: time passes until its next deadline.
            "sleep" => {
                let deadline = self.peer(args)?.group.next_deadline();
                lines.push(format!("{} later", deadline.since(now)));
                self.now = deadline;
            }
            // settle: everything happens until nothing is left; not written down.
            "settle" => self.settle(),
            // lease PEER: what it may trust.
            "lease" => {
                let group = &self.peer(args)?.group;
                lines.push(match group.lease() {
                    None => "no lease".to_owned(),
                    Some(it) if it.until <= now => {
                        format!("lease of term {} ran out {} ago", it.term, now.since(it.until))
                    }
                    Some(it) => {
                        format!("lease of term {} for another {}", it.term, it.until.since(now))
                    }
                });
            }
            // read PEER: a leader's round. ask PEER: a follower's question.
            "read" | "ask" => {
                let group = &mut self.peer(args)?.group;
                group.note_time(now);
                let begun = if verb == "read" { group.read_index() } else { group.ask_leader() };
                lines.push(match begun {
                    Ok(token) => format!("round {}", token.0),
                    Err(error) => error.to_string(),
                });
            }
            // transfer PEER TO
            "transfer" => {
                let group = &mut self.peer(args)?.group;
                group.note_time(now);
                let refused = group.transfer(PeerId(number(args)?)).err();
                lines.extend(refused.map(|error| error.to_string()));
            }
            name => return Err(format!("unknown command {name}").into()),
        }
        Ok(())
    }

    fn settle(&mut self) {
        let mut ignored = Vec::new();
        loop {
            for message in std::mem::take(&mut self.network) {
                let peer = self.peers.get_mut(&message.to).expect("a member");
                let _refused_is_dropped = peer.group.step(self.now, message);
            }
            for peer in self.peers.values_mut() {
                self.network.extend(peer.collect(&mut ignored));
                self.network.extend(peer.persist(&mut ignored));
                self.network.extend(peer.collect(&mut ignored));
            }
            if self.network.is_empty() {
                return;
            }
        }
    }

    fn create(&mut self, voters: u64, learners: u64) {
        let ids = |from: u64, count: u64| (from..from + count).map(PeerId).collect();
        self.voters = Voters {
            voters: ids(1, voters),
            learners: ids(voters + 1, learners),
            ..Voters::default()
        };
        let raft = RaftState {
            hard_state: HardState { term: FIRST.term, vote: PeerId(0), commit: FIRST.index },
            last: FIRST,
        };
        let apply = ApplyState::starting_at(FIRST);
        for id in (1..=voters + learners).map(PeerId) {
            let mut disk = Disk::default();
            let batch =
                vec![disk::put_raft_state(GROUP, &raft), disk::put_apply_state(GROUP, &apply)];
            disk.write(batch);
            disk.sync_one();
            self.start(id, disk, (raft, apply), Origin::Created);
        }
    }

    fn start(
        &mut self,
        peer: PeerId,
        disk: Disk,
        (raft, apply): (RaftState, ApplyState),
        origin: Origin,
    ) {
        let (timing, limits) = (Timing::default(), GroupLimits::default());
        let seeded = Seeded::NONE;
        let config = GroupConfig { group: GROUP, peer, seed: 1, run: 1, timing, limits, seeded };
        let initial = Initial {
            hard_state: raft.hard_state,
            voters: self.voters.clone(),
            applied: apply.applied.index,
            truncated: apply.truncated,
            last: raft.last,
            origin,
        };
        let reader: Arc<dyn KvRead + Send + Sync> = Arc::clone(&disk.view) as _;
        let group = Group::new(config, initial, reader, self.now).expect("sound state");
        let hard_state = raft.hard_state;
        self.peers.insert(peer, Peer { group, disk, hard_state, waiting: Vec::new() });
    }

    fn arrive(
        &mut self,
        is_delivered: bool,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        let to: Option<u64> = args.take_key("to").map(str::parse).transpose()?;
        let from: Option<u64> = args.take_key("from").map(str::parse).transpose()?;
        let is_meant = |message: &Message| {
            to.is_none_or(|to| message.to.get() == to)
                && from.is_none_or(|from| message.from.get() == from)
        };
        let (chosen, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.network).into_iter().partition(is_meant);
        self.network = others;
        for message in chosen {
            let shown = show(&message);
            let peer = self.peers.get_mut(&message.to).ok_or("no such peer")?;
            let refused = is_delivered
                .then(|| peer.group.step(self.now, message).err())
                .flatten()
                .map_or(String::new(), |error| format!(": {error}"));
            lines.push(format!("{shown}{refused}"));
        }
        Ok(())
    }

    fn id(&self, args: &mut ArgumentConsumer<'_>) -> Outcome<PeerId> {
        Ok(PeerId(number(args)?))
    }

    fn peer(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<&mut Peer> {
        let id = self.id(args)?;
        self.peers.get_mut(&id).ok_or_else(|| "no such peer".into())
    }
}

impl Peer {
    fn collect(&mut self, lines: &mut Vec<String>) -> Vec<Message> {
        let mut sent = Vec::new();
        while let Some(ready) = self.group.collect() {
            let batch = single::write_log(&self.group, &mut self.hard_state, &ready);
            describe(&ready, lines);
            sent.extend(ready.send_now);
            if !ready.is_complete {
                self.disk.write(batch);
                self.waiting.push((ready.number, ready.send_after_persist));
            }
            for entry in &ready.committed {
                self.group.on_applied(entry.index);
            }
        }
        sent
    }

    fn collect_unwritten(&mut self, lines: &mut Vec<String>) -> Vec<Message> {
        let mut sent = Vec::new();
        while let Some(ready) = self.group.collect_unwritten() {
            describe(&ready, lines);
            sent.extend(ready.send_now);
        }
        sent
    }

    fn persist(&mut self, lines: &mut Vec<String>) -> Vec<Message> {
        let mut sent = Vec::new();
        for (number, messages) in std::mem::take(&mut self.waiting) {
            self.disk.sync_one();
            self.group.on_persisted(number);
            lines.extend(messages.iter().map(|message| format!("send {}", show(message))));
            sent.extend(messages);
        }
        sent
    }
}

fn describe(ready: &GroupReady, lines: &mut Vec<String>) {
    if let Some(change) = ready.role_change {
        lines.push(format!("now {:?} in term {}", change.role, change.term));
    }
    lines.extend(ready.send_now.iter().map(|message| format!("send {}", show(message))));
    if let Some(HardState { term, vote, .. }) = ready.hard_state {
        lines.push(format!("write term {term} vote {vote}"));
    }
    if let Some(append) = &ready.append {
        let indices: Vec<String> =
            append.entries.iter().map(|entry| format!("{}/{}", entry.term, entry.index)).collect();
        lines.push(format!("write entries {}", indices.join(" ")));
    }
    lines.extend(ready.send_after_persist.iter().map(|message| format!("then {}", show(message))));
    for entry in &ready.committed {
        lines.push(format!("committed {}/{}", entry.term, entry.index));
    }
    for grant in &ready.reads {
        lines.push(format!("granted round {} at {}", grant.token.0, grant.index));
    }
}

fn show(message: &Message) -> String {
    let Message { kind, from, to, term, .. } = message;
    let mut text = format!("{from}->{to} {kind:?} term {term}");
    if message.index.get() > 0 {
        text += &format!(" at {}/{}", message.log_term, message.index);
    }
    if let (Some(first), Some(last)) = (message.entries.first(), message.entries.last()) {
        text += &format!(" entries {}..={}", first.index, last.index);
    }
    if let Some(hint) = message.reject {
        text += &format!(" rejected, hint {hint}");
    }
    if let Some(round) = message.context.get(24..).and_then(|round| round.try_into().ok()) {
        text += &format!(" round {}", u64::from_be_bytes(round));
    } else if !message.context.is_empty() {
        text += &format!(" {}", String::from_utf8_lossy(&message.context));
    }
    text
}

fn handmade(args: &mut ArgumentConsumer<'_>) -> Outcome<Message> {
    let mut key = |name| args.take_key(name).map_or(Ok(0), str::parse::<u64>);
    let (term, log_term) = (key("term")?, key("log_term")?);
    let (index, commit) = (key("index")?, key("commit")?);
    let reject = args.take_key("hint").map(str::parse).transpose()?.map(Index);
    let kind = match word(args)?.as_str() {
        "vote" => MessageKind::RequestVote,
        "prevote" => MessageKind::RequestPreVote,
        "prevote_response" => MessageKind::RequestPreVoteResponse,
        "append" => MessageKind::Append,
        "append_response" => MessageKind::AppendResponse,
        "heartbeat" => MessageKind::Heartbeat,
        "snapshot" => MessageKind::Snapshot,
        "timeout_now" => MessageKind::TimeoutNow,
        "read_index" => MessageKind::ReadIndex,
        "read_index_response" => MessageKind::ReadIndexResponse,
        other => return Err(format!("unknown kind {other}").into()),
    };
    let (from, to) = (PeerId(number(args)?), PeerId(number(args)?));
    let (log_term, index, commit) = (Term(log_term), Index(index), Index(commit));
    Ok(Message { log_term, index, commit, reject, ..Message::new(kind, from, to, Term(term)) })
}

fn word(args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
    Ok(args.next_pos().ok_or("an argument is missing")?.to_owned())
}

fn number(args: &mut ArgumentConsumer<'_>) -> Outcome<u64> {
    Ok(word(args)?.parse()?)
}
