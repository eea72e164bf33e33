//! A few threads for all reads: they may wait for the disk, and must hold up neither
//! the network nor raft.

use std::{io, sync::Arc, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, timeout_at},
};

/// Reads that wait for a thread, for each thread.
const QUEUE_PER_THREAD: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// Named threads behind a bounded queue.
pub(super) struct ReadPool {
    /// `None` only while the pool is dropped.
    jobs: Option<Sender<Job>>,
    slots: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

/// Why a read was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRead {
    /// No place in the queue came free in time.
    Full,
    /// It was not done by its deadline: the disk hangs, or others are in front of it.
    Late,
    /// The read panicked: a defect, which costs this answer only.
    Panicked,
}

/// Asked by long reads now and then.
pub(super) struct Patience<'a> {
    is_gone: &'a dyn Fn() -> bool,
    deadline: Instant,
}

impl Patience<'_> {
    /// Whether nobody waits for the answer any more.
    pub(super) fn is_over(&self) -> bool {
        (self.is_gone)() || Instant::now() >= self.deadline
    }
}

impl ReadPool {
    /// Starts `threads` threads.
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let capacity = threads.max(1) * QUEUE_PER_THREAD;
        let (sender, receiver) = bounded::<Job>(capacity);
        let spawn = |number: usize| {
            let jobs = receiver.clone();
            flotilla_telemetry::thread::spawn(&format!("read-{number}"), move || work(&jobs))
        };
        let threads = (0..threads.max(1)).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { jobs: Some(sender), slots: Arc::new(Semaphore::new(capacity)), threads })
    }

    /// Runs `read` on a thread of the pool. Waits for a place in the queue until `wait_until`, and for the answer until
    /// `deadline`, at which `read` itself should give up: a thread that waits for the disk cannot.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        wait_until: Instant,
        deadline: Instant,
        read: impl FnOnce(&Patience<'_>) -> T + Send + 'static,
    ) -> Result<T, NotRead> {
        let slot = timeout_at(wait_until, Arc::clone(&self.slots).acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Err(NotRead::Full) };
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move || do_read(slot, deadline, reply, read));
        let jobs = self.jobs.as_ref().expect("present until the pool is dropped");
        // There are as many slots as places, so this neither waits nor fails.
        jobs.try_send(job).map_err(|_no_place| NotRead::Full)?;
        let answer = timeout_at(deadline, answer).await.map_err(|_elapsed| NotRead::Late)?;
        answer.map_err(|_dropped_by_a_panic| NotRead::Panicked)
    }
}

fn do_read<T>(
    slot: OwnedSemaphorePermit,
    deadline: Instant,
    reply: oneshot::Sender<T>,
    read: impl FnOnce(&Patience<'_>) -> T,
) {
    // The place in the queue is free now; how many reads run is bounded by the threads.
    drop(slot);
    if reply.is_closed() {
        return;
    }
    let is_gone = || reply.is_closed();
    let result = read(&Patience { is_gone: &is_gone, deadline });
    let _nobody_waits = reply.send(result).is_err();
}

fn work(jobs: &Receiver<Job>) {
    for job in jobs {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a read panicked; its client is told, the store goes on");
        }
    }
}

impl Drop for ReadPool {
    /// Waits for the reads that run: they hold the engine open.
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _panics_were_caught = thread.join().is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn reads_run_panics_are_told_and_queues_end() {
        let pool = ReadPool::start(1).expect("a thread");
        let later = Instant::now() + Duration::from_secs(30);
        assert_eq!(pool.run(later, later, |_| 7).await, Ok(7));
        let panicked = pool.run(later, later, |_| panic!("defect")).await;
        assert_eq!(panicked.map(|never: u32| never), Err(NotRead::Panicked));
        assert_eq!(pool.run(later, later, |patience| patience.is_over()).await, Ok(false));
        let mut time = Duration::from_millis(1);
        loop {
            let (tell, told) = oneshot::channel();
            let until_over = move |patience: &Patience<'_>| {
                while !patience.is_over() {
                    std::thread::yield_now();
                }
                let _told = tell.send(());
            };
            let _over_here_or_there = pool.run(later, Instant::now() + time, until_over).await;
            // Where its time ended before it began, it saw nothing.
            if told.await.is_ok() {
                break;
            }
            time *= 2;
            assert!(time < Duration::from_secs(30), "the read never saw the end of its time");
        }

        let (release, held) = bounded::<()>(0);
        let (started, running) = oneshot::channel();
        let hold = pool.run(later, later, move |_| {
            let _told = started.send(());
            held.recv().is_err()
        });
        let fill = async {
            running.await.expect("the first read runs");
            let waiting = (0..QUEUE_PER_THREAD).map(|_| pool.run(later, later, |_| ()));
            let mut waiting: Vec<_> = waiting.map(Box::pin).collect();
            for read in &mut waiting {
                let poll = std::future::poll_fn(|cx| {
                    std::task::Poll::Ready(read.as_mut().poll(cx).is_pending())
                });
                assert!(poll.await, "queued behind the first");
            }
            let full = pool.run(Instant::now(), later, |_| ()).await;
            assert_eq!(full, Err(NotRead::Full));
            drop(release);
            for read in waiting {
                assert_eq!(read.await, Ok(()));
            }
        };
        assert_eq!(tokio::join!(hold, fill).0, Ok(true));
    }

    #[tokio::test]
    async fn a_read_that_hangs_is_answered_at_its_deadline_and_so_are_those_behind_it() {
        let pool = ReadPool::start(1).expect("a thread");
        let later = Instant::now() + Duration::from_secs(30);
        let (release, held) = bounded::<()>(0);
        let soon = || Instant::now() + Duration::from_millis(10);
        let hung = pool.run(later, soon(), move |_| held.recv().is_err()).await;
        assert_eq!(hung, Err(NotRead::Late));
        assert_eq!(pool.run(later, soon(), |_| ()).await, Err(NotRead::Late));
        drop(release);
        assert_eq!(pool.run(later, later, |_| 7).await, Ok(7));
    }
}
