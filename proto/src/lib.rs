//! The messages and services on the wire, and their conversions to the words of `flotilla-base`.
//!
//! **Knows nothing of** sockets, servers, raft's own types, storage, or what any message means to a store.
//!
//! Three families, compiled from the `.proto` files beside this crate: the public protocol of
//! TiKV ([`tikvpb`], [`kvrpcpb`], [`pdpb`], [`keyspacepb`], [`metapb`], [`eraftpb`], [`errorpb`]: packages, paths, numbers and
//! types are a contract with clients that nobody here writes), the standard [`health`] service, and
//! Flotilla's own [`raft`], [`store_link`], [`cluster`] and [`placement`]. Methods that a server does not implement answer UNIMPLEMENTED.
//! A golden test holds every field's number and type.
//!
//! Entry types: the messages, and [`ConvertError`] for those that cannot be what they claim.
//! Reading order: `flotilla/*.proto`, `kvproto/*.proto`, [`convert`].
#![warn(missing_docs)]

pub mod convert;

#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    clippy::nursery,
    unreachable_pub,
    unused_qualifications,
    rustdoc::all,
    reason = "generated code: it follows the generator's taste, and only some files trip each lint"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/all.rs"));
}

/// Version of the public protocol that is spoken, with our own behind it. Clients parse the front.
pub const SERVED_VERSION: &str = concat!("8.5.0-flotilla-", env!("CARGO_PKG_VERSION"));

/// The bytes with which every connection begins that speaks gRPC: the preface of HTTP/2 (RFC 9113, section 3.4).
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub use convert::ConvertError;
pub use generated::{
    eraftpb, errorpb,
    flotilla::{cluster, pd as store_link, placement, raft},
    grpc::health::v1 as health,
    keyspacepb, kvrpcpb, metapb, pdpb, tikvpb,
};
