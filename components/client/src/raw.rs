//! Raw keys: bytes to bytes, without transactions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use flotilla_base::{
    Key, KeyRange, key,
    limit::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
};
use flotilla_proto::kvrpcpb;

use crate::{
    batch,
    call::{Call, Object, Subject},
    core::{Core, Place},
    error::{Error, ErrorKind},
    options::{CallOptions, ReadFrom},
    scan::Scan,
};

/// A key and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty where only keys were asked for.
    pub value: Bytes,
}

/// What became of a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Whether the key had the expected value, and has the new one now.
    pub is_done: bool,
    /// What it had before.
    pub found: Option<Bytes>,
}

/// Operations on raw keys. Cheap to clone; all methods may be used at once from many tasks.
///
/// Operations on single keys are linearizable. A dropped future gives its call up; a write that
/// was sent before may still take effect.
#[derive(Clone, Debug)]
pub struct RawKv {
    core: Arc<Core>,
    options: CallOptions,
}

impl RawKv {
    pub(crate) const fn new(core: Arc<Core>, options: CallOptions) -> Self {
        Self { core, options }
    }

    /// The same keys with another deadline for each call.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        let options = CallOptions { deadline, ..self.options };
        Self { core: Arc::clone(&self.core), options }
    }

    /// The same keys with another answer to whether a write goes on after an attempt whose outcome
    /// is not known; see [`ClientOptions`](crate::ClientOptions::repeat_unknown_writes).
    #[must_use]
    pub fn with_repeat_unknown_writes(&self, repeat_unknown_writes: bool) -> Self {
        let options = CallOptions { repeat_unknown_writes, ..self.options };
        Self { core: Arc::clone(&self.core), options }
    }

    /// The same keys, read from elsewhere; see [`ReadFrom`].
    #[must_use]
    pub fn with_read_from(&self, read_from: ReadFrom) -> Self {
        let options = CallOptions { read_from, ..self.options };
        Self { core: Arc::clone(&self.core), options }
    }

    /// The value of `key`, or `None`. An empty value is a value.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for a key over 8 KiB; otherwise [`Error`] as it comes: a read never has an outcome
    /// that matters.
    pub async fn get(&self, key: impl Into<Key>) -> Result<Option<Bytes>, Error> {
        let key = key.into();
        let subject = Subject { verb: "get", object: Object::Key(&key) };
        check_size(subject, &key, &[])?;
        let mut call = Call::read(&self.core, subject, self.options);
        loop {
            let route = call.route(Place::At(&key)).await?;
            let request =
                kvrpcpb::RawGetRequest { key: key.clone(), ..kvrpcpb::RawGetRequest::default() };
            if let Some(answer) = call.attempt(&route, request).await? {
                return Ok((!answer.not_found).then_some(answer.value));
            }
        }
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for a key over 8 KiB or a value over 6 MiB; otherwise as
    /// [`Error::applied`] says.
    pub async fn put(&self, key: impl Into<Key>, value: impl Into<Bytes>) -> Result<(), Error> {
        let (key, value) = (key.into(), value.into());
        let subject = Subject { verb: "put", object: Object::Key(&key) };
        check_size(subject, &key, &value)?;
        let mut call = Call::write(&self.core, subject, self.options);
        loop {
            let route = call.route(Place::At(&key)).await?;
            let (key, value) = (key.clone(), value.clone());
            let request =
                kvrpcpb::RawPutRequest { key, value, ..kvrpcpb::RawPutRequest::default() };
            if call.attempt(&route, request).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Removes `key`; that it was not there is no error.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn delete(&self, key: impl Into<Key>) -> Result<(), Error> {
        let key = key.into();
        let subject = Subject { verb: "delete", object: Object::Key(&key) };
        check_size(subject, &key, &[])?;
        let mut call = Call::write(&self.core, subject, self.options);
        loop {
            let route = call.route(Place::At(&key)).await?;
            let request = kvrpcpb::RawDeleteRequest {
                key: key.clone(),
                ..kvrpcpb::RawDeleteRequest::default()
            };
            if call.attempt(&route, request).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Sets `key` to `new`, or removes it, if it has the value `expected`, or none. Nothing comes between the
    /// comparison and the change.
    ///
    /// It is never repeated after an attempt whose outcome is not known: what a second one would find could be the
    /// work of the first.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for a key over 8 KiB or a value over 6 MiB, or where both values together are over
    /// 8 MiB; otherwise as [`Error::applied`] says.
    pub async fn compare_and_swap(
        &self,
        key: impl Into<Key>,
        expected: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap, Error> {
        let key = key.into();
        let subject = Subject { verb: "compare and swap", object: Object::Key(&key) };
        check_size(subject, &key, new.as_deref().unwrap_or_default())?;
        let options = CallOptions { repeat_unknown_writes: false, ..self.options };
        let mut call = Call::write(&self.core, subject, options);
        loop {
            let route = call.route(Place::At(&key)).await?;
            let request = swap_request(key.clone(), expected.clone(), new.clone());
            if let Some(answer) = call.attempt(&route, request).await? {
                let found = (!answer.previous_not_exist).then_some(answer.previous_value);
                return Ok(Swap { is_done: answer.succeed, found });
            }
        }
    }

    /// Adds to the number under `key`, a decimal text, and returns the sum. No value counts as zero.
    ///
    /// Like [`Self::compare_and_swap`], of which it is made, it is never repeated after an attempt whose outcome is
    /// not known.
    ///
    /// # Errors
    /// [`ErrorKind::NotAnInteger`] where the value is no integer of 64 bits with a sign, or the sum would be none;
    /// otherwise as [`Self::compare_and_swap`].
    pub async fn add(&self, key: impl Into<Key>, amount: i64) -> Result<i64, Error> {
        let key = key.into();
        let deadline = Instant::now() + self.options.deadline;
        let mut expected = self.get(key.clone()).await?;
        loop {
            let sum = sum(expected.as_deref(), amount).map_err(|why| {
                let subject = Subject { verb: "add to", object: Object::Key(&key) };
                Error::unsent(ErrorKind::NotAnInteger, subject.failed(), why)
            })?;
            let rest = self.with_deadline(deadline.saturating_duration_since(Instant::now()));
            let swap = rest.compare_and_swap(key.clone(), expected, Some(sum.to_string().into()));
            match swap.await? {
                Swap { is_done: true, .. } => return Ok(sum),
                // Nothing was changed: somebody else was faster, and this is what is there now.
                Swap { found, .. } => expected = found,
            }
        }
    }

    /// The values of `keys`, in their order. Keys of one region are read together; there is no
    /// common point in time for all of them.
    ///
    /// # Errors
    /// [`Error`], for all keys together.
    pub async fn batch_get<K: Into<Key>>(
        &self,
        keys: impl IntoIterator<Item = K> + Send,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        let keys: Vec<Key> = keys.into_iter().map(Into::into).collect();
        batch::get(&self.core, self.options, keys).await
    }

    /// Sets all `pairs`. Atomic for at most 512 pairs and 512 KiB that lie in one region, not
    /// beyond; where a key comes twice, its last value counts.
    ///
    /// # Errors
    /// As [`Self::put`]; with more than one region, [`Error::applied`] speaks of all pairs.
    pub async fn batch_put<K: Into<Key>, V: Into<Bytes>>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)> + Send,
    ) -> Result<(), Error> {
        let pairs: Vec<KeyValue> = pairs
            .into_iter()
            .map(|(key, value)| KeyValue { key: key.into(), value: value.into() })
            .collect();
        for KeyValue { key, value } in &pairs {
            check_size(Subject { verb: "put", object: Object::Key(key) }, key, value)?;
        }
        batch::put(&self.core, self.options, pairs).await
    }

    /// Removes all `keys`, as atomically as [`Self::batch_put`] sets pairs.
    ///
    /// # Errors
    /// As [`Self::batch_put`].
    pub async fn batch_delete<K: Into<Key>>(
        &self,
        keys: impl IntoIterator<Item = K> + Send,
    ) -> Result<(), Error> {
        let keys: Vec<Key> = keys.into_iter().map(Into::into).collect();
        for key in &keys {
            check_size(Subject { verb: "delete", object: Object::Key(key) }, key, &[])?;
        }
        batch::delete(&self.core, self.options, keys).await
    }

    /// Removes every key of `range`, region by region.
    ///
    /// # Errors
    /// As [`Self::batch_put`].
    pub async fn delete_range(&self, range: KeyRange) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        batch::delete_range(&self.core, self.options, range).await
    }

    /// Reads the pairs of `range` in order, page by page; see [`Scan`] for limits and direction.
    #[must_use]
    pub fn scan(&self, range: KeyRange) -> Scan {
        Scan::new(Arc::clone(&self.core), self.options, range)
    }
}

/// The number in `value` and `amount`.
fn sum(value: Option<&[u8]>, amount: i64) -> Result<i64, String> {
    let number = value.map_or(Ok(0), |value| {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
        number.ok_or_else(|| {
            let shown = key::display(&value[..value.len().min(32)]);
            format!("its value {shown} is no integer of 64 bits, such as 42 or -7")
        })
    })?;
    let sum = number.checked_add(amount);
    sum.ok_or_else(|| format!("its value {number} and {amount} make no integer of 64 bits"))
}

fn swap_request(key: Key, expected: Option<Bytes>, new: Option<Bytes>) -> kvrpcpb::RawCasRequest {
    kvrpcpb::RawCasRequest {
        key,
        previous_not_exist: expected.is_none(),
        previous_value: expected.unwrap_or_default(),
        delete: new.is_none(),
        value: new.unwrap_or_default(),
        ..kvrpcpb::RawCasRequest::default()
    }
}

pub(crate) fn check_size(subject: Subject<'_>, key: &[u8], value: &[u8]) -> Result<(), Error> {
    let too_large = |what, len, max| {
        let why = format!("the {what} has {len} bytes, and {max} are allowed");
        Err(Error::unsent(ErrorKind::TooLarge, subject.failed(), why))
    };
    if key.len() > KEY_BYTES_MAX {
        let start = key::display(&key[..32]);
        let what = format!("cannot {} the key that begins with {start}", subject.verb);
        let why = format!("the key has {} bytes, and {KEY_BYTES_MAX} are allowed", key.len());
        return Err(Error::unsent(ErrorKind::TooLarge, what, why));
    }
    if value.len() > VALUE_BYTES_MAX {
        return too_large("value", value.len(), VALUE_BYTES_MAX);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_or_refused() {
        assert_eq!(sum(None, 2), Ok(2));
        assert_eq!(sum(Some(b"40"), 2), Ok(42));
        assert_eq!(sum(Some(b"-1"), 1), Ok(0));
        assert_eq!(sum(Some(b"9223372036854775807"), 0), Ok(i64::MAX));
        for (value, why) in [
            (
                &b"9223372036854775807"[..],
                "its value 9223372036854775807 and 1 make no integer of 64 bits",
            ),
            (b"4 2", "its value 4 2 is no integer of 64 bits, such as 42 or -7"),
            (b"\xff", r"its value \xff is no integer of 64 bits, such as 42 or -7"),
            (b"", "its value \"\" is no integer of 64 bits, such as 42 or -7"),
        ] {
            assert_eq!(sum(Some(value), 1), Err(why.to_owned()));
        }
    }
}
