//! Bytes as choices. A script that is too short goes on with zeros, so every prefix is a script.

/// The rest of a script.
pub(crate) struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// One of `0..count`.
    pub(crate) fn choose(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    /// Whether something happens that shall happen in so many of 256 cases.
    pub(crate) fn is_rare(&mut self, cases: u8) -> bool {
        self.byte() < cases
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// A number near `base`, or one of those that hurt. Most often `base` itself.
    pub(crate) fn near(&mut self, base: u64) -> u64 {
        const EDGES: [u64; 9] = [
            0,
            1,
            1 << 32,
            (1 << 62) - 1,
            1 << 62,
            u64::MAX >> 1,
            u64::MAX - 8,
            u64::MAX - 1,
            u64::MAX,
        ];
        match self.choose(64) {
            0..32 => base,
            32..40 => base.saturating_add(1),
            40..48 => base.saturating_sub(1),
            48..52 => base.saturating_add(2),
            52..56 => base.saturating_sub(2),
            56..58 => base.saturating_add(u64::from(self.byte())),
            58..60 => u64::from(self.byte()),
            60 => u64::from_be_bytes(self.bytes(8).try_into().expect("eight bytes")),
            _ => EDGES[usize::from(self.choose(9))],
        }
    }
}
