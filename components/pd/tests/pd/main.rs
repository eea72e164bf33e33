//! A placement driver in the test's own process (and, for kills, in one of its own), on a real database.

mod crash;
mod grpc;
mod http;
mod operators;
mod port;
mod regions;
mod removal;
mod support;
