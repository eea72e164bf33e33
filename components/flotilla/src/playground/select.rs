//! Which playground a command means, and what it knows of its own nodes.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use flotilla_base::address::authority;
use serde_json::Value;
use tokio::{net::lookup_host, time::timeout};

use super::{command, control::Command, descriptor::Descriptor};
use crate::{
    args::{Globals, Selector},
    catalogue,
    fault::Fault,
};

/// How long a look at the nodes of a playground may take that is only beside the point.
pub(super) const GLANCE: Duration = Duration::from_millis(500);

/// The playground with the process, else the one with the placement driver, else the only one that runs.
pub(super) async fn one(globals: &Globals, selector: &Selector) -> Result<Descriptor, Fault> {
    let living = Descriptor::living();
    let (found, wanted) = match selector.pid {
        Some(pid) => {
            let found = living.iter().filter(|one| one.pid == pid).cloned().collect();
            (found, Some(format!("no playground has process {pid}")))
        }
        None if globals.pd.iter().any(|named| !named.is_empty()) => {
            let named = globals.pd.join(",");
            let text = format!("no playground here has the placement driver {named}");
            (with_pd(globals, &living).await, Some(text))
        }
        None => (living.clone(), None),
    };
    let listed = |fault: Fault, some: &[Descriptor]| {
        let hint = |one: &Descriptor| {
            format!("--pid {} or --pd {}   {}", one.pid, one.pd.join(","), one.title())
        };
        some.iter().fold(fault, |fault, one| fault.hint(hint(one)))
    };
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let text = wanted.unwrap_or_else(|| "no playground is running".to_owned());
            let fault = listed(Fault::new(&catalogue::NO_PLAYGROUND, text), &living);
            let why = match living.len() {
                0 => "this user has started none here, or it has ended",
                _ => "others are running",
            };
            let fault = fault.why(why);
            Err(if living.is_empty() {
                fault.hint("flotilla playground").hint(
                    "flotilla ctl status --pd HOST:PORT   looks at a cluster that was started by hand",
                )
            } else {
                fault
            })
        }
        many => {
            let text = format!("{} playgrounds are running", many.len());
            let fault = Fault::new(&catalogue::MANY_PLAYGROUNDS, text);
            Err(listed(fault.why("the command does not say which of them it means"), many))
        }
    }
}

/// What a playground knows of the stores of a cluster. Nothing, where the cluster is none.
#[derive(Debug, Default)]
pub(crate) struct Insight {
    /// Addresses of stores that are known to be down: sooner than by anybody else.
    pub killed: Vec<String>,
    /// The names of the nodes, by address.
    pub names: BTreeMap<String, String>,
}

impl Insight {
    /// Asks the playground behind `globals`. Nothing where no playground is meant; without those that are down where it
    /// does not answer at once.
    pub(crate) async fn of(globals: &Globals) -> Self {
        let living = Descriptor::living();
        let meant = match globals.pd.iter().any(|named| !named.is_empty()) {
            true => with_pd(globals, &living).await,
            false => living,
        };
        let [one] = meant.as_slice() else { return Self::default() };
        let answer = command::ask(one, Command::Status, GLANCE).await;
        let killed = answer.map_or_else(|_hidden| Vec::new(), |answer| down_stores(&answer));
        let names = one.stores.iter().map(|node| (node.address.clone(), node.name.clone()));
        Self { killed, names: names.collect() }
    }
}

/// Addresses of the stores that are not up.
pub(super) fn down_stores(status: &Value) -> Vec<String> {
    let nodes = status["nodes"].as_array().into_iter().flatten();
    let is_down = |state: &Value| state != "up" && state != "removed";
    let down = nodes.filter(|node| node["role"] == "store" && is_down(&node["state"]));
    down.filter_map(|node| node["address"].as_str().map(str::to_owned)).collect()
}

/// Those of `living` whose placement driver is named.
async fn with_pd(globals: &Globals, living: &[Descriptor]) -> Vec<Descriptor> {
    let mut named = Vec::new();
    for endpoint in &globals.pd {
        named.extend(places(endpoint).await);
    }
    let mut found = living.to_vec();
    found.retain(|one| one.pd.iter().any(|address| named.contains(address)));
    found
}

/// The address as it stands, and where its name leads to.
async fn places(endpoint: &str) -> Vec<String> {
    let plain = authority(endpoint);
    let mut places = vec![plain.to_owned()];
    if plain.parse::<SocketAddr>().is_err()
        && let Ok(Ok(resolved)) = timeout(GLANCE, lookup_host(plain)).await
    {
        places.extend(resolved.map(|address| address.to_string()));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_not_down() {
        let node =
            |role, state| serde_json::json!({"role": role, "state": state, "address": state});
        let states = ["up", "down", "changing", "removed"];
        let nodes: Vec<Value> = states.map(|state| node("store", state)).into();
        let nodes = [nodes, vec![node("pd", "down")]].concat();
        assert_eq!(down_stores(&serde_json::json!({ "nodes": nodes })), ["down", "changing"]);
    }

    #[tokio::test]
    async fn one_address_has_many_forms() {
        for form in ["127.0.0.1:2379", "http://127.0.0.1:2379/", "localhost:2379"] {
            assert!(places(form).await.contains(&"127.0.0.1:2379".to_owned()), "{form}");
        }
        assert!(!places("127.0.0.1:2380").await.contains(&"127.0.0.1:2379".to_owned()));
    }
}
