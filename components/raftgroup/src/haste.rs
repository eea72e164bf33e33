//! How soon followers hear of a commit.

use crate::group::Group;

impl Group {
    /// Whether followers hear of a commit at once, with an empty message where there is no entry to send. As a
    /// rule they hear of it with the next entry or heartbeat, which saves half of the messages; but what waits
    /// for them to apply something should not wait for that.
    pub fn broadcast_commits(&mut self, is_on: bool) {
        self.raw.raft.skip_bcast_commit(!is_on);
    }
}
