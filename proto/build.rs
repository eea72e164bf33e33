//! Compiles the `.proto` files in pure Rust and keeps their descriptor set for the golden test.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const ROOTS: [&str; 3] = ["kvproto", "health", "flotilla"];

const FILES: [&str; 12] = [
    "metapb.proto",
    "eraftpb.proto",
    "errorpb.proto",
    "kvrpcpb.proto",
    "tikvpb.proto",
    "pdpb.proto",
    "keyspacepb.proto",
    "health.proto",
    "raft.proto",
    "store_link.proto",
    "cluster.proto",
    "placement.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for root in ROOTS {
        println!("cargo:rerun-if-changed={root}");
    }
    let descriptors = protox::compile(FILES, ROOTS)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .generate_default_stubs(true)
        .include_file("all.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
