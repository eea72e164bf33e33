//! Commands that change single regions.

use flotilla_client::admin::Admin;
use serde_json::json;

use crate::{
    args::{Globals, RegionCommand, SplitArgs},
    fault::Fault,
    kv,
    output::{self, Format},
    text,
};

/// `flotilla ctl region`.
pub(super) async fn run(
    globals: &Globals,
    admin: &Admin,
    command: RegionCommand,
) -> Result<(), Fault> {
    match command {
        RegionCommand::Split(args) => split(globals, admin, args).await,
    }
}

async fn split(globals: &Globals, admin: &Admin, args: SplitArgs) -> Result<(), Fault> {
    let keys = args.at.iter().map(|text| kv::key(text, args.hex).map(Into::into));
    let keys = keys.collect::<Result<Vec<_>, Fault>>()?;
    let cut = admin.split(keys).await?;
    match globals.output {
        Format::Json => output::print_json("split", json!({"regions_cut": cut})),
        Format::Table if cut == 0 => output::print("every key begins a region already\n"),
        Format::Table => output::print(&format!("{} split\n", text::counted(cut as u64, "region"))),
    }
}
