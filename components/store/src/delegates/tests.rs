//! Steps in their order, and many threads at once.

use std::{
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use flotilla_base::{Term, Version};
use flotilla_multiraft::Permit;
use flotilla_raftgroup::LogPosition;

use super::*;

const REGION: RegionId = RegionId(2);
const PEER: PeerId = PeerId(21);

fn permit(commit: u64, until: u64) -> Permit {
    Permit {
        peer: PEER,
        term: Term(6),
        version: Version(1),
        commit: Index(commit),
        until: Moment(until),
    }
}

fn header() -> RequestHeader {
    RequestHeader { version: Version(1), ..RequestHeader::default() }
}

fn progress(index: u64, clock_millis: u64) -> Applied {
    let (index, truncated) = (Index(index), LogPosition::default());
    Applied { index, truncated, bytes: 0, mutations: 0, clock_millis }
}

#[test]
fn a_read_begins_with_a_permit_and_data_and_ends_within_both() {
    let delegates = Delegates::default();
    let begin = || delegates.begin(REGION, &header());
    let refused = |read: Result<InPlace, NotInPlace>| read.map(|_| ()).expect_err("refused");
    assert_eq!(refused(begin()), NotInPlace::NoPermit);
    delegates.publish(REGION, PEER, Delegate { generation: 0, permit: Some(permit(7, 600)) });
    assert_eq!(refused(begin()), NotInPlace::NotApplied);
    delegates.applied(REGION, PEER, &progress(7, 50));
    assert_eq!(delegates.clock_millis(REGION), 50);
    assert_eq!(begin().expect("may begin").finish(Moment(599)), Ok(()));
    assert_eq!(begin().expect("may begin").finish(Moment(600)), Err(NotInPlace::RanOut));
    let read = begin().expect("may begin");
    delegates.publish(REGION, PEER, Delegate { generation: 1, permit: None });
    assert_eq!(read.finish(Moment(0)), Err(NotInPlace::Withdrawn));
}

#[test]
fn progress_never_goes_back_and_a_later_peer_begins_anew() {
    let delegates = Delegates::default();
    delegates.reached(REGION, PEER, Index(9), 90);
    delegates.applied(REGION, PEER, &progress(8, 80));
    assert_eq!(delegates.clock_millis(REGION), 90);
    let of_first = Delegate { generation: 0, permit: Some(permit(9, 600)) };
    delegates.publish(REGION, PEER, of_first);
    let read = delegates.begin(REGION, &header()).expect("nothing was taken back");
    let successor = PeerId(25);
    delegates.reached(REGION, successor, Index(6), 10);
    assert_eq!(delegates.clock_millis(REGION), 10);
    // What comes late for the first one shows nobody anything.
    delegates.publish(REGION, PEER, of_first);
    delegates.reached(REGION, PEER, Index(99), 990);
    assert!(delegates.begin(REGION, &header()).is_err());
    assert_eq!(delegates.clock_millis(REGION), 10);
    assert_eq!(read.finish(Moment(0)), Ok(()), "its owner withdraws it, not its successor");
}

/// What threads share: a region whose entries are numbers, and a peer of it whose data is the last of them.
#[derive(Default)]
struct World {
    delegates: Delegates,
    /// The last entry that anybody was told of, anywhere.
    told: AtomicU64,
    /// The last entry in the data of this store.
    data: AtomicU64,
    clock: AtomicU64,
    /// Reads that were served.
    served: AtomicU64,
    is_over: AtomicBool,
}

const LEASE: u64 = 600;
/// The writer goes on for so many rounds, and until so many reads were served in them.
const ROUNDS: u64 = 50;
const SERVED: u64 = 300;
const LIVENESS: Duration = Duration::from_secs(30);

impl World {
    /// Leads for a while, loses the lead in one of two ways, and follows for a while; again and again.
    fn write(&self) {
        let (mut generation, mut last, mut round) = (0, 0, 0);
        let end = Instant::now() + LIVENESS;
        while round < ROUNDS || self.served.load(Ordering::SeqCst) < SERVED {
            assert!(Instant::now() < end, "the test is blind: too few reads are served");
            round += 1;
            let until = self.clock.load(Ordering::SeqCst) + LEASE;
            for step in 0..8 {
                last += 1;
                let permit = Some(permit(last, until));
                self.delegates.publish(REGION, PEER, Delegate { generation, permit });
                if step % 2 == 0 {
                    // A follower may show the entry before it is applied here.
                    self.told.store(last, Ordering::SeqCst);
                }
                self.apply(last);
                self.told.store(last, Ordering::SeqCst);
                thread::yield_now();
            }
            if round % 2 == 0 {
                // Withdrawn, though time is left.
                generation += 1;
                self.delegates.publish(REGION, PEER, Delegate { generation, permit: None });
            } else {
                // The lease runs out; nobody here takes note.
                self.clock.store(until, Ordering::SeqCst);
            }
            for _ in 0..8 {
                last += 1;
                self.told.store(last, Ordering::SeqCst);
                thread::yield_now();
            }
            generation += 1;
            self.delegates.publish(REGION, PEER, Delegate { generation, permit: None });
            self.apply(last);
        }
    }

    fn apply(&self, last: u64) {
        self.data.store(last, Ordering::Relaxed);
        self.delegates.applied(REGION, PEER, &progress(last, last));
    }

    fn read(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            let floor = self.told.load(Ordering::SeqCst);
            let Ok(read) = self.delegates.begin(REGION, &header()) else {
                thread::yield_now();
                continue;
            };
            let view = self.data.load(Ordering::Relaxed);
            let clock_millis = self.delegates.clock_millis(REGION);
            let now = Moment(self.clock.load(Ordering::SeqCst));
            if read.finish(now).is_ok() {
                assert!(view >= floor, "{view} was served, {floor} was known");
                assert!(clock_millis >= floor, "{clock_millis} was the clock, {floor} was known");
                self.served.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        }
    }
}

#[test]
fn no_thread_ever_serves_less_than_was_known_when_it_began() {
    let world = World::default();
    thread::scope(|scope| {
        let readers = [(); 3].map(|()| scope.spawn(|| world.read()));
        let written = scope.spawn(|| world.write()).join();
        world.is_over.store(true, Ordering::SeqCst);
        written.expect("the writer ends");
        for reader in readers {
            reader.join().expect("no read is wrong");
        }
    });
}

#[test]
fn the_region_that_is_the_furthest_behind_is_told() {
    let delegates = Delegates::default();
    assert_eq!(delegates.furthest_behind(), None);
    let near = RegionId(3);
    for region in [REGION, near] {
        delegates.committed(region, PEER, Index(7));
    }
    delegates.reached(near, PEER, Index(6), 0);
    assert_eq!(delegates.furthest_behind(), Some((REGION, 7)));
    delegates.reached(REGION, PEER, Index(7), 0);
    assert_eq!(delegates.furthest_behind(), Some((near, 1)));
    // An applier may be told of a commit index behind what it has.
    delegates.reached(near, PEER, Index(9), 0);
    assert_eq!(delegates.furthest_behind().map(|(_, entries)| entries), Some(0));
}
