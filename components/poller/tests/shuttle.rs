//! Random schedules over the cell, the pool and the syncer.
//!
//! Each test states what no schedule may do; a lost wake-up shows as a deadlock, which shuttle reports.
#![expect(clippy::unwrap_used, reason = "a poisoned lock is a failed schedule")]

use std::collections::BTreeSet;

use flotilla_poller::{
    After, Closed, Handler, Mailbox, Pool, PoolOptions, Quota, ReadyQueue, SendError, SyncHost,
    Syncer, SyncerOptions, TurnLimits,
};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

const SCHEDULES: usize = 3000;
const CLOSE: u32 = u32::MAX;
const AGAIN: u32 = u32::MAX - 1;
const QUOTA: Quota = Quota { cell_bytes: 1 << 20, total_bytes: 1 << 20 };

fn check(test: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(test, SCHEDULES);
    shuttle::check_pct(test, SCHEDULES, 3);
}

/// What the outside sees of a cell.
#[derive(Default)]
struct Seen {
    handled: Mutex<Vec<u32>>,
    /// Counted under the lock of `handled`.
    runs: AtomicUsize,
    more: Condvar,
    left_at_close: Mutex<Vec<u32>>,
    dropped: AtomicBool,
}

impl Seen {
    fn wait_for(&self, count: usize) {
        self.wait_until(|handled| handled.len() >= count);
    }

    fn wait_until(&self, enough: impl Fn(&[u32]) -> bool) {
        let mut handled = self.handled.lock().unwrap();
        while !enough(&handled) {
            handled = self.more.wait(handled).unwrap();
        }
    }
}

/// The state of a cell: `unwritten` is set from its run until the end of the turn.
struct Probe {
    seen: Arc<Seen>,
    unwritten: Arc<AtomicBool>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        assert!(!self.unwritten.load(Ordering::SeqCst), "a state is dropped after its turn's end");
        self.seen.dropped.store(true, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Recorder {
    turn: Vec<Arc<AtomicBool>>,
}

impl Handler for Recorder {
    type State = Probe;
    type Message = u32;

    fn handle(
        &mut self,
        _: &Mailbox<Probe, u32>,
        state: &mut Probe,
        messages: &mut Vec<u32>,
    ) -> After {
        let unwritten = state.unwritten.swap(true, Ordering::SeqCst);
        assert!(!unwritten, "a cell runs again only after the end of the turn it ran in");
        self.turn.push(state.unwritten.clone());
        let mut after = After::Keep;
        let mut handled = state.seen.handled.lock().unwrap();
        state.seen.runs.fetch_add(1, Ordering::SeqCst);
        for message in messages.drain(..) {
            match message {
                CLOSE => after = After::Close,
                AGAIN if after == After::Keep => after = After::Again,
                _ => {}
            }
            handled.push(message);
        }
        state.seen.more.notify_all();
        after
    }

    fn closed(&mut self, state: &mut Probe, messages: Vec<u32>) {
        state.seen.left_at_close.lock().unwrap().extend(messages);
    }

    fn end(&mut self) {
        thread::yield_now();
        for unwritten in self.turn.drain(..) {
            unwritten.store(false, Ordering::SeqCst);
        }
    }
}

fn start(messages: usize) -> (Pool<Recorder>, ReadyQueue<Probe, u32>) {
    let (queue, ready) = ReadyQueue::new(QUOTA);
    let mut options = PoolOptions::new("pool", 2);
    options.limits = TurnLimits { cells: 4, messages };
    options.on_panic = Arc::new(|_| {});
    let pool = Pool::start(&options, ready, |_| Recorder::default()).unwrap();
    (pool, queue)
}

fn cell(queue: &ReadyQueue<Probe, u32>, key: u64) -> (Mailbox<Probe, u32>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let probe = Probe { seen: seen.clone(), unwritten: Arc::default() };
    (queue.cell(key, 1, probe), seen)
}

fn sender(
    mailbox: &Mailbox<Probe, u32>,
    messages: Vec<u32>,
) -> thread::JoinHandle<(Vec<u32>, Vec<u32>)> {
    let mailbox = mailbox.clone();
    thread::spawn(move || {
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for message in messages {
            // Both ways in must behave alike.
            let sent = if message % 2 == 0 {
                mailbox.send(message).map_err(SendError::from)
            } else {
                mailbox.try_send(message, 100)
            };
            match sent {
                Ok(()) => accepted.push(message),
                Err(SendError::Closed(message)) => refused.push(message),
                Err(SendError::Full(_)) => panic!("the quota is far away"),
            }
        }
        (accepted, refused)
    })
}

fn in_order(all: &[u32], part: &[u32]) -> bool {
    let found: Vec<u32> = all.iter().copied().filter(|message| part.contains(message)).collect();
    found == part
}

#[test]
fn every_message_is_handled_once_and_in_order() {
    check(|| {
        let (pool, queue) = start(4096);
        let (mailbox, seen) = cell(&queue, 1);
        let senders = [sender(&mailbox, vec![1, 2, 3]), sender(&mailbox, vec![11, 12])];
        for sender in senders {
            let (accepted, refused) = sender.join().unwrap();
            assert!(refused.is_empty());
            seen.wait_for(accepted.len());
        }
        seen.wait_for(5);
        let handled = seen.handled.lock().unwrap().clone();
        assert_eq!(handled.len(), 5, "{handled:?}");
        assert!(in_order(&handled, &[1, 2, 3]) && in_order(&handled, &[11, 12]), "{handled:?}");
        assert_eq!(queue.waiting_bytes(), 0);
        pool.shutdown();
    });
}

#[test]
fn mail_beyond_the_limit_of_a_turn_is_not_forgotten() {
    check(|| {
        let (pool, queue) = start(1);
        let (mailbox, seen) = cell(&queue, 1);
        let senders = [sender(&mailbox, vec![1, 2]), sender(&mailbox, vec![11, 12])];
        seen.wait_for(4);
        for sender in senders {
            sender.join().unwrap();
        }
        pool.shutdown();
        let handled = seen.handled.lock().unwrap().clone();
        assert!(in_order(&handled, &[1, 2]) && in_order(&handled, &[11, 12]), "{handled:?}");
    });
}

#[test]
fn a_closing_cell_handles_or_returns_each_message_exactly_once() {
    check(|| {
        let (pool, queue) = start(2);
        let (mailbox, seen) = cell(&queue, 1);
        let senders = [sender(&mailbox, vec![1, 2]), sender(&mailbox, vec![11, CLOSE, 13])];
        let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
        for sender in senders {
            let (ok, no) = sender.join().unwrap();
            accepted.extend(ok);
            refused.extend(no);
        }
        seen.wait_until(|handled| handled.contains(&CLOSE));
        pool.shutdown();
        let mut ended = seen.handled.lock().unwrap().clone();
        ended.extend(seen.left_at_close.lock().unwrap().iter());
        let once: BTreeSet<u32> = ended.iter().copied().collect();
        assert_eq!(ended.len(), once.len(), "a message ended twice: {ended:?}");
        assert_eq!(once, accepted, "accepted messages are those that ended");
        assert!(accepted.is_disjoint(&refused));
        assert!(seen.dropped.load(Ordering::SeqCst), "the state of a closed cell is dropped");
        assert_eq!(mailbox.send(99), Err(Closed(99)));
        assert_eq!(queue.waiting_bytes(), 0);
    });
}

#[test]
fn a_cell_that_asks_to_run_again_does_so_without_mail() {
    check(|| {
        let (pool, queue) = start(4096);
        let (first, first_seen) = cell(&queue, 1);
        let (second, second_seen) = cell(&queue, 2);
        let senders = [sender(&first, vec![AGAIN]), sender(&second, vec![5])];
        first_seen.wait_until(|_| first_seen.runs.load(Ordering::SeqCst) >= 2);
        second_seen.wait_for(1);
        for sender in senders {
            sender.join().unwrap();
        }
        pool.shutdown();
        assert_eq!(*first_seen.handled.lock().unwrap(), [AGAIN]);
    });
}

#[test]
fn a_disposed_cell_returns_what_no_worker_took() {
    check(|| {
        let (pool, queue) = start(4096);
        let (mailbox, seen) = cell(&queue, 1);
        let sending = sender(&mailbox, vec![1, 2, 3]);
        pool.shutdown();
        let left = mailbox.dispose();
        let (accepted, _) = sending.join().unwrap();
        let mut ended = seen.handled.lock().unwrap().clone();
        ended.extend(left);
        // Mail sent to a stopped pool may be dropped, but nothing ends twice and nothing is made up.
        assert!(in_order(&accepted, &ended), "accepted {accepted:?}, ended {ended:?}");
        assert!(seen.dropped.load(Ordering::SeqCst));
        assert_eq!(mailbox.send(9), Err(Closed(9)));
        assert_eq!(queue.waiting_bytes(), 0);
    });
}

/// Writers count what they wrote; a sync makes it durable.
#[derive(Default)]
struct Disk {
    written: AtomicUsize,
    durable: AtomicUsize,
    delivered: Mutex<Vec<usize>>,
    rooms: Mutex<Vec<u64>>,
    woken: Condvar,
}

struct DiskHost(Arc<Disk>);

impl SyncHost for DiskHost {
    type Token = usize;
    type Error = ();

    fn sync(&mut self) -> Result<(), ()> {
        let written = self.0.written.load(Ordering::SeqCst);
        thread::yield_now();
        self.0.durable.store(written, Ordering::SeqCst);
        Ok(())
    }

    fn deliver(&mut self, token: usize) {
        assert!(token <= self.0.durable.load(Ordering::SeqCst), "delivered before it was durable");
        self.0.delivered.lock().unwrap().push(token);
    }

    fn room(&mut self, key: u64) {
        self.0.rooms.lock().unwrap().push(key);
        self.0.woken.notify_all();
    }

    fn fatal(&mut self, (): ()) {
        panic!("this disk does not fail");
    }
}

#[test]
fn tokens_are_delivered_in_order_after_a_sync_and_refused_writers_are_woken() {
    check(|| {
        let disk = Arc::new(Disk::default());
        let mut options = SyncerOptions::new("syncer");
        options.tokens = 1;
        let syncer = Arc::new(Syncer::start(options, DiskHost(disk.clone())).unwrap());
        // Stands for the order that the log itself gives to writes and their tokens.
        let log = Arc::new(Mutex::new(()));
        let writers: Vec<_> = (0..2u64)
            .map(|key| {
                let (disk, syncer, log) = (disk.clone(), syncer.clone(), log.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        while !syncer.has_room_or_wake(key) {
                            let mut rooms = disk.rooms.lock().unwrap();
                            while !rooms.contains(&key) {
                                rooms = disk.woken.wait(rooms).unwrap();
                            }
                            rooms.retain(|&woken| woken != key);
                        }
                        let _order = log.lock().unwrap();
                        let written = disk.written.fetch_add(1, Ordering::SeqCst) + 1;
                        syncer.push(written, 10, true).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        drop(syncer);
        assert_eq!(*disk.delivered.lock().unwrap(), [1, 2, 3, 4]);
    });
}
