//! The settings that `docs/operations.md` tells of, against those that there are.

use std::collections::BTreeSet;

use flotilla_pd::PdConfig;
use flotilla_store::StoreConfig;
use flotilla_telemetry::settings::Schema;
use flotilla_tidy::{markdown, root};
use serde_json::{Value, json};

use super::PD_PORT;

/// Key and default of each setting in the table behind `heading`.
fn documented(heading: &str) -> Vec<(String, String)> {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).expect("the page");
    let (_, behind) = page.split_once(heading).expect("the heading");
    let plain = |cell: &String| cell.trim_matches('`').to_owned();
    markdown::table(behind).iter().map(|row| (plain(&row[0]), plain(&row[1]))).collect()
}

/// The leaves of an object, each with the way to it.
fn leaves(prefix: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value.as_object() {
        Some(object) => {
            for (name, inner) in object {
                let way = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                leaves(&way, inner, found);
            }
        }
        None => found.push((prefix.to_owned(), value.clone())),
    }
}

/// Every key stands in the table and no other does; and a default that is a number, a size, an address or a level is
/// the one in use.
fn assert_documented(heading: &str, schema: &Schema, in_use: &Value) {
    let documented = documented(heading);
    let names: BTreeSet<String> = documented.iter().map(|(key, _)| key.clone()).collect();
    let keys: BTreeSet<String> = schema.keys.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(names, keys, "{heading}");
    let mut values = Vec::new();
    leaves("", in_use, &mut values);
    for (key, value) in values {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let default = documented.iter().find(|(documented, _)| *documented == key);
        let default = default.map(|(_, default)| default.as_str());
        assert_eq!(default, Some(text.as_str()), "{heading} {key}");
    }
}

#[test]
fn the_settings_of_a_store_are_those_of_the_page() {
    let mut in_use = StoreConfig::new("d", vec!["pd".to_owned()]).to_json();
    // Told in words: what has no default, what is another's, and what depends on the machine.
    for words in ["/data-dir", "/pd", "/labels", "/advertise", "/log/file"] {
        remove(&mut in_use, words);
    }
    for machine in ["runtime", "raft", "apply", "read"] {
        remove(&mut in_use, &format!("/server/{machine}-threads"));
    }
    assert_documented("A store:", &flotilla_store::config::SCHEMA, &in_use);
}

#[test]
fn the_settings_of_a_placement_driver_are_those_of_the_page() {
    let address = format!("127.0.0.1:{PD_PORT}").parse().expect("an address");
    let config = PdConfig::new("pd-1", "d", address);
    let in_use = json!({
        "name": config.name,
        "max-replicas": config.max_replicas,
        "min-free-disk": config.free_min.to_string(),
        "listen": {"client": config.client_address.to_string()},
        "log": {"level": config.log.level},
    });
    assert_documented("A placement driver:", &flotilla_pd::config::SCHEMA, &in_use);
}

fn remove(value: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').expect("a way");
    let parent = value.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    assert!(parent.remove(name).is_some(), "{pointer} is there");
}
