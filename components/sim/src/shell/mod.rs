//! The parts of the command line program.

pub(crate) mod arguments;
pub(crate) mod kind;
pub(crate) mod minimize;
pub(crate) mod output;
pub(crate) mod placement;
pub(crate) mod run;
pub(crate) mod sweep;
