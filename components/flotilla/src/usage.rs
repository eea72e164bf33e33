//! A command line that makes no sense, as an error that says what is possible.

use std::ffi::OsString;

use clap::{
    ArgMatches, Command, CommandFactory as _, FromArgMatches as _,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use crate::{args::Cli, catalogue, fault::Fault, text};

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
        let mut cli = Cli::from_arg_matches(&matches)?;
        cli.globals.complete();
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
    if let Some(line) = as_value(error, &path, &command, arguments) {
        fault = fault.hint(line);
    }
    if error.kind() == ErrorKind::InvalidUtf8 {
        fault = fault.hint("\\xNN in a key stands for any byte, as does --hex; a value of any bytes: put --stdin KEY");
    }
    for line in usages(error, &path) {
        fault = fault.hint(line);
    }
    fault.hint(format!("{path} --help"))
}

/// How a word is said that looks like an option, where it is a key, a value or the like.
fn as_value(
    error: &clap::Error,
    path: &str,
    command: &Command,
    arguments: &[OsString],
) -> Option<String> {
    let Some(ContextValue::String(refused)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    if error.kind() != ErrorKind::UnknownArgument || command.get_positionals().next().is_none() {
        return None;
    }
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let is_refused = |word: &&str| word.starts_with('-') && word.starts_with(refused.as_str());
    let (before, behind) = words.split_at(words.iter().position(is_refused)?);
    let is_last_option = behind.iter().skip(1).all(|word| !word.starts_with('-'));
    let quoted = |words: &[&str]| {
        words.iter().map(|word| format!(" {}", text::quoted(word))).collect::<String>()
    };
    let line = if is_last_option {
        format!("flotilla{} --{}", quoted(before), quoted(behind))
    } else {
        format!("{path} … --{}", quoted(&behind[..1]))
    };
    Some(format!("{line}   where {} is no option: these end at --", text::quoted(behind[0])))
}

/// How the command is used; where arguments do not go together, each of them without the others.
fn usages(error: &clap::Error, path: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let usage = usage.trim_start_matches("Usage: ").lines().map(|line| line.trim().to_owned());
        lines.extend(usage);
    }
    if error.kind() == ErrorKind::ArgumentConflict {
        let refused = texts(error, &[ContextKind::InvalidArg, ContextKind::PriorArg]);
        let name = |argument: &str| {
            let first = argument.split(' ').next().unwrap_or(argument);
            first.trim_matches(['[', ']', '<', '>', '.']).to_owned()
        };
        lines.retain(|line| !refused.iter().all(|argument| line.contains(&name(argument))));
        if lines.is_empty() {
            lines.extend(refused.iter().map(|argument| format!("{path} {argument}")));
        }
    }
    lines
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
    use ContextKind::{SuggestedArg, SuggestedSubcommand, SuggestedValue};
    texts(error, &[SuggestedArg, SuggestedSubcommand, SuggestedValue])
}

fn texts(error: &clap::Error, kinds: &[ContextKind]) -> Vec<String> {
    let values = kinds.iter().filter_map(|kind| error.get(*kind));
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
            ("flotilla playground --stores 65", &["65", "from 1 to 64 is needed, e.g. 5"]),
            ("flotilla playground --zones 0", &["'0'", "from 1 to 64 is needed, e.g. 3"]),
            ("flotilla playground add-store --count 65", &["'65'", "from 1 to 64", "e.g. 2"]),
            (
                "flotilla playground add-store --label zo:ne=a",
                &["':' is not allowed", "e.g. zone=z1"],
            ),
            ("flotilla playground add-store --label zone=", &["a value behind", "e.g. zone=z1"]),
            ("flotilla playground --region-size 4", &["'4'", "at least 1MiB", "e.g. 64MiB"]),
            ("flotilla store --region-size 1TiB", &["'1TiB'", "at most 256GiB", "e.g. 64MiB"]),
            (
                "flotilla store --label zone=z:1",
                &["':' is not allowed in the value", "e.g. zone=z1"],
            ),
            ("flotilla store --label zone", &["'zone'", "a name and a value", "e.g. zone=z1"]),
            ("flotilla put k -abc", &["'-a'", "flotilla put k -- -abc   where"]),
            ("flotilla put k --milk", &["'--milk'", "flotilla put k -- --milk   where"]),
            ("flotilla put note -it's", &["flotilla put note -- '-it'\\''s'   where"]),
            ("flotilla get -q --hex", &["'-q'", "flotilla get … -- -q   where"]),
            ("flotilla scan --prefix - -q", &["'-q'", "flotilla scan --prefix - -- -q   where"]),
            ("flotilla scan --prefix a --to b", &["cannot be used with"]),
            (
                "flotilla scan --prefix a b",
                &["cannot be used with", "flotilla scan --prefix <KEY>\n"],
            ),
            ("flotilla put k v --stdin", &["cannot be used with", "put [OPTIONS] <KEY> <VALUE>\n"]),
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
    fn the_placement_driver_has_its_usual_port() {
        let words = "flotilla get k --pd localhost,h:1,x:y".split(' ').map(OsString::from);
        let Ok(cli) = parse(&words.collect::<Vec<_>>()) else { panic!("it makes sense") };
        assert_eq!(cli.globals.pd, ["localhost:2379", "h:1", "x:y"]);
    }

    #[test]
    fn an_argument_of_other_bytes_is_told_how_to_write_it() {
        use std::os::unix::ffi::OsStringExt as _;
        let key = OsString::from_vec(b"a\xff".to_vec());
        let arguments = ["flotilla".into(), "get".into(), key];
        let Err(Refused::Fault(fault)) = parse(&arguments) else { panic!("it is no text") };
        let text = fault.to_text();
        assert!(text.contains(r"\xNN in a key") && text.contains("code FLT-2108"), "{text}");
    }

    /// The lines of an error that say what to try.
    fn hints(text: &str) -> Vec<&str> {
        let lines = text.lines().skip_while(|line| !line.starts_with("  try  "));
        lines.take_while(|line| line.starts_with("  ")).map(|line| &line[7..]).collect()
    }

    #[test]
    fn what_was_refused_is_no_advice() {
        for (line, one, other) in [
            ("flotilla scan --prefix a b", "--prefix", "FROM"),
            ("flotilla scan a --prefix b", "--prefix", "FROM"),
            ("flotilla scan --prefix a --to b", "--prefix", "--to"),
            ("flotilla kv dump --prefix a b", "--prefix", "FROM"),
            ("flotilla scan --count --limit 5", "--count", "--limit"),
            ("flotilla put k v --stdin", "VALUE", "--stdin"),
            ("flotilla playground --name a --data b", "--name", "--data"),
            ("flotilla playground --stores 3 status", "--stores", "status"),
        ] {
            let text = refused(line);
            let hints = hints(&text);
            assert!(!hints.is_empty(), "{line}:\n{text}");
            for hint in hints {
                assert!(!(hint.contains(one) && hint.contains(other)), "{line}: {hint} in\n{text}");
            }
        }
    }

    /// Every argument of every command that does not take just any text.
    #[test]
    fn a_value_of_the_wrong_form_is_told_what_is_expected_with_an_example() {
        let mut refusals = 0;
        let mut commands = vec![("flotilla".to_owned(), Cli::command())];
        while let Some((path, mut command)) = commands.pop() {
            command.build();
            let subcommands = command.get_subcommands();
            let below = subcommands.map(|sub| (format!("{path} {}", sub.get_name()), sub.clone()));
            commands.extend(below.filter(|(path, _)| !path.ends_with(" help")));
            for argument in command.get_arguments().filter(|it| it.get_action().takes_values()) {
                let line = match argument.get_long() {
                    Some(long) => format!("{path} --{long} x?9"),
                    // Those in front of the last are keys, of any text.
                    None => {
                        format!("{path} {}x?9", "1 ".repeat(argument.get_index().unwrap_or(1) - 1))
                    }
                };
                let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
                let Err(Refused::Fault(fault)) = parse(&words) else { continue };
                let text = fault.to_text();
                if text.contains("invalid value") {
                    refusals += 1;
                    let is_told =
                        ["e.g. ", "possible are: "].iter().any(|part| text.contains(part));
                    assert!(is_told && text.contains("  why  "), "{line}:\n{text}");
                }
            }
        }
        // What clap itself reads would come in its own words; nothing is left of that.
        assert!(refusals >= 20, "only {refusals} were refused");
    }

    #[test]
    fn what_makes_sense_is_taken() {
        for line in [
            "flotilla put k -5",
            "flotilla put -1.5 -5 --timeout 5s",
            "flotilla put k -- --milk",
            "flotilla get -5",
            "flotilla scan -5 --to -4 --reverse",
            "flotilla scan --prefix -5",
            "flotilla del -1 -2 -x",
            "flotilla add -5 -5",
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
