//! A number that stands for all that happened in a run, and when.

use std::{fmt, ops::AddAssign};

use flotilla_base::Moment;

/// Two runs share it only if the same happened at the same moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Something happened; so much had been scheduled by then.
    pub fn on_event(&mut self, at: Moment, scheduled: u64) {
        for word in [at.0, scheduled] {
            self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
