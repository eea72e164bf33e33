//! Which cluster a command talks to: the one that is named, else the playground that runs here.

use flotilla_client::{Client, ClientOptions};

use crate::{
    args::{self, Globals},
    catalogue,
    fault::Fault,
    output,
    playground::descriptor::Descriptor,
    text,
};

/// Where a placement driver listens when nothing else is said.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// The cluster's addresses: flag or environment, else the only living playground of this user, else
/// the usual address on this machine.
pub(crate) fn endpoints(globals: &Globals) -> Result<Vec<String>, Fault> {
    let named = globals.pd.iter().filter(|endpoint| !endpoint.is_empty());
    let named: Vec<String> = named.cloned().collect();
    if !named.is_empty() {
        return Ok(named);
    }
    match Descriptor::living().as_slice() {
        [] => Ok(vec![DEFAULT_ENDPOINT.to_owned()]),
        [one] => {
            if output::is_terminal() {
                output::note(&format!("({}, pid {})", one.title(), one.pid));
            }
            Ok(one.pd.clone())
        }
        many => {
            let text = format!("{} playgrounds are running here, and none is named", many.len());
            let hint = |one: &Descriptor| format!("--pd {}   {}", one.pd.join(","), one.title());
            let fault = Fault::new(&catalogue::MANY_PLAYGROUNDS, text);
            Err(many.iter().fold(fault, |fault, one| fault.hint(hint(one))))
        }
    }
}

/// The placement driver's addresses, with commas, for whoever has asked it already.
pub(crate) fn pd(globals: &Globals) -> String {
    match named(globals).as_str() {
        "" => match Descriptor::living().as_slice() {
            [one] => one.pd.join(","),
            _ => DEFAULT_ENDPOINT.to_owned(),
        },
        named => named.to_owned(),
    }
}

/// How one more store is started that finds room on any machine, also beside others.
pub(crate) fn one_more_store(pd: &str) -> String {
    format!("flotilla store --data DIR --pd {pd} --listen IP:PORT --status-listen IP:PORT")
}

/// What the command line says of the placement driver; empty where it says nothing.
fn named(globals: &Globals) -> String {
    let named = globals.pd.iter().map(String::as_str).filter(|endpoint| !endpoint.is_empty());
    named.collect::<Vec<_>>().join(",")
}

/// `line` with the commands in it made for the cluster that `globals` name: they can be pasted as they are. What the
/// environment names, they find there.
pub(crate) fn pasted(globals: &Globals, line: &str) -> String {
    let named = named(globals);
    let environment = Globals { pd: args::environment_pd(), ..globals.clone() };
    if named.is_empty() || named == self::named(&environment) {
        return line.to_owned();
    }
    with_pd(&named, line)
}

/// `line` with the commands in it made for the cluster of the placement driver at `pd`.
pub(crate) fn with_pd(pd: &str, line: &str) -> String {
    const PROGRAM: &str = "flotilla ";
    const ASKING: [&str; 12] = [
        "get ",
        "put ",
        "del ",
        "add ",
        "scan",
        "kv ",
        "ctl ",
        "bench",
        "playground kill",
        "playground start",
        "playground stat",
        "playground stop",
    ];
    let (mut told, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(PROGRAM) {
        let (before, behind) = rest.split_at(at + PROGRAM.len());
        told.push_str(before);
        if ASKING.iter().any(|command| behind.starts_with(command)) {
            told.push_str(&format!("--pd {} ", text::quoted(pd)));
        }
        rest = behind;
    }
    told + rest
}

/// A client of that cluster.
pub(crate) async fn connect(globals: &Globals) -> Result<Client, Fault> {
    let options = ClientOptions { deadline: globals.timeout, ..ClientOptions::default() };
    connect_with(globals, options).await
}

/// A client of that cluster with other settings.
pub(crate) async fn connect_with(
    globals: &Globals,
    options: ClientOptions,
) -> Result<Client, Fault> {
    let endpoints = endpoints(globals)?;
    let connected = Client::connect(&endpoints, options).await;
    connected.map_err(|error| match where_else(globals, &endpoints) {
        Some(hint) => Fault::from(error).hint(hint),
        None => Fault::from(error),
    })
}

/// What may help somebody whose cluster does not answer.
fn where_else(globals: &Globals, endpoints: &[String]) -> Option<&'static str> {
    let is_playground = Descriptor::living().iter().any(|one| one.pd == endpoints);
    let is_named = globals.pd.iter().any(|named| !named.is_empty());
    if is_playground {
        Some("flotilla playground status   shows which of its nodes are up")
    } else if is_named {
        None
    } else {
        Some("flotilla playground   starts a cluster here; --pd HOST:PORT names another")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_made_for_the_cluster_that_is_meant() {
        for (line, expected) in [
            ("flotilla scan x1 --limit 1", "flotilla --pd h:1 scan x1 --limit 1"),
            (
                "revive: flotilla playground start store-1",
                "revive: flotilla --pd h:1 playground start store-1",
            ),
            ("flotilla put k -- -v   where", "flotilla --pd h:1 put k -- -v   where"),
            ("flotilla ctl a; flotilla ctl b", "flotilla --pd h:1 ctl a; flotilla --pd h:1 ctl b"),
            // These ask no cluster, or name one themselves.
            ("flotilla playground --port-offset 1", "flotilla playground --port-offset 1"),
            ("flotilla store --data DIR --pd h:1", "flotilla store --data DIR --pd h:1"),
            ("flotilla explain FLT-1004", "flotilla explain FLT-1004"),
        ] {
            assert_eq!(with_pd("h:1", line), expected);
        }
        let named = |pd: &[&str]| Globals {
            pd: pd.iter().map(|text| (*text).to_owned()).collect(),
            timeout: std::time::Duration::ZERO,
            output: output::Format::Table,
        };
        assert_eq!(pasted(&named(&[]), "flotilla ctl stores"), "flotilla ctl stores");
        assert_eq!(
            pasted(&named(&["h:1", "h:2"]), "flotilla ctl stores"),
            "flotilla --pd h:1,h:2 ctl stores"
        );
    }
}
