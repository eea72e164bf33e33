//! Pages of the documentation that say what nodes show and serve, against a cluster that runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use flotilla_tidy::{markdown, root};
use tokio::time::timeout;
use tonic::{
    Code, Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::common::{LIVENESS, http_get};

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("the page")
}

/// The table behind a heading.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, behind) = page.split_once(&format!("\n{heading}\n")).expect("the heading");
    markdown::table(behind)
}

/// One metric: its type, its labels, and what it means.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    kind: String,
    labels: BTreeSet<String>,
    meaning: String,
}

/// What a scrape shows. Families whose labels have no value yet are not in it.
fn shown(text: &str, metrics: &mut BTreeMap<String, Shown>) {
    let mut help = "";
    let mut name = "";
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_name), text) => help = text.unwrap_or_default(),
            (Some("#"), Some("TYPE"), Some(of), Some(kind)) => {
                name = of;
                let (kind, meaning) = (kind.to_owned(), help.to_owned());
                let labels = BTreeSet::new();
                metrics.entry(name.to_owned()).or_insert(Shown { kind, labels, meaning });
            }
            _ if line.starts_with(name) && !name.is_empty() => {
                let inside = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
                let pairs = inside.map_or("", |(pairs, _)| pairs).split(',');
                let labels = pairs.filter_map(|pair| pair.split_once('=')).map(|(label, _)| label);
                let own = labels.filter(|label| *label != "le").map(str::to_owned);
                metrics.get_mut(name).expect("it has a type").labels.extend(own);
            }
            _ => {}
        }
    }
}

fn assert_metrics(headings: &[&str], addresses: &[String]) {
    let mut metrics = BTreeMap::new();
    for address in addresses {
        shown(&http_get(address, "/metrics").expect("an answer"), &mut metrics);
    }
    let page = page("docs/metrics.md");
    let mut documented = BTreeSet::new();
    for row in headings.iter().flat_map(|heading| table(&page, heading)) {
        let [name, kind, labels, meaning] = row.as_slice() else { panic!("{row:?}") };
        let name = name.trim_matches('`').to_owned();
        let found = metrics.get(&name).unwrap_or_else(|| panic!("{name} is not shown"));
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        assert_eq!((&found.kind, &found.labels), (kind, &labels), "{name}");
        let (help, meaning) = (found.meaning.to_lowercase(), meaning.to_lowercase());
        let (help, meaning) = (help.trim_end_matches('.'), meaning.replace('`', ""));
        assert!(meaning.starts_with(help), "{name} is {help:?}, and the page says {meaning:?}");
        documented.insert(name);
    }
    let missing = metrics.keys().filter(|name| !documented.contains(*name)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
}

/// The table of `docs/operations.md` against the settings that a cluster has.
pub(crate) fn settings_are_those_of_the_page(listed: &serde_json::Value) {
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let settings = listed["settings"].as_array().expect("a list");
    let known: BTreeMap<String, String> =
        settings.iter().map(|it| (text(&it["name"]), text(&it["usual"]))).collect();
    let page = page("docs/operations.md");
    let rows = table(&page, "### Settings of the cluster").into_iter().map(|row| {
        let [name, usual, _meaning] = row.as_slice() else { panic!("{row:?}") };
        let usual = if usual == "none" { "" } else { usual };
        (name.trim_matches('`').to_owned(), usual.to_owned())
    });
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), known);
}

/// `docs/metrics.md` against scrapes of all stores and of the placement driver.
pub(crate) fn metrics_are_those_of_the_page(status_of_stores: &[String], pd: &str) {
    assert_metrics(&["## Store", "## Process"], status_of_stores);
    assert_metrics(&["## Placement driver", "## Process"], &[pd.to_owned()]);
}

/// `docs/compatibility.md` against what servers answer: a call is unknown to them if and only if the page says so,
/// and the page knows every call of our `.proto` files.
pub(crate) fn calls_are_those_of_the_page(store: &str, pd: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let page = page("docs/compatibility.md");
    for (heading, service, file, address) in [
        ("## Store: `tikvpb.Tikv`", "tikvpb.Tikv", "tikvpb.proto", store),
        ("## Placement driver: `pdpb.PD`", "pdpb.PD", "pdpb.proto", pd),
    ] {
        let mut known = BTreeSet::new();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = runtime.block_on(endpoint.connect()).expect("it listens");
        for row in table(&page, heading) {
            let [calls, state, remarks] = row.as_slice() else { panic!("{row:?}") };
            let is_unknown = remarks.starts_with("`UNIMPLEMENTED`");
            assert!(!is_unknown || state == "refused", "{row:?}");
            for call in calls.split(|c: char| !c.is_ascii_alphanumeric()).filter(|it| is_call(it)) {
                let code = runtime.block_on(code_of(&channel, &format!("/{service}/{call}")));
                assert_eq!(code == Code::Unimplemented, is_unknown, "{call}: {code:?}");
                known.insert(call.to_owned());
            }
        }
        let proto = self::page(&format!("proto/kvproto/{file}"));
        let calls = proto.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
        let calls: Vec<&str> = calls.filter_map(|call| call.split('(').next()).collect();
        assert!(calls.len() > 10, "{calls:?}");
        for call in calls {
            assert!(known.contains(call), "{call} is not on the page");
        }
    }
}

/// Prose has no words like that between the names of calls.
fn is_call(word: &str) -> bool {
    word.len() > 2 && word.starts_with(|first: char| first.is_ascii_uppercase())
}

/// What a call without content is answered with; one message is enough where it is a stream.
async fn code_of(channel: &Channel, path: &str) -> Code {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.expect("connected");
    let path = PathAndQuery::try_from(path).expect("a path");
    let call = client.unary(Request::new(()), path, ProstCodec::<(), ()>::default());
    let answer = timeout(LIVENESS, call).await.expect("an answer in time");
    answer.err().map_or(Code::Ok, |status| status.code())
}
