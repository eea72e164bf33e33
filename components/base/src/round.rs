//! Names of the rounds of heartbeats that prove a lead.

use crate::{PeerId, Term};

/// A round of heartbeats of a leader, or a question of a follower's for one. Whoever answers gives the name back. No two have
/// the same one: a store counts its runs upwards, and a peer its rounds within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundName {
    /// Whose round it is.
    pub peer: PeerId,
    /// In which term.
    pub term: Term,
    /// In which run of its store.
    pub run: u64,
    /// Which one.
    pub number: u64,
}

impl RoundName {
    /// Its form in messages: four words, eight bytes big-endian each.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let words = [self.peer.get(), self.term.get(), self.run, self.number];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// The name in this form; `None` where these bytes are none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let [peer, term, run, number] = words else { return None };
        let [peer, term, run, number] = [peer, term, run, number].map(|it| u64::from_be_bytes(*it));
        let name = Self { peer: PeerId(peer), term: Term(term), run, number };
        rest.is_empty().then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_four_words_and_nothing_else() {
        let name = RoundName { peer: PeerId(1), term: Term(2), run: 3, number: u64::MAX };
        let bytes = name.to_bytes();
        assert_eq!(bytes.len(), 32);
        assert_eq!(RoundName::read(&bytes), Some(name));
        for length in [0, 8, 24, 31] {
            assert_eq!(RoundName::read(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(RoundName::read(&[&bytes[..], &[0]].concat()), None);
    }
}
