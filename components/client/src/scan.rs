//! Reading ranges page by page, across regions, in both directions.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use flotilla_base::{Key, KeyRange, ScanDirection};
use flotilla_proto::kvrpcpb;
use flotilla_routing::Route;

use crate::{
    call::{Call, Object, Subject},
    core::{Core, Place},
    error::{Error, ErrorKind},
    options::CallOptions,
    raw::KeyValue,
};

/// First page: small enough for any values, large enough for most scans.
const FIRST_PAGE_ITEMS: u32 = 64;

/// Largest page that the scan chooses by itself.
const PAGE_ITEMS_MAX: u32 = 8_192;

/// What the scan lets a page grow to.
const PAGE_BYTES_AIM: usize = 1 << 20;

/// A scan under way: a cursor that holds one page.
///
/// Pages are read one after the other, each at its own point in time; a pair that is written or
/// removed during the scan is seen or not, a pair that stays is seen exactly once. The deadline
/// counts for each page. After an error the scan may be continued where it stood.
#[derive(Debug)]
pub struct Scan {
    core: Arc<Core>,
    options: CallOptions,
    rest: KeyRange,
    direction: ScanDirection,
    is_key_only: bool,
    is_done: bool,
    /// How many pairs the user still wants.
    wanted: Option<u64>,
    /// Fixed by the user, or chosen from the sizes seen.
    page_items: u32,
    is_page_fixed: bool,
    buffer: VecDeque<KeyValue>,
}

impl Scan {
    pub(crate) fn new(core: Arc<Core>, options: CallOptions, range: KeyRange) -> Self {
        Self {
            core,
            options,
            is_done: range.is_empty(),
            rest: range,
            direction: ScanDirection::Forward,
            is_key_only: false,
            wanted: None,
            page_items: FIRST_PAGE_ITEMS,
            is_page_fixed: false,
            buffer: VecDeque::new(),
        }
    }

    /// At most `limit` pairs.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.wanted = Some(limit);
        self
    }

    /// From the end of the range to its start.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.direction = ScanDirection::Reverse;
        self
    }

    /// Keys without their values.
    #[must_use]
    pub fn key_only(mut self) -> Self {
        self.is_key_only = true;
        self
    }

    /// Pages of at most `items` pairs, instead of pages of about 1 MiB.
    #[must_use]
    pub fn page(mut self, items: u32) -> Self {
        self.page_items = items.max(1);
        self.is_page_fixed = true;
        self
    }

    /// The next pair; `None` at the end.
    ///
    /// # Errors
    /// [`Error`] where the next page cannot be read before the deadline.
    pub async fn next(&mut self) -> Result<Option<KeyValue>, Error> {
        while self.buffer.is_empty() {
            if !self.read_page().await? {
                return Ok(None);
            }
        }
        Ok(self.buffer.pop_front())
    }

    /// The next pairs, as many as come together, at least one; `None` at the end.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_page(&mut self) -> Result<Option<Vec<KeyValue>>, Error> {
        while self.buffer.is_empty() {
            if !self.read_page().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.drain(..).collect()))
    }

    /// All pairs. Bounded only by the limit: use [`Self::next`] for ranges of unknown size.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn collect(mut self) -> Result<Vec<KeyValue>, Error> {
        let mut pairs = Vec::new();
        while let Some(page) = self.next_page().await? {
            pairs.extend(page);
        }
        Ok(pairs)
    }

    /// The number of pairs, read without their values.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn count(mut self) -> Result<u64, Error> {
        self.is_key_only = true;
        let mut count = 0;
        while let Some(page) = self.next_page().await? {
            count += page.len() as u64;
        }
        Ok(count)
    }

    /// Reads one page of one region; `false` where nothing is left to read.
    async fn read_page(&mut self) -> Result<bool, Error> {
        if self.is_done || self.wanted == Some(0) {
            return Ok(false);
        }
        let wanted =
            self.wanted.map_or(u32::MAX, |wanted| u32::try_from(wanted).unwrap_or(u32::MAX));
        let limit = self.page_items.min(wanted);
        match self.ask(limit).await {
            Ok((route, pairs)) => {
                self.move_on(&route, limit, &pairs);
                self.fit_page(&pairs);
                self.wanted = self.wanted.map(|wanted| wanted.saturating_sub(pairs.len() as u64));
                self.buffer.extend(pairs);
                Ok(true)
            }
            // Values grew: the same page in smaller pieces.
            Err(error) if error.kind() == ErrorKind::TooLarge && limit > 1 => {
                self.page_items = (limit / 4).max(1);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, limit: u32) -> Result<(Route, Vec<KeyValue>), Error> {
        let is_reverse = self.direction == ScanDirection::Reverse;
        let bound = if is_reverse { &self.rest.end } else { &self.rest.start };
        let subject = Subject { verb: "scan from", object: Object::Key(bound) };
        let mut call = Call::read(&self.core, subject, self.options);
        loop {
            let place = if is_reverse { Place::Below(bound) } else { Place::At(bound) };
            let route = call.route(place).await?;
            // The server clips to the region as well; a bound outside of it might be refused.
            let part = route.region.range.intersection(&self.rest);
            let KeyRange { start, end } = part.unwrap_or_else(|| self.rest.clone());
            let (start_key, end_key) = if is_reverse { (end, start) } else { (start, end) };
            let request = kvrpcpb::RawScanRequest {
                start_key,
                end_key,
                limit,
                key_only: self.is_key_only,
                reverse: is_reverse,
                ..kvrpcpb::RawScanRequest::default()
            };
            if let Some(answer) = call.attempt(&route, request).await? {
                let pairs = answer.kvs.into_iter();
                let pairs = pairs.map(|pair| KeyValue { key: pair.key, value: pair.value });
                return Ok((route, pairs.collect()));
            }
        }
    }

    /// Moves the cursor behind what was read: behind the last pair of a full page, else behind the
    /// region, because a page that is not full has reached its end.
    fn move_on(&mut self, route: &Route, limit: u32, pairs: &[KeyValue]) {
        let last = pairs.last().filter(|_| pairs.len() >= limit as usize);
        let region = &route.region.range;
        match (self.direction, last) {
            (ScanDirection::Forward, Some(last)) => self.rest.start = successor(&last.key),
            (ScanDirection::Forward, None) => {
                self.is_done = region.end.is_empty();
                self.rest.start = region.end.clone();
            }
            (ScanDirection::Reverse, last) => {
                let bound = last.map_or(&region.start, |last| &last.key);
                // An empty upper bound would mean the end of all keys.
                self.is_done = bound.is_empty() || *bound <= self.rest.start;
                self.rest.end = bound.clone();
            }
        }
        self.is_done |= self.rest.is_empty();
    }

    fn fit_page(&mut self, pairs: &[KeyValue]) {
        if self.is_page_fixed || pairs.is_empty() {
            return;
        }
        let bytes: usize = pairs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
        let fitting = PAGE_BYTES_AIM / (bytes / pairs.len()).max(1);
        let fitting = u32::try_from(fitting).unwrap_or(PAGE_ITEMS_MAX);
        // Growing in steps keeps one stretch of small values from asking for too many large ones.
        self.page_items = fitting.clamp(1, PAGE_ITEMS_MAX).min(self.page_items.saturating_mul(4));
    }
}

/// The least key above `key`.
fn successor(key: &Key) -> Key {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}
