//! Which cluster a command talks to: the one that is named, else the playground that runs here.

use flotilla_client::{Client, ClientOptions};

use crate::{args::Globals, catalogue, fault::Fault, output, playground::descriptor::Descriptor};

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
