//! `flotilla explain` and `flotilla version`.

use serde_json::{Value, json};

use crate::{
    args::{ExplainArgs, Globals},
    catalogue::{self, Entry},
    fault::Fault,
    output::{self, Column, Format, Table},
};

/// `flotilla explain`.
pub(crate) fn explain(globals: &Globals, args: &ExplainArgs) -> Result<(), Fault> {
    if args.all {
        return output::print(&catalogue::markdown());
    }
    let Some(code) = &args.code else { return list(globals) };
    let Some(entry) = catalogue::find(code) else {
        let entry = &catalogue::NO_CODE;
        let text = format!("there is no error code {code:?}");
        return Err(Fault::new(entry, text).why(entry.cause).hint("flotilla explain"));
    };
    if globals.output == Format::Json {
        return output::print_json("error_code", object(entry));
    }
    let Entry { code, kind, exit, template, cause, remedy } = entry;
    let exit = *exit as u8;
    output::print(&format!(
        "{code}  {template}\n\n{cause}\n\nWhat to do: {remedy}\n\nkind {kind}, exit code {exit}\n"
    ))
}

fn list(globals: &Globals) -> Result<(), Fault> {
    if globals.output == Format::Json {
        let entries = catalogue::ALL.iter().map(|entry| object(entry)).collect();
        return output::print_json("error_codes", Value::Array(entries));
    }
    let mut table =
        Table::new(&[Column::Left("CODE"), Column::Right("EXIT"), Column::Left("MESSAGE")]);
    for entry in catalogue::ALL {
        let exit = entry.exit as u8;
        table.row(vec![entry.code.to_owned(), exit.to_string(), entry.template.to_owned()]);
    }
    output::print(&table.render())
}

fn object(entry: &Entry) -> Value {
    let Entry { code, kind, exit, template, cause, remedy } = entry;
    let exit = *exit as u8;
    json!({
        "code": code, "kind": kind, "exit": exit,
        "message": template, "cause": cause, "remedy": remedy,
    })
}

/// `flotilla version`.
pub(crate) fn version(globals: &Globals) -> Result<(), Fault> {
    let (version, format) = (env!("CARGO_PKG_VERSION"), flotilla_engine::data_dir::FORMAT_VERSION);
    match globals.output {
        Format::Json => output::print_json(
            "version",
            json!({
                "version": version,
                "protocol": flotilla_pd::SERVED_VERSION,
                "data_format": format,
            }),
        ),
        Format::Table => output::print(&format!(
            "flotilla {version}\nprotocol {}\ndata format {format}\n",
            flotilla_pd::SERVED_VERSION
        )),
    }
}
