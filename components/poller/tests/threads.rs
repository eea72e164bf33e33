//! The crate on real threads and without any. Safety only: nothing here asserts how long something takes.
#![cfg(not(feature = "shuttle"))]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use flotilla_base::Moment;
use flotilla_poller::{
    After, Alarm, Clock, Closed, Handler, Mailbox, Manual, Pool, PoolOptions, Quota, ReadyQueue,
    Router, SendError, SyncHost, Syncer, SyncerOptions, TurnLimits,
};

/// How long something that must happen may take.
const LIVENESS: Duration = Duration::from_secs(30);
const QUOTA: Quota = Quota { cell_bytes: 1000, total_bytes: 1500 };

/// Writes down what happens in turns.
#[derive(Default)]
struct Trace {
    lines: Vec<String>,
    full: bool,
}

enum Message {
    Note(u32),
    Again,
    Close,
}

impl Handler for Trace {
    type State = Vec<u32>;
    type Message = Message;

    fn begin(&mut self) {
        self.lines.push("begin".to_owned());
    }

    fn handle(
        &mut self,
        cell: &Mailbox<Vec<u32>, Message>,
        state: &mut Vec<u32>,
        messages: &mut Vec<Message>,
    ) -> After {
        let mut after = After::Keep;
        let mut notes = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Note(note) => notes.push(note),
                Message::Again => after = After::Again,
                Message::Close => after = After::Close,
            }
        }
        self.lines.push(format!("{} {notes:?}", cell.key()));
        state.extend(notes);
        after
    }

    fn closed(&mut self, state: &mut Vec<u32>, messages: Vec<Message>) {
        self.lines.push(format!("closed after {state:?}, {} left", messages.len()));
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn end(&mut self) {
        self.lines.push("end".to_owned());
    }
}

type TraceBox = Mailbox<Vec<u32>, Message>;

fn manual(limits: TurnLimits) -> (ReadyQueue<Vec<u32>, Message>, Manual<Trace>) {
    let (queue, ready) = ReadyQueue::new(QUOTA);
    (queue, Manual::new(ready, Trace::default(), limits))
}

fn lines(manual: &mut Manual<Trace>) -> Vec<String> {
    std::mem::take(&mut manual.handler().lines)
}

#[test]
fn a_turn_runs_many_cells_between_one_begin_and_one_end() {
    let (queue, mut manual) = manual(TurnLimits { cells: 2, messages: 2 });
    let cells: Vec<TraceBox> = (1..=3).map(|key| queue.cell(key, 1, Vec::new())).collect();
    for note in 0..3 {
        assert!(cells[0].send(Message::Note(note)).is_ok());
    }
    for cell in &cells[1..] {
        assert!(cell.send(Message::Note(7)).is_ok());
    }
    assert_eq!(manual.ready(), 3, "a cell is ready at most once");
    assert_eq!(manual.turn(), 2);
    assert_eq!(lines(&mut manual), ["begin", "1 [0, 1]", "2 [7]", "end"]);
    // The rest of the first cell's mail waits behind the third cell.
    assert_eq!(manual.turn(), 2);
    assert_eq!(lines(&mut manual), ["begin", "3 [7]", "1 [2]", "end"]);
    assert_eq!((manual.turn(), manual.ready()), (0, 0));
}

#[test]
fn a_full_handler_ends_the_turn_and_again_goes_behind_the_others() {
    let (queue, mut manual) = manual(TurnLimits::default());
    manual.handler().full = true;
    let cells: Vec<TraceBox> = (1..=2).map(|key| queue.cell(key, 1, Vec::new())).collect();
    assert!(cells[0].send(Message::Again).is_ok());
    assert!(cells[1].send(Message::Note(1)).is_ok());
    while manual.turn() > 0 {}
    assert_eq!(
        lines(&mut manual),
        ["begin", "1 []", "end", "begin", "2 [1]", "end", "begin", "1 []", "end"]
    );
}

#[test]
fn a_closed_cell_answers_what_is_left_and_refuses_mail() {
    let (queue, mut manual) = manual(TurnLimits { cells: 9, messages: 2 });
    let cell = queue.cell(1, 1, Vec::new());
    for message in [Message::Note(1), Message::Close, Message::Note(2)] {
        assert!(cell.try_send(message, 100).is_ok());
    }
    assert_eq!(manual.turn(), 1);
    assert_eq!(lines(&mut manual), ["begin", "1 [1]", "closed after [1], 1 left", "end"]);
    assert!(matches!(cell.send(Message::Close), Err(Closed(_))) && cell.is_closed());
    assert!(matches!(cell.try_send(Message::Close, 1), Err(SendError::Closed(_))));
    assert_eq!((manual.ready(), queue.waiting_bytes()), (0, 0));
}

#[test]
fn quotas_refuse_what_comes_from_outside_and_nothing_else() {
    let (queue, mut manual) = manual(TurnLimits::default());
    let (first, second) = (queue.cell(1, 1, Vec::new()), queue.cell(2, 1, Vec::new()));
    assert!(first.try_send(Message::Note(0), 900).is_ok());
    assert!(matches!(first.try_send(Message::Note(1), 200), Err(SendError::Full(_))), "cell");
    assert!(matches!(second.try_send(Message::Note(1), 700), Err(SendError::Full(_))), "pool");
    assert!(second.try_send(Message::Note(2), 500).is_ok());
    assert!(first.send(Message::Note(3)).is_ok(), "internal mail is never refused");
    assert_eq!(queue.waiting_bytes(), 1400);
    manual.turn();
    assert_eq!(queue.waiting_bytes(), 0);
    assert!(second.try_send(Message::Note(4), 1200).is_ok(), "an empty inbox takes any size");
    drop(second);
    drop(manual);
    assert_eq!(queue.waiting_bytes(), 0, "dropped mail gives its quota back");
    // Nobody is left to run anything: the first message shows it, later ones are refused.
    assert!(first.try_send(Message::Note(5), 100).is_ok());
    assert!(matches!(first.send(Message::Note(6)), Err(Closed(_))));
    assert_eq!(queue.waiting_bytes(), 0);
}

#[test]
fn a_router_keeps_generations_apart() {
    let (queue, mut manual) = manual(TurnLimits::default());
    let router = Router::default();
    let (old, new) = (queue.cell(7, 1, Vec::new()), queue.cell(7, 2, Vec::new()));
    assert!(router.register(old).is_ok());
    assert_eq!(router.register(new.clone()).unwrap_err().generation(), 1);
    assert!(router.remove(7, 2).is_none());
    assert_eq!(router.remove(7, 1).map(|cell| cell.generation()), Some(1));
    assert!(matches!(router.send(7, Message::Close), Err(Closed(_))));
    assert!(router.register(new).is_ok());
    for key in 100..1100 {
        assert!(router.register(queue.cell(key, 1, Vec::new())).is_ok());
    }
    assert!(router.try_send(7, Message::Note(1), 10).is_ok());
    assert_eq!((manual.turn(), router.len()), (1, 1001));
    let mut keys = 0;
    router.for_each(|cell| keys += cell.key());
    assert_eq!(keys, 7 + (100..1100).sum::<u64>());
    assert_eq!((router.drain().len(), router.is_empty()), (1001, true));
}

/// Counts, and panics on request.
struct Counter(Arc<AtomicUsize>);

impl Handler for Counter {
    type State = ();
    type Message = bool;

    fn handle(&mut self, _: &Mailbox<(), bool>, _: &mut (), messages: &mut Vec<bool>) -> After {
        for panics in messages.drain(..) {
            assert!(!panics, "asked to");
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        After::Keep
    }

    fn closed(&mut self, (): &mut (), _: Vec<bool>) {}

    fn end(&mut self) {}
}

#[test]
fn a_pool_handles_all_mail_of_many_senders_before_it_stops() {
    let counted = Arc::new(AtomicUsize::new(0));
    let (queue, ready) = ReadyQueue::new(QUOTA);
    let pool = Pool::start(&PoolOptions::new("count", 3), ready, |_| Counter(counted.clone()))
        .expect("threads");
    let cells: Vec<_> = (0..50).map(|key| queue.cell(key, 1, ())).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    cells.iter().for_each(|cell| cell.send(false).expect("open"));
                }
            });
        }
    });
    pool.shutdown();
    assert_eq!(counted.load(Ordering::SeqCst), 4 * 100 * 50);
    for cell in &cells {
        assert!(cell.dispose().is_empty());
    }
}

#[test]
fn a_panic_of_a_handler_is_reported_with_the_worker_name() {
    let (reports, reported) = mpsc::channel();
    let (queue, ready) = ReadyQueue::new(QUOTA);
    let mut options = PoolOptions::new("brittle", 1);
    let reports = std::sync::Mutex::new(reports);
    options.on_panic =
        Arc::new(move |worker| drop(reports.lock().map(|to| to.send(worker.to_owned()))));
    let pool = Pool::start(&options, ready, |_| Counter(Arc::default())).expect("a thread");
    queue.cell(1, 1, ()).send(true).expect("open");
    assert_eq!(reported.recv_timeout(LIVENESS), Ok("brittle-0".to_owned()));
    pool.shutdown();
}

fn clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || Moment(0) + start.elapsed().into())
}

#[test]
fn an_alarm_fires_once_per_key_and_never_early() {
    let (fired, events) = mpsc::channel();
    let clock = clock();
    let now = clock.clone();
    let alarm = Alarm::start("alarm", clock.clone(), move |key, generation| {
        fired.send((key, generation, now())).expect("the test outlives the alarm");
    })
    .expect("a thread");
    let soon = |millis| clock() + flotilla_base::Span::from_millis(millis);
    let hour = soon(3_600_000);
    alarm.set(1, 1, hour);
    alarm.set(2, 1, hour);
    alarm.set(3, 1, Moment::NEVER);
    let early = soon(20);
    alarm.set(2, 1, early);
    let (key, generation, at) = events.recv_timeout(LIVENESS).expect("fires");
    assert_eq!((key, generation), (2, 1));
    assert!(at >= early, "fired {} early", early.since(at));
    assert_eq!(alarm.len(), 1);
    alarm.clear(1, 1);
    assert!(alarm.is_empty());
    // A deadline in the past fires at once.
    alarm.set(4, 9, Moment(0));
    assert_eq!(events.recv_timeout(LIVENESS).map(|event| (event.0, event.1)), Ok((4, 9)));
    drop(alarm);
    assert!(events.recv_timeout(LIVENESS).is_err(), "nothing else fired");
}

/// Syncs when told to, and fails when told to.
struct GatedHost {
    gate: mpsc::Receiver<Result<(), &'static str>>,
    events: mpsc::Sender<String>,
    fatal: Arc<AtomicBool>,
}

impl SyncHost for GatedHost {
    type Token = u32;
    type Error = &'static str;

    fn sync(&mut self) -> Result<(), &'static str> {
        drop(self.events.send("sync".to_owned()));
        self.gate.recv().unwrap_or(Ok(()))
    }

    fn deliver(&mut self, token: u32) {
        drop(self.events.send(format!("token {token}")));
    }

    fn room(&mut self, key: u64) {
        drop(self.events.send(format!("room {key}")));
    }

    fn fatal(&mut self, error: &'static str) {
        self.fatal.store(true, Ordering::SeqCst);
        drop(self.events.send(error.to_owned()));
    }
}

#[test]
fn a_syncer_shares_one_sync_and_stops_at_the_first_failure() {
    let (open, gate) = mpsc::channel();
    let (sender, events) = mpsc::channel();
    let fatal = Arc::new(AtomicBool::new(false));
    let host = GatedHost { gate, events: sender, fatal: fatal.clone() };
    let mut options = SyncerOptions::new("syncer");
    (options.tokens, options.bytes) = (4, 1000);
    let syncer = Syncer::start(options, host).expect("a thread");
    let next = || events.recv_timeout(LIVENESS).expect("an event");

    assert_eq!(syncer.push(0, 10, false), Ok(()));
    assert_eq!(next(), "token 0", "a turn without log needs no sync");
    assert_eq!(syncer.push(1, 10, true), Ok(()));
    assert_eq!(next(), "sync");
    for token in 2..4 {
        assert_eq!(syncer.push(token, 10, true), Ok(()));
    }
    assert!(syncer.has_room());
    assert_eq!(syncer.push(4, 990, false), Ok(()));
    assert!(!syncer.has_room() && !syncer.has_room_or_wake(77));
    assert!(syncer.outstanding() >= 4);
    open.send(Ok(())).expect("listening");
    // Three turns share the second sync; the refused cell hears of room once, when there is some.
    open.send(Ok(())).expect("listening");
    let mut seen: Vec<String> = (0..6).map(|_| next()).collect();
    let room = seen.iter().position(|event| event == "room 77").expect("told of room");
    seen.remove(room);
    assert_eq!(seen, ["token 1", "sync", "token 2", "token 3", "token 4"]);

    assert_eq!(syncer.push(5, 10, true), Ok(()));
    assert_eq!(next(), "sync");
    open.send(Err("the disk is gone")).expect("listening");
    assert_eq!(next(), "the disk is gone");
    assert_eq!(syncer.push(6, 10, false), Err(6), "nothing is delivered after a failed sync");
    drop(syncer);
    assert!(fatal.load(Ordering::SeqCst) && events.recv().is_err());
}

/// Mail that one turn had no room for stands behind the word to stop.
#[test]
fn a_pool_that_stops_takes_the_mail_that_needs_several_turns() {
    for _ in 0..50 {
        let counted = Arc::new(AtomicUsize::new(0));
        let (queue, ready) = ReadyQueue::new(QUOTA);
        let cells: Vec<_> = (0..3).map(|key| queue.cell(key, 1, ())).collect();
        for cell in &cells {
            (0..5).for_each(|_| cell.send(false).expect("open"));
        }
        let limits = TurnLimits { cells: 1, messages: 1 };
        let options = PoolOptions { limits, ..PoolOptions::new("count", 2) };
        let pool = Pool::start(&options, ready, |_| Counter(counted.clone())).expect("threads");
        pool.shutdown();
        assert_eq!(counted.load(Ordering::SeqCst), 15);
    }
}
