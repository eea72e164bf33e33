//! The receiving side: what arrives is staged, then claimed, then given to its peer.
//!
//! Each snapshot has a thread of its own, which alone touches its stage, so that nothing is left half done where the
//! connection breaks: it ends with all of it told to the peer, or with nothing kept.

use flotilla_base::codec::CodecError;
use flotilla_base::{ByteSize, Family, Peer, Region, StoreId};
use flotilla_engine::{StageError, StageTotals, StageWriter, stage};
use flotilla_multiraft::{
    Admission, Arrival, Input, PeerMessage, SnapshotInput, SnapshotMeta, StageNumber,
};
use flotilla_proto::raft::{SnapshotData, SnapshotFamily, SnapshotHead, SnapshotTail};
use flotilla_raftgroup::{ApplyState, LogPosition};
use flotilla_transport::{ReceiveSnapshot, SnapshotSink};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::Snapshots;
use crate::brake::Room;
use crate::envelope::decode;

/// What the thread of a snapshot is given.
enum Work {
    Data(SnapshotData),
    /// There is no more; the answer is how it ended.
    End(SnapshotTail, oneshot::Sender<Result<(), Status>>),
}

/// The end of a connection.
struct Sink {
    works: mpsc::Sender<Work>,
    /// Why the thread takes no more.
    failed: oneshot::Receiver<Status>,
}

/// What is known of a snapshot that begins.
struct Announced {
    message: PeerMessage,
    region: Region,
    removed: Vec<Peer>,
    clock_millis: u64,
    expected: ByteSize,
}

impl Announced {
    fn meta(&self) -> SnapshotMeta {
        let message = &self.message.message;
        let position = LogPosition { index: message.index, term: message.log_term };
        let clock_millis = self.clock_millis;
        let apply = ApplyState { clock_millis, ..ApplyState::starting_at(position) };
        SnapshotMeta { region: self.region.clone(), apply, removed: self.removed.clone() }
    }
}

#[tonic::async_trait]
impl ReceiveSnapshot for Snapshots {
    async fn begin(
        &self,
        _from: StoreId,
        head: SnapshotHead,
    ) -> Result<Box<dyn SnapshotSink>, Status> {
        let announced = read_head(head)?;
        self.admit(&announced.message)?;
        self.check_place(&announced)?;
        let (works, given) = mpsc::channel(1);
        let (fails, failed) = oneshot::channel();
        let (begins, begun) = oneshot::channel();
        self.run("stage a snapshot", move |snapshots| {
            snapshots.stage(&announced, given, begins, fails);
        });
        begun.await.map_err(|_thread_is_gone| stopping())??;
        Ok(Box::new(Sink { works, failed }))
    }
}

#[tonic::async_trait]
impl SnapshotSink for Sink {
    async fn take(&mut self, data: SnapshotData) -> Result<(), Status> {
        match self.works.send(Work::Data(data)).await {
            Ok(()) => Ok(()),
            Err(_not_taken) => Err(self.why().await),
        }
    }

    async fn finish(mut self: Box<Self>, tail: SnapshotTail) -> Result<(), Status> {
        let (answers, answer) = oneshot::channel();
        if self.works.send(Work::End(tail, answers)).await.is_err() {
            return Err(self.why().await);
        }
        match answer.await {
            Ok(ended) => ended,
            Err(_not_answered) => Err(self.why().await),
        }
    }
}

impl Sink {
    async fn why(&mut self) -> Status {
        (&mut self.failed).await.unwrap_or_else(|_thread_is_gone| stopping())
    }
}

impl Snapshots {
    /// Lets the peer be made that a snapshot is for, as for any other message.
    fn admit(&self, message: &PeerMessage) -> Result<(), Status> {
        let parts = &self.shared.parts;
        let admission = parts.router.table().admit(message);
        match admission {
            Admission::Deliver => Ok(()),
            Admission::Create(peer) => {
                parts.inbound.create(message.region, peer);
                Ok(())
            }
            refused @ (Admission::Confirm | Admission::Clear | Admission::Drop(_)) => {
                Err(Status::failed_precondition(format!("not admitted: {refused:?}")))
            }
        }
    }

    /// What would be refused when it is here need not be sent.
    fn check_place(&self, announced: &Announced) -> Result<(), Status> {
        let parts = &self.shared.parts;
        if parts.inbound.brake.room() > Room::Enough {
            return Err(Status::resource_exhausted("the disk is nearly full"));
        }
        let checked = parts.router.table().check_install(&announced.message, &announced.meta());
        checked.map_err(|error| Status::aborted(format!("busy: {error}")))
    }

    /// The thread of one snapshot.
    fn stage(
        &self,
        announced: &Announced,
        mut given: mpsc::Receiver<Work>,
        begins: oneshot::Sender<Result<(), Status>>,
        fails: oneshot::Sender<Status>,
    ) {
        let number = self.new_stage();
        let range = announced.region.range.clone();
        let mut writer = match self.shared.stages.begin(number.0, range, announced.expected) {
            Ok(writer) => writer,
            Err(error) => {
                let _sender_is_gone = begins.send(Err(status(&error))).is_err();
                return;
            }
        };
        if begins.send(Ok(())).is_err() {
            return;
        }
        while let Some(work) = given.blocking_recv() {
            match work {
                Work::Data(data) => {
                    if let Err(refused) = put(&mut writer, data) {
                        // Before the channel closes: whoever finds it closed asks why.
                        let _sender_is_gone = fails.send(refused).is_err();
                        return;
                    }
                }
                Work::End(tail, answers) => {
                    let ended = self.end_stage(announced, number, writer, tail);
                    let _sender_is_gone = answers.send(ended).is_err();
                    return;
                }
            }
        }
        // Broken off: the writer removes what it wrote.
    }

    fn end_stage(
        &self,
        announced: &Announced,
        number: StageNumber,
        writer: StageWriter<'_>,
        tail: SnapshotTail,
    ) -> Result<(), Status> {
        let said = StageTotals { pairs: tail.pairs, bytes: tail.bytes };
        if writer.totals() != said {
            return Err(Status::data_loss(format!(
                "{:?} arrived of a snapshot of {said:?}",
                writer.totals()
            )));
        }
        writer.finish().map_err(|error| status(&error))?;
        let told = self.tell_peer(announced, number);
        if told.is_err() {
            self.forget_now(number);
        }
        told
    }

    /// Claims the range, and tells the peer that its data is here. From then on the peer decides.
    fn tell_peer(&self, announced: &Announced, stage: StageNumber) -> Result<(), Status> {
        let message = &announced.message;
        let arrival = Arrival { message: message.clone(), meta: announced.meta(), stage };
        let (id, peer) = (message.region, message.to.id);
        let router = &self.shared.parts.router;
        let busy = |why: String| Status::aborted(format!("busy: {why}"));
        let gone = || busy("its peer is not here any more".to_owned());
        let claimed = router.table().claim_install(&arrival).ok_or_else(gone)?;
        claimed.map_err(|error| busy(error.to_string()))?;
        let input = Input::Snapshot(Box::new(SnapshotInput::Arrived(Box::new(arrival))));
        let cell = router.cells().get(id.get()).filter(|cell| cell.generation() == peer.get());
        if cell.is_some_and(|cell| cell.send(input).is_ok()) {
            return Ok(());
        }
        router.table().release_claim(id, peer);
        self.claim_ended();
        Err(gone())
    }
}

fn read_head(head: SnapshotHead) -> Result<Announced, Status> {
    let senseless = |what: &str| Status::invalid_argument(format!("a snapshot without {what}"));
    let message = head.envelope.and_then(decode).ok_or_else(|| senseless("a message"))?;
    let region = head.region.ok_or_else(|| senseless("a region"))?;
    let region = Region::try_from(region)
        .map_err(|error| Status::invalid_argument(format!("region of a snapshot: {error}")))?;
    if region.id != message.region {
        return Err(senseless("its own region"));
    }
    let removed = head.removed.into_iter().map(Peer::try_from).collect::<Result<_, _>>();
    let removed = removed
        .map_err(|error| Status::invalid_argument(format!("members of a snapshot: {error}")))?;
    let (clock_millis, expected) = (head.clock_millis, ByteSize(head.expected_bytes));
    Ok(Announced { message, region, removed, clock_millis, expected })
}

fn put(writer: &mut StageWriter<'_>, data: SnapshotData) -> Result<(), Status> {
    let family = match data.family() {
        SnapshotFamily::Raw => Family::Raw,
        SnapshotFamily::Default => Family::Default,
        SnapshotFamily::Lock => Family::Lock,
        SnapshotFamily::Write => Family::Write,
        SnapshotFamily::Unspecified => {
            return Err(Status::invalid_argument("a snapshot with an unknown family"));
        }
    };
    let spoilt = |cause: CodecError| Status::data_loss(format!("data of a snapshot: {cause}"));
    let pairs = stage::decode_block(&data.block).map_err(spoilt)?;
    // It would keep its sender's place, and bring nothing.
    if pairs.is_empty() {
        return Err(Status::invalid_argument("a part of a snapshot that holds nothing"));
    }
    for (key, value) in pairs {
        writer.put(family, key, value).map_err(|error| status(&error))?;
    }
    Ok(())
}

fn status(error: &StageError) -> Status {
    let text = error.to_string();
    match error {
        StageError::NoSpace { .. } => Status::resource_exhausted(text),
        StageError::Refused(_) | StageError::TooLarge { .. } => Status::invalid_argument(text),
        StageError::Damaged { .. } | StageError::Table(_) | StageError::Io { .. } => {
            Status::internal(text)
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the store stops")
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, Index, KeyRange, PeerId, RegionId, Term};
    use flotilla_damage::damaged;
    use flotilla_raftgroup::{Message, MessageKind};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::envelope::encode;

    fn head() -> SnapshotHead {
        let [from, to] = [1, 2].map(|store| Peer::voter(PeerId(20 + store), StoreId(store)));
        let region = Region {
            id: RegionId(2),
            range: KeyRange::new("b", "p"),
            epoch: Epoch::FIRST,
            peers: vec![from, to],
        };
        let message = Message::new(MessageKind::Snapshot, from.id, to.id, Term(7));
        let message = PeerMessage {
            region: region.id,
            from,
            to,
            epoch: region.epoch,
            matched_by_all: Index(0),
            message: Message { index: Index(9), log_term: Term(6), ..message },
        };
        SnapshotHead {
            envelope: Some(encode(message)),
            region: Some(region.into()),
            clock_millis: 5,
            expected_bytes: 1 << 20,
            removed: vec![Peer::voter(PeerId(23), StoreId(3)).into()],
        }
    }

    #[test]
    fn a_head_says_what_it_is_of() {
        let announced = read_head(head()).expect("whole");
        assert_eq!(announced.meta().removed, [Peer::voter(PeerId(23), StoreId(3))]);
        let Announced { message, region, clock_millis, expected, .. } = announced;
        assert_eq!((message.message.index, message.message.log_term), (Index(9), Term(6)));
        assert_eq!((message.region, region.id), (RegionId(2), RegionId(2)));
        assert_eq!((clock_millis, expected), (5, ByteSize::mib(1)));
        let refused = |change: fn(&mut SnapshotHead)| {
            let mut head = head();
            change(&mut head);
            read_head(head).is_err_and(|status| status.code() == tonic::Code::InvalidArgument)
        };
        assert!(refused(|head| head.envelope = None) && refused(|head| head.region = None));
        assert!(refused(|head| head.region.as_mut().expect("whole").id = 3));
        assert!(refused(|head| head.region.as_mut().expect("whole").end_key = "a".into()));
        assert!(refused(|head| head.removed[0].is_witness = true));
    }

    proptest! {
        #[test]
        fn damaged_heads_are_refused_or_keep_the_rules(
            bytes in damaged(Just(head().encode_to_vec())),
        ) {
            if let Ok(announced) = SnapshotHead::decode(bytes.as_slice()).map(read_head)
                && let Ok(Announced { message, region, .. }) = announced
            {
                prop_assert_eq!(message.region, region.id);
                prop_assert_eq!(region.validate(), Ok(()));
            }
        }
    }
}
