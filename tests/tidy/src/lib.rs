//! Reads the source tree for the tests of the house rules in `tests/`.
//!
//! **Knows nothing of** what the code does: it sees files, lines, manifests and links.
//!
//! Entry types: [`SourceFile`], [`rust::Item`], [`manifest::Package`].
//! Reading order: [`tree`], [`rust`], [`manifest`], [`markdown`].
#![warn(missing_docs)]

pub mod manifest;
pub mod markdown;
pub mod rust;
pub mod tree;

pub use tree::{SourceFile, root, source_files};

/// Fails a test with all its complaints at once.
///
/// # Panics
/// Where there is a complaint.
pub fn assert_clean(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}\n", complaints.join("\n  "));
}
