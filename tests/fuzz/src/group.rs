//! One raft group, met in some state, and whatever the network could say to it. The input is a script.

use crate::adversary;

/// See the module.
pub fn run(script: &[u8]) {
    let _seen = adversary::play(script);
}

/// One short script for each state.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let state = |state: u8| [vec![state, 0], vec![0; 60], vec![12, 16, 12, 18, 19, 12]].concat();
    (0..16).map(state).collect()
}
