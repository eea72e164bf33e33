//! One pass over the data of a region: exact, in steps between which others get the disk and the processor.

use std::time::Duration;

use flotilla_base::{Family, Key, KeyRange, KvRead as _, ReadError, ScanDirection};
use flotilla_engine::Engine;
use flotilla_telemetry::off_thread;
use tokio::time::sleep;

use super::borders::{Edges, Mark, Survey};

/// Bytes that one step reads.
const STEP_BYTES: u64 = 4 << 20;
/// Pause behind a step: no more than a tenth of a core, and some 60 MiB a second.
const STEP_PAUSE: Duration = Duration::from_millis(60);

/// A pass that is under way.
struct Pass {
    range: KeyRange,
    /// Distance of two marks.
    mark_bytes: u64,
    survey: Survey,
    /// The family that is looked at, and the first key that is not looked at yet.
    family: usize,
    next: Key,
    /// Nothing of this family was looked at.
    is_at_start: bool,
    /// The last step was cut off: there is more.
    is_cut_off: bool,
    /// Each key with the bytes from it up to the next one of its family.
    marks: Vec<(Key, u64)>,
}

/// Looks at all that `range` holds, with a mark about every `mark_bytes`. What changes meanwhile is seen or not.
///
/// # Errors
/// The database cannot be read.
pub(crate) async fn survey(
    engine: &Engine,
    range: &KeyRange,
    mark_bytes: u64,
) -> Result<Survey, ReadError> {
    let mut pass = Pass::new(range.clone(), mark_bytes);
    loop {
        let engine = engine.clone();
        let is_done;
        (pass, is_done) = read(move || pass.step(&engine).map(|is_done| (pass, is_done))).await?;
        if is_done {
            return Ok(pass.finish());
        }
        if pass.is_cut_off {
            sleep(STEP_PAUSE).await;
        }
    }
}

/// As [`edges`], off this thread.
///
/// # Errors
/// The database cannot be read.
pub(crate) async fn edges_of(engine: &Engine, range: &KeyRange) -> Result<Edges, ReadError> {
    let (engine, range) = (engine.clone(), range.clone());
    read(move || edges(&engine, &range)).await
}

/// Where the runtime ends nobody waits any more.
async fn read<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    match off_thread(work).await {
        Some(read) => read,
        None => std::future::pending().await,
    }
}

impl Pass {
    fn new(range: KeyRange, mark_bytes: u64) -> Self {
        let (next, survey) = (range.start.clone(), Survey::default());
        Self {
            range,
            mark_bytes,
            survey,
            family: 0,
            next,
            is_at_start: true,
            is_cut_off: false,
            marks: Vec::new(),
        }
    }

    /// Looks at the next few keys. Returns whether all were looked at.
    fn step(&mut self, engine: &Engine) -> Result<bool, ReadError> {
        let Some(&family) = Family::DATA.get(self.family) else {
            self.survey.edges = edges(engine, &self.range)?;
            return Ok(true);
        };
        let rest = KeyRange { start: self.next.clone(), end: self.range.end.clone() };
        let mut read = 0;
        let mut cut_off = None;
        engine.scan_once(family, &rest, &mut |key, value| {
            if read >= STEP_BYTES {
                cut_off = Some(Key::copy_from_slice(key));
                return false;
            }
            let bytes = (key.len() + value.len()) as u64;
            read += bytes;
            self.note(key, bytes);
            true
        })?;
        self.is_cut_off = cut_off.is_some();
        match cut_off {
            Some(next) => self.next = next,
            None => {
                self.family += 1;
                self.next = self.range.start.clone();
                self.is_at_start = true;
            }
        }
        Ok(false)
    }

    fn note(&mut self, key: &[u8], bytes: u64) {
        match self.marks.last_mut() {
            Some((_, since)) if !self.is_at_start && *since < self.mark_bytes => *since += bytes,
            _ => self.marks.push((Key::copy_from_slice(key), bytes)),
        }
        self.is_at_start = false;
        self.survey.bytes += bytes;
        self.survey.keys += 1;
    }

    /// Marks of all families in one order.
    fn finish(mut self) -> Survey {
        self.marks.sort();
        let mut bytes_before = 0;
        for (key, bytes) in self.marks {
            self.survey.marks.push(Mark { key, bytes_before });
            bytes_before += bytes;
        }
        debug_assert_eq!(bytes_before, self.survey.bytes, "every key belongs to a mark");
        self.survey
    }
}

/// The ends of what `range` holds: a few seeks.
///
/// # Errors
/// The database cannot be read.
pub(crate) fn edges(engine: &Engine, range: &KeyRange) -> Result<Edges, ReadError> {
    let end = |family, direction| {
        let mut found = None;
        engine.scan(family, range, direction, &mut |key, _value| {
            found = Some(Key::copy_from_slice(key));
            false
        })?;
        Ok(found)
    };
    let mut has_transactional = false;
    for family in Family::DATA.into_iter().filter(|family| *family != Family::Raw) {
        has_transactional |= end(family, ScanDirection::Forward)?.is_some();
    }
    Ok(Edges {
        first: end(Family::Raw, ScanDirection::Forward)?,
        last: end(Family::Raw, ScanDirection::Reverse)?,
        has_transactional,
    })
}

#[cfg(test)]
mod tests {
    use flotilla_base::Mutation;
    use flotilla_engine::{EngineOptions, WriteBatch};

    use super::*;

    fn key(number: u64) -> Key {
        format!("key{number:06}").into()
    }

    #[tokio::test]
    async fn everything_is_counted_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::open(dir.path(), &EngineOptions::default()).expect("opened");
        let value = |bytes: usize| Key::from(vec![b'v'; bytes]);
        let mut batch: Vec<Mutation> =
            (0..300).map(|it| Mutation::Put(Family::Raw, key(it), value(31 << 10))).collect();
        batch.extend((100..200).map(|it| Mutation::Put(Family::Write, key(it), value(1 << 10))));
        engine.write(&WriteBatch::from(batch)).expect("written");
        let range = KeyRange::new(key(50), key(250));
        let found = survey(&engine, &range, 1 << 20).await.expect("read");
        let bytes = |keys: u64, value: u64| keys * (9 + value);
        assert_eq!(found.bytes, bytes(200, 31 << 10) + bytes(100, 1 << 10));
        assert_eq!(found.keys, 300);
        let (first, last) = (Some(key(50)), Some(key(249)));
        assert_eq!(found.edges, Edges { first, last, has_transactional: true });
        assert!(found.bytes > STEP_BYTES, "more than one step");
        assert!((6..=9).contains(&found.marks.len()), "{:?}", found.marks);
        assert!(found.marks.is_sorted_by(|one, next| one.key <= next.key));
        assert!(found.marks.is_sorted_by(|one, next| one.bytes_before <= next.bytes_before));
        let empty = survey(&engine, &KeyRange::new("x", ""), 1 << 20).await.expect("read");
        assert_eq!(empty, Survey::default());
    }
}
