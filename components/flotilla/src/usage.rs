//! A command line that makes no sense, as an error that says what is possible.

use std::ffi::OsString;

use clap::{
    ArgMatches, Command, CommandFactory as _, FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use crate::{args::Cli, catalogue, fault::Fault};

/// What became of a command line.
pub(crate) enum Refused {
    /// Help or version was asked for; the text goes to standard output.
    Answered(clap::Error),
    /// It makes no sense.
    Fault(Fault),
}

/// Reads a command line, the program's name first.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, Refused> {
    let matches = Cli::command().try_get_matches_from(arguments).and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    match matches {
        Ok((cli, matches)) => match pointless(&matches) {
            Some(fault) => Err(Refused::Fault(fault)),
            None => Ok(cli),
        },
        Err(error) if error.use_stderr() => Err(Refused::Fault(fault(&error, arguments))),
        Err(error) => Err(Refused::Answered(error)),
    }
}

/// An option that the command would have to ignore. From the environment it is nobody's mistake.
fn pointless(matches: &ArgMatches) -> Option<Fault> {
    let (name, matches) = matches.subcommand()?;
    if matches.value_source("pd") != Some(ValueSource::CommandLine) {
        return None;
    }
    let starts_one = name == "playground" && matches.subcommand_name().is_none();
    let why = match name {
        "playground" if starts_one => {
            "it starts a cluster with a placement driver of its own; --host and --port-offset say where"
        }
        "pd" => "it is the placement driver itself; --listen says where",
        _ => return None,
    };
    let fault = Fault::new(&catalogue::INVALID_ARGUMENT, format!("flotilla {name} takes no --pd"));
    Some(fault.why(why).hint(format!("flotilla {name} --help")))
}

/// The error of the parser in our form.
fn fault(error: &clap::Error, arguments: &[OsString]) -> Fault {
    let (path, command) = command_of(arguments);
    let rendered = error.render().to_string();
    let mut paragraphs = rendered.trim_start_matches("error: ").split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let (message, possible) = match first.split_once("\n  [possible values: ") {
        Some((message, values)) => (message, Some(values.trim_end_matches(']'))),
        None => (first, None),
    };
    let mut message: Vec<&str> = message.split_whitespace().collect();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        message = vec![&path, "needs a command"];
    }
    // The parser puts the reason behind the value.
    let message = message.join(" ");
    let (message, reason) = match (error.kind(), message.split_once("': ")) {
        (ErrorKind::ValueValidation, Some((message, reason))) => {
            (format!("{message}'"), Some(reason.to_owned()))
        }
        _ => (message, None),
    };
    let mut fault = Fault::new(&catalogue::INVALID_ARGUMENT, message);
    let why = reason.or_else(|| possible.map(|values| format!("possible are: {values}")));
    if let Some(why) = why.or_else(|| what_is_possible(error, &path, &command)) {
        fault = fault.why(why);
    }
    for suggested in suggestions(error) {
        fault = fault.hint(format!("did you mean {suggested}?"));
    }
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        for line in usage.trim_start_matches("Usage: ").lines() {
            fault = fault.hint(line.trim());
        }
    }
    fault.hint(format!("{path} --help"))
}

/// What the command has, where the line has something that it does not have.
fn what_is_possible(error: &clap::Error, path: &str, command: &Command) -> Option<String> {
    let names: Vec<String> = match error.kind() {
        ErrorKind::UnknownArgument => options(command),
        ErrorKind::InvalidSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect()
        }
        _ => return None,
    };
    Some(format!("{path} has: {}", names.join(", ")))
}

fn options(command: &Command) -> Vec<String> {
    let seen = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let name = |argument: &clap::Arg| match argument.get_long() {
        Some(long) => format!("--{long}"),
        None => argument.get_id().as_str().to_uppercase(),
    };
    seen.map(name).collect()
}

fn suggestions(error: &clap::Error) -> Vec<String> {
    let kinds =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let values = kinds.into_iter().filter_map(|kind| error.get(kind));
    let words = values.flat_map(|value| match value {
        ContextValue::String(word) => vec![word.clone()],
        ContextValue::Strings(words) => words.clone(),
        _ => Vec::new(),
    });
    words.collect()
}

/// The innermost command that the line names, with its path.
fn command_of(arguments: &[OsString]) -> (String, Command) {
    let mut command = Cli::command();
    command.build();
    let mut path = "flotilla".to_owned();
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        if let Some(next) = command.find_subcommand(argument) {
            path = format!("{path} {argument}");
            command = next.clone();
        }
    }
    (path, command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match parse(&arguments) {
            Err(Refused::Fault(fault)) => fault.to_text(),
            Err(Refused::Answered(_)) => panic!("{line} asks for help"),
            Ok(_cli) => panic!("{line} is fine"),
        }
    }

    #[test]
    fn what_is_mistyped_names_what_is_possible() {
        for (line, parts) in [
            ("flotilla frobnicate", &["'frobnicate'", "playground", "bench"][..]),
            ("flotilla playgruond", &["did you mean playground?"]),
            ("flotilla ctl status --chek", &["'--chek'", "did you mean --check?", "--timeout"]),
            ("flotilla bench --workload get", &["'--workload'", "WORKLOAD", "--clients", "--keep"]),
            ("flotilla bench foo", &["'foo'", "possible are: get, put, mixed, scan"]),
            ("flotilla bench --value-size 7MiB", &["a value may have at most 6MiB"]),
            ("flotilla get", &["<KEY>", "try  flotilla get <KEY>"]),
            ("flotilla put k", &["<VALUE>", "flotilla put [OPTIONS] --stdin <KEY>"]),
            ("flotilla get k --timeout 0s", &["'0s'", "why  it must be longer than nothing"]),
            ("flotilla get k -o yaml", &["'yaml'", "possible are: table, json"]),
            ("flotilla playground --stores 65", &["65", "1..=64"]),
            ("flotilla scan --prefix a --to b", &["cannot be used with"]),
            ("flotilla kv", &["flotilla kv needs a command", "load, dump"]),
            ("flotilla playground --pd h:1", &["takes no --pd", "--port-offset"]),
            ("flotilla pd --pd h:1", &["takes no --pd", "--listen"]),
        ] {
            let text = refused(line);
            for part in parts.iter().chain(&["code FLT-2108", " --help"]) {
                assert!(text.contains(part), "{line}: no {part} in\n{text}");
            }
            assert!(!text.contains("error: ") && !text.contains("to pass"), "{line}:\n{text}");
        }
    }

    #[test]
    fn what_makes_sense_is_taken() {
        for line in [
            "flotilla playground status --pd h:1",
            "flotilla playground --exec flotilla --pd h:1 get k",
            "flotilla --pd h:1 get k",
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(parse(&arguments).is_ok(), "{line}");
        }
        let help = ["flotilla", "get", "--help"].map(OsString::from);
        assert!(matches!(parse(&help), Err(Refused::Answered(_))));
    }
}
