//! Splits for load: a region that gets more requests than one leader should have is cut where its load divides best,
//! although it is small.
//!
//! [`meter`] counts and samples where requests pass; [`mod@watch`] says when a region is hot, and [`finder`] where its load
//! divides; [`hot`] closes a window each second and has regions split. [`finder`] and [`mod@watch`] are functions of what
//! was counted and drawn, and of nothing else.

pub(crate) mod finder;
pub(crate) mod flow;
pub(crate) mod hot;
pub(crate) mod meter;
pub(crate) mod watch;
