//! The client against a fake cluster on loopback.

mod cluster;
mod faults;
mod operations;
