//! One store with its replicas, appliers and disk, and whatever other stores could send it. The input is a script.

use crate::attacked;

/// See the module.
pub fn run(script: &[u8]) {
    let _seen = attacked::play(script);
}

/// One short script for each life.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let life = |life: u8| [vec![life], vec![0; 60], vec![10, 15, 10, 17, 18, 10]].concat();
    (0..8).map(life).collect()
}
