//! Rule F4: an acknowledged entry is durable when the acknowledgement leaves.

use flotilla_base::{Index, KvRead};
use flotilla_multiraft::PeerMessage;
use flotilla_raftgroup::{MessageKind, RaftState, disk};

use super::{Place, Verdict, Violation, require};
use crate::disk::SimDisk;

const F4: &str = "F4: a promise is durable before it leaves";

/// The records of a message's region that `reader` shows.
///
/// # Errors
/// They are damaged.
pub fn raft_state(reader: &dyn KvRead, message: &PeerMessage) -> Result<RaftState, Violation> {
    disk::read_raft_state(reader, message.region)
        .map(Option::unwrap_or_default)
        .map_err(|error| Violation { rule: "records are intact", what: error.to_string() })
}

/// Judges a message that leaves a store now. An acknowledged entry is durable in the form in which it was
/// written last, unless a later term has written something else since.
///
/// # Errors
/// A crash would take the entry back.
pub fn check(message: &PeerMessage, disk: &SimDisk, synced: &RaftState) -> Verdict {
    let is_acknowledged =
        message.message.kind == MessageKind::AppendResponse && message.message.reject.is_none();
    if !is_acknowledged || synced.hard_state.term > message.message.term {
        // It held the entry when it said so, and has durably left that term since: whoever it votes
        // for now has the entry, or never needed it.
        return Ok(());
    }
    let index = message.message.index;
    let place = Place(message.from.store, message.region);
    require(synced.last.index >= index, F4, || {
        format!("{place}: acknowledges {index}, durable is {}", synced.last.index)
    })?;
    let written = raft_state(disk.image().as_ref(), message)?;
    if written.hard_state.term > message.message.term {
        return Ok(());
    }
    let term_of = |reader: &dyn KvRead, index: Index| {
        disk::read_entry(reader, message.region, index).ok().map(|entry| entry.term)
    };
    let written = term_of(disk.image().as_ref(), index);
    let durable = term_of(disk.synced(), index);
    require(written.is_none() || written == durable, F4, || {
        format!("{place}: acknowledges {index} of {written:?}, durable is {durable:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{
        append, broken, disk, entry, message, position, raft_state as put,
    };

    fn judge(disk: &SimDisk, index: u64) -> Verdict {
        let mut message = message(MessageKind::AppendResponse, 6);
        message.message.index = Index(index);
        let synced = raft_state(disk.synced(), &message).expect("intact records");
        check(&message, disk, &synced)
    }

    fn log() -> SimDisk {
        let mut batch = append(5, &[entry(6, 6, "k", "1:"), entry(6, 7, "k", "2:")]);
        batch.push(put(6, 201, position(6, 7)));
        disk([batch])
    }

    #[test]
    fn an_entry_that_is_not_durable_is_found() {
        let disk = log();
        assert_eq!(judge(&disk, 7), Ok(()));
        assert_eq!(broken(judge(&disk, 8)), F4);
    }

    #[test]
    fn an_entry_that_is_durable_in_another_form_is_found() {
        let mut disk = log();
        let mut batch = append(7, &[entry(5, 7, "k", "3:")]);
        batch.push(put(6, 201, position(5, 7)));
        disk.write(batch).expect("a sound disk");
        assert_eq!(broken(judge(&disk, 7)), F4);
        assert_eq!(judge(&disk, 6), Ok(()));
    }

    #[test]
    fn whoever_left_the_term_promises_nothing_in_it() {
        let disk = disk([vec![put(7, 0, position(5, 5))]]);
        assert_eq!(judge(&disk, 9), Ok(()));
    }
}
