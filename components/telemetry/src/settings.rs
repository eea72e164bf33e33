//! Settings of a node, as a file and flags say them: keys that exist, values of the right form, and everything that is
//! wrong told at once. One parser for all kinds of nodes; each brings a [`Schema`], and says what its settings mean.
//!
//! A node makes its configuration in two stages: [`RawConfig`] is what was said, checked for form; what it means, and
//! what was left out, is the node's business.

mod problem;
mod raw;
mod schema;

pub use problem::{ConfigError, Place, Problem};
pub use raw::RawConfig;
pub use schema::{Form, Schema};
