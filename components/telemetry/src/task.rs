//! Tasks that live as long as their node.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
};

use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
};

/// Starts a task without which its node would look alive and do its work no more. A panic in it ends the process, as
/// one in a pool of workers does: whoever only drops the handle would not hear of it.
pub fn spawn_or_abort<T: Send + 'static>(
    runtime: &Handle,
    name: &'static str,
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    runtime.spawn(guard(task, move || {
        tracing::error!(task = name, "a task panicked; the process stops");
        std::process::abort()
    }))
}

/// Does `work` on a thread that may wait for disks. A panic goes on here; `None` where the runtime ends.
pub async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
        Err(_cancelled) => None,
    }
}

/// Runs a task, and reports a panic before it goes on unwinding.
async fn guard<T>(task: impl Future<Output = T>, on_panic: impl FnOnce()) -> T {
    let (mut task, mut on_panic) = (pin!(task), Some(on_panic));
    poll_fn(move |context| {
        // Nothing of the task is looked at again after a panic.
        let poll = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        poll.unwrap_or_else(|panic| {
            if let Some(on_panic) = on_panic.take() {
                on_panic();
            }
            resume_unwind(panic)
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn what_panics_off_thread_panics_here() {
        assert_eq!(off_thread(|| 7).await, Some(7));
        let panicked = tokio::spawn(off_thread(|| -> u8 { panic!("a defect") })).await;
        assert!(panicked.is_err_and(|ended| ended.is_panic()));
    }

    #[tokio::test]
    async fn a_panic_is_told_at_once_and_an_end_is_not() {
        for panics in [true, false] {
            let was_told = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&was_told);
            let task = async move {
                tokio::task::yield_now().await;
                assert!(!panics, "a defect");
                7
            };
            let ended = tokio::spawn(guard(task, move || told.store(true, Ordering::SeqCst))).await;
            assert_eq!(was_told.load(Ordering::SeqCst), panics);
            assert_eq!(ended.ok(), (!panics).then_some(7));
        }
    }
}
