//! Leaders: what they are told and do, how data comes to their peers, and who takes their place.

use flotilla_base::{Peer, PeerId, PeerRole, Region, RegionId, Span, Term};
use flotilla_pdcore::{Input, Outcome};
use flotilla_placement::{Answer, IdBatch, deal_split_ids, operator::Command};

use super::{BEAT, Event, Sent, Word, World};
use crate::judge::{Verdict, require};
use crate::placement::driver::Asker;
use crate::placement::judge::ids_of;
use crate::placement::marks;
use crate::placement::region::{ModelRegion, Origin, UnderWay};

/// An entry is committed within this.
const COMMIT_MS: u64 = 50;
/// A region without a leader has one within this, if it can.
const ELECTION_MS: u64 = 2_000;
/// A leader that has heard no majority for so long leads no more.
const GATE: Span = Span::from_millis(5_000);

impl World {
    /// An order arrives at a store.
    pub(super) fn take_order(&mut self, sent: Sent) -> Verdict {
        let Sent { order, origin } = sent;
        let stores = &self.stores;
        let is_running = |peer: Peer| stores.get(&peer.store).is_some_and(|it| it.is_running);
        let Some(region) = self.regions.get(&order.region) else { return Ok(()) };
        let refusal = if !is_running(order.leader) || region.leader != Some(order.leader.id) {
            Some(marks::ORDER_TO_NOBODY)
        } else if region.region.epoch != order.epoch {
            Some(marks::ORDER_OF_OLD_EPOCH)
        } else if region.under_way.is_some() {
            Some(marks::ORDER_WHILE_BUSY)
        } else if region.refuses(&order.command, is_running) {
            Some(marks::ORDER_REFUSED)
        } else {
            None
        };
        if let Some(mark) = refusal {
            self.mark(mark);
            return Ok(());
        }
        if matches!(order.command, Command::Split(_)) {
            return self.ask_split(order.region);
        }
        self.propose(order.region, order.command, origin);
        Ok(())
    }

    fn propose(&mut self, id: RegionId, command: Command, origin: Option<Origin>) {
        let delay = self.draw(COMMIT_MS);
        let Some(region) = self.regions.get_mut(&id) else { return };
        let (number, term, epoch) = (region.number(), region.term, region.region.epoch);
        region.under_way = Some(UnderWay { number, term, epoch, command, origin });
        self.schedule(delay, Event::Committed(id, number));
    }

    /// What a leader was about to do is committed, if it still leads and others are there.
    pub(super) fn commit(&mut self, id: RegionId, number: u64) -> Verdict {
        let wanted = self.regions.get(&id).map_or(0, |it| self.wanted(&it.region));
        let stores = &self.stores;
        let is_running = |peer: Peer| stores.get(&peer.store).is_some_and(|it| it.is_running);
        let Some(region) = self.regions.get_mut(&id) else { return Ok(()) };
        let Some(done) = region.under_way.take_if(|it| it.number == number) else { return Ok(()) };
        let leads = region.leader.is_some() && region.term == done.term;
        if !leads || region.region.epoch != done.epoch || !region.has_majority(is_running) {
            self.mark(marks::PROPOSAL_LOST);
            return Ok(());
        }
        if let Command::TransferLeader(to) = &done.command {
            let candidates = region.candidates(is_running);
            let heir = to.iter().find(|peer| candidates.iter().any(|it| it.id == peer.id));
            if let Some(heir) = heir.copied() {
                self.lead(id, heir);
            }
            return Ok(());
        }
        let before = region.clone();
        let new = region.change(&done.command);
        // Nobody could know yet of a store that has stopped a moment ago.
        let now = self.now;
        let seems_there = |peer: Peer| {
            stores.get(&peer.store).is_some_and(|it| {
                it.is_running || now.since(it.stopped) < Span::from_millis(10_000)
            })
        };
        self.around.judges.on_effect(&done, (&before, region), (wanted, seems_there))?;
        let is_out = region.leader().is_none_or(|leader| leader.role == PeerRole::Learner);
        new.into_iter().for_each(|peer| self.bring_data(id, peer));
        if is_out {
            self.lose_leader(id);
        } else {
            self.report(id);
        }
        Ok(())
    }

    /// A copy of the region's data begins to come to a peer that lacks it.
    pub(super) fn bring_data(&mut self, id: RegionId, peer: Peer) {
        let Some(region) = self.regions.get_mut(&id) else { return };
        let number = region.number();
        region.behind.insert(peer.id, number);
        let (bytes, leader) = (region.size_bytes, region.leader());
        let Some(leader) = leader.filter(|leader| leader.store != peer.store) else { return };
        let Some(mut source) = self.stores.remove(&leader.store) else { return };
        if let Some(target) = self.stores.get_mut(&peer.store)
            && target.is_running
            && source.is_running
        {
            let ends = target.copy_from(&mut source, self.now, bytes);
            self.schedule(ends.since(self.now), Event::CaughtUp(id, peer, number));
            self.around.summary.copied_bytes += bytes;
        }
        self.stores.insert(source.id, source);
    }

    /// A peer has what it lacked, unless that attempt was given up.
    pub(super) fn caught_up(&mut self, id: RegionId, peer: Peer, attempt: u64) -> Verdict {
        let Some(region) = self.regions.get_mut(&id) else { return Ok(()) };
        if region.behind.get(&peer.id) == Some(&attempt) {
            region.behind.remove(&peer.id);
            self.report(id);
        }
        Ok(())
    }

    /// A peer leads from now on.
    fn lead(&mut self, id: RegionId, heir: Peer) {
        let Some(region) = self.regions.get_mut(&id) else { return };
        region.leader = Some(heir.id);
        region.term = Term(region.term.get() + 1);
        region.under_way = None;
        let is_half =
            |peer: &Peer| matches!(peer.role, PeerRole::IncomingVoter | PeerRole::DemotingVoter);
        let is_joint = region.region.peers.iter().any(is_half);
        self.trace(|| format!("region {id}: store {} leads", heir.store));
        self.report(id);
        if is_joint {
            // Every leader leaves a joint configuration that it finds.
            self.mark(marks::JOINT_LEFT_BY_OTHER);
            self.propose(id, Command::LeaveJoint, None);
        }
    }

    /// Nobody leads until somebody is elected.
    pub(super) fn lose_leader(&mut self, id: RegionId) {
        let delay = self.draw(ELECTION_MS);
        let Some(region) = self.regions.get_mut(&id) else { return };
        region.leader = None;
        region.under_way = None;
        self.schedule(delay, Event::Election(id));
    }

    /// A leader whose voters are gone steps down: nobody may believe that it could do what it is told.
    pub(super) fn check_quorum(&mut self, id: RegionId) {
        let (stores, now) = (&self.stores, self.now);
        let is_heard = |peer: Peer| {
            stores.get(&peer.store).is_some_and(|it| it.is_running || now.since(it.stopped) < GATE)
        };
        let is_alone = |it: &&ModelRegion| it.leader.is_some() && !it.has_majority(is_heard);
        if self.regions.get(&id).filter(is_alone).is_some() {
            self.mark(marks::STEPPED_DOWN);
            self.trace(|| format!("region {id}: its leader steps down"));
            self.lose_leader(id);
        }
    }

    /// Those that are there choose a leader, if they can.
    pub(super) fn elect(&mut self, id: RegionId) -> Verdict {
        let stores = &self.stores;
        let is_running = |peer: Peer| stores.get(&peer.store).is_some_and(|it| it.is_running);
        let Some(region) = self.regions.get(&id).filter(|it| it.leader.is_none()) else {
            return Ok(());
        };
        let candidates = region.candidates(is_running);
        if candidates.is_empty() || !region.has_majority(is_running) {
            self.mark(marks::NO_QUORUM);
            self.schedule(BEAT, Event::Election(id));
            return Ok(());
        }
        let drawn = self.around.rng.below(candidates.len() as u64);
        let heir = candidates[usize::try_from(drawn).unwrap_or(0)];
        self.mark(marks::ELECTED);
        self.lead(id, heir);
        self.resume_copies(id);
        Ok(())
    }

    /// Copies that were given up begin anew where both ends are there.
    fn resume_copies(&mut self, id: RegionId) {
        let Some(region) = self.regions.get(&id) else { return };
        let is_behind = |peer: &&Peer| region.behind.contains_key(&peer.id);
        let behind: Vec<Peer> = region.region.peers.iter().filter(is_behind).copied().collect();
        behind.into_iter().for_each(|peer| self.bring_data(id, peer));
    }

    /// A leader finds its region too large, or is told to split it.
    pub(super) fn ask_split(&mut self, id: RegionId) -> Verdict {
        let Some(region) = self.regions.get(&id) else { return Ok(()) };
        if region.leader.is_none() || !self.around.splitting.insert(id) {
            return Ok(());
        }
        let region = Box::new(region.region.clone());
        self.around.next_split += 1;
        let number = self.around.next_split;
        self.around.splits.insert(number, id);
        self.tell(Input::AskSplit { region, children: 1, ticket: Asker::Split(number) })
    }

    /// The placement driver answers.
    pub(super) fn answered(&mut self, asker: Asker, outcome: Outcome) -> Verdict {
        let Asker::Split(number) = asker else { return Ok(()) };
        let Some(id) = self.around.splits.remove(&number) else { return Ok(()) };
        self.around.splitting.remove(&id);
        match outcome {
            Ok(Answer::Ids(ids)) => self.split(id, ids),
            _ => Ok(()),
        }
    }

    /// A region is two. What the ids were asked for may have changed since.
    fn split(&mut self, id: RegionId, ids: IdBatch) -> Verdict {
        let now = self.now;
        let Some(region) = self.regions.get_mut(&id) else { return Ok(()) };
        let peers = region.region.peers.len();
        let fits = ids.count() == peers as u64 + 1;
        let is_led = region.leader().is_some();
        let Some(at) = region.middle().filter(|_| fits && is_led) else { return Ok(()) };
        let range = region.split(&at);
        let half = region.size_bytes / 2;
        region.size_bytes -= half;
        region.rates = region.rates.half();
        region.told = now;
        let parent = region.clone();
        let Some(dealt) = deal_split_ids(ids, 1, peers).pop() else { return Ok(()) };
        let born = dealt.peers.iter().zip(&parent.region.peers);
        let peers: Vec<Peer> = born.map(|(id, peer)| Peer { id: *id, ..*peer }).collect();
        let twin = |old: PeerId| {
            let store = parent.region.peer(old).map(|peer| peer.store)?;
            peers.iter().copied().find(|peer| peer.store == store)
        };
        let leader = parent.leader.and_then(twin).map(|peer| peer.id);
        // Who lacked data of the parent lacks it of the child.
        let behind: Vec<Peer> = parent.behind.keys().filter_map(|old| twin(*old)).collect();
        let child = dealt.region;
        let region = Region { id: child, range, epoch: parent.region.epoch, peers };
        let region = ModelRegion {
            leader,
            term: parent.term,
            rates: parent.rates,
            told: parent.told,
            ..ModelRegion::new(region, half)
        };
        self.adopt(region, &behind)?;
        self.mark(marks::SPLIT);
        self.trace(|| format!("region {id} is split, region {child} is new"));
        let pieces = [id, child].map(|id| self.regions[&id].region.clone()).to_vec();
        pieces.iter().try_for_each(|piece| self.around.judges.on_shape(piece))?;
        self.send(Event::ToPd(Word::Pieces(pieces)));
        self.report(id);
        self.report(child);
        Ok(())
    }

    /// A region comes into the world.
    pub(super) fn adopt(&mut self, region: ModelRegion, behind: &[Peer]) -> Verdict {
        let id = region.region.id;
        for (number, store) in ids_of(&region.region) {
            self.around.judges.on_id(number, (id, store))?;
        }
        let before = self.regions.insert(id, region);
        require(before.is_none(), "an id is handed out once", || format!("region {id}"))?;
        behind.iter().for_each(|peer| self.bring_data(id, *peer));
        let delay = self.draw(BEAT.as_millis());
        self.schedule(delay, Event::RegionBeat(id));
        Ok(())
    }
}
