//! The command line from outside: results, exit codes, and clear answers to what makes no sense.

mod common;
mod pages;

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use common::{LIVENESS, Playground, Process, Sandbox, cluster::Cluster};
use serde_json::Value;

#[test]
fn a_session_of_commands() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &[]);
    sandbox.ok(&["put", "greeting", "hello, world"]);
    assert_eq!(sandbox.ok(&["get", "greeting"]), "hello, world");
    let pair = sandbox.json(&["get", "greeting"]);
    assert_eq!(pair["pair"]["value"], "hello, world");
    sandbox.fails(&["get", "nope"], 3, "key not found: nope");
    sandbox.ok(&["put", r"\xff\x00", "odd"]);
    assert_eq!(sandbox.ok(&["get", "--hex", "ff00"]), "odd");
    sandbox.fails(&["get", r"a\q"], 2, "FLT-2002");
    let put = sandbox.run_with_input(&["put", "--stdin", "binary"], b"\0\x01\xff\n");
    assert_eq!(put.code, 0, "{}", put.stderr);
    assert_eq!(sandbox.json(&["get", "binary"])["pair"]["value_hex"], "0001ff0a");
    sandbox.ok(&["del", "binary", "nope"]);
    sandbox.fails(&["get", "binary"], 3, "not found");
    sandbox.fails(&["put", &"k".repeat(9 << 10), "v"], 1, "FLT-2105");

    assert_eq!(sandbox.ok(&["add", "visits"]), "1\n");
    assert_eq!(sandbox.ok(&["add", "visits", "41"]), "42\n");
    assert_eq!(sandbox.json(&["add", "visits", "-2"])["sum"], 40);
    assert_eq!(sandbox.ok(&["get", "visits"]), "40");
    let text = sandbox.fails(&["add", "greeting"], 1, "FLT-2109");
    assert!(text.contains("hello, world is no integer") && text.contains("such as 42"), "{text}");
    sandbox.ok(&["put", "-5", "-7"]);
    assert_eq!(sandbox.ok(&["add", "-5", "-1"]), "-8\n");
    sandbox.ok(&["put", "-5", "--", "--milk"]);
    assert_eq!(sandbox.ok(&["get", "-5"]), "--milk");
    let text = sandbox.fails(&["put", "k", "--milk"], 2, "FLT-2108");
    assert!(text.contains("flotilla put k -- --milk"), "{text}");
    sandbox.ok(&["del", "-5"]);
    sandbox.ok(&["del", "visits"]);

    load_and_dump(&sandbox);
    let status = playground.note["stores"][0]["status"].as_str().expect("an address").to_owned();
    let text = sandbox.fails(&["get", "k", "--pd", &status], 4, "FLT-2101");
    assert!(text.contains("is it the port of a placement driver?"), "{text}");
    cluster_views(&sandbox);

    benchmarks(&sandbox);
    pages::settings_are_those_of_the_page(&sandbox.json(&["ctl", "settings"]));
    documented(&playground);
    playground.stop();
    sandbox.fails(&["get", "greeting", "--timeout", "1s"], 4, "FLT-2101");
}

/// Everything that counts something has counted by now.
fn documented(playground: &Playground) {
    let text = |value: &Value| value.as_str().expect("an address").to_owned();
    let stores = playground.note["stores"].as_array().expect("a list");
    let status: Vec<String> = stores.iter().map(|store| text(&store["status"])).collect();
    let (store, pd) = (text(&stores[0]["address"]), text(&playground.note["pd"][0]));
    pages::metrics_are_those_of_the_page(&status, &pd);
    pages::calls_are_those_of_the_page(&store, &pd);
}

fn benchmarks(sandbox: &Sandbox) {
    let bench = ["bench", "--duration", "1s", "--keys", "100", "--clients", "4"];
    let count = || sandbox.ok(&["scan", "--prefix", "bench:", "--count"]);
    sandbox.ok(&["put", "bench:0000000007x", "somebody else's"]);
    for workload in ["put", "get", "mixed", "scan"] {
        let args = [&bench[..], &[workload]].concat();
        let bench = sandbox.json(&args);
        let results = bench["bench"]["results"].as_array().expect("a list");
        assert_eq!(results.len(), if workload == "mixed" { 2 } else { 1 });
        for result in results {
            assert!(result["operations"].as_u64() > Some(0), "{result}");
            assert_eq!(result["errors"], 0, "{bench}");
        }
        // What is written before is no secret, and nothing of it stays.
        assert_eq!(bench["bench"]["load_seconds"].is_f64(), workload != "put", "{bench}");
        assert_eq!(count(), "1\n", "{workload}");
    }
    let finished = sandbox.run(&[&bench[..], &["--keep", "get"]].concat());
    let table = finished.stdout;
    assert!(table.contains("P99.9") && table.contains("ERRORS"), "{table}");
    assert!(table.contains("100 keys") && table.contains("written in"), "{table}");
    assert!(finished.stderr.contains("writing 100 keys first"), "{}", finished.stderr);
    assert_eq!(count(), "101\n", "they are kept");
    let finished = sandbox.run(&[&bench[..], &["get"]].concat());
    assert!(finished.stderr.contains("removed 100 keys"), "{}", finished.stderr);
    assert_eq!(count(), "1\n");
    interrupted_benchmark(sandbox);
    assert_eq!(count(), "1\n", "an interrupt leaves nothing behind either");
}

/// Whoever does not want to wait until the keys are removed is told which stay.
#[test]
fn what_a_benchmark_leaves_behind_is_told() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "1"]);
    let args = ["bench", "get", "--duration", "1h", "--keys", "100", "--timeout", "1h"];
    let bench = Process::spawn(&mut sandbox.command(&args));
    let is_loaded = || sandbox.ok(&["scan", "--prefix", "bench:", "--count"]) == "100\n";
    common::eventually("the keys are written", is_loaded);
    // Nothing can be removed while the cluster is frozen.
    playground.process.signal("STOP");
    let finished = interrupt_until_it_ends(bench);
    playground.process.signal("CONT");
    assert_eq!(finished.code, 130, "{}", finished.stderr);
    let remover = "flotilla bench put --keys 100 --duration 1s";
    for part in ["left behind", "100 keys", "bench:0000000000", remover] {
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
    let words: Vec<&str> = remover.split(' ').skip(1).collect();
    sandbox.ok(&words);
    assert_eq!(sandbox.ok(&["scan", "--prefix", "bench:", "--count"]), "0\n");
    playground.stop();
}

/// Two signals may come as one.
fn interrupt_until_it_ends(mut process: Process) -> common::Finished {
    let started = std::time::Instant::now();
    while !process.has_ended() {
        assert!(started.elapsed() < LIVENESS, "it does not end");
        process.signal("INT");
    }
    process.finish()
}

fn interrupted_benchmark(sandbox: &Sandbox) {
    let args = ["bench", "get", "--duration", "1h", "--keys", "100", "-o", "json"];
    let process = Process::spawn(&mut sandbox.command(&args));
    let is_loaded = || sandbox.ok(&["scan", "--prefix", "bench:", "--count"]) == "101\n";
    common::eventually("the keys are written", is_loaded);
    process.signal("INT");
    let finished = process.finish();
    assert_eq!(finished.code, 130, "{}", finished.stderr);
    let said: Value = serde_json::from_str(&finished.stdout).expect("what was measured so far");
    assert!(said["bench"]["duration_seconds"].as_f64() < Some(3_600.0), "{said}");
}

fn load_and_dump(sandbox: &Sandbox) {
    let records: String = (0..5_000)
        .map(|number| format!("{{\"key\":\"user:{number:05}\",\"value\":\"{number}\"}}\n"))
        .collect();
    let loaded = sandbox.run_with_input(&["kv", "load"], records.as_bytes());
    assert_eq!(loaded.code, 0, "{}", loaded.stderr);
    assert!(loaded.stdout.contains("loaded 5,000 keys"), "{}", loaded.stdout);
    assert_eq!(sandbox.ok(&["kv", "dump", "--prefix", "user:"]), records);
    assert_eq!(sandbox.ok(&["scan", "--prefix", "user:", "--count"]), "5000\n");
    let page = sandbox.run(&["scan", "user:00010", "--limit", "3"]);
    assert_eq!(page.stdout, "KEY         VALUE\nuser:00010  10\nuser:00011  11\nuser:00012  12\n");
    let goes_on = "more follow: flotilla scan user:00013 --limit 3";
    assert!(page.stderr.contains(goes_on), "{}", page.stderr);
    pages(sandbox);
    let last =
        sandbox.json(&["scan", "--prefix", "user:", "--reverse", "--limit", "1", "--keys-only"]);
    assert_eq!(last["pairs"][0]["key"], "user:04999");
    assert!(last["pairs"][0].get("value").is_none());
    let bad =
        sandbox.run_with_input(&["kv", "load"], b"{\"key\":\"a\",\"value\":\"b\"}\n{\"key\":1}\n");
    assert_eq!(bad.code, 1);
    assert!(bad.stderr.contains("line 2") && bad.stderr.contains("FLT-2003"), "{}", bad.stderr);
    partly_loaded(sandbox);
    // Of two records with one key, the later one wins.
    let twice: String = (0..2_000)
        .map(|number| format!("{{\"key\":\"twice\",\"value\":\"{number}\"}}\n"))
        .collect();
    assert_eq!(sandbox.run_with_input(&["kv", "load"], twice.as_bytes()).code, 0);
    assert_eq!(sandbox.ok(&["get", "twice"]), "1999");
}

/// What fails behind records that are written does not say that nothing was, and tells how many are.
fn partly_loaded(sandbox: &Sandbox) {
    // More than fit into all lanes: at least one batch was sent before the last line was read.
    let records: String = (0..5_000)
        .map(|number| format!("{{\"key\":\"part:{number:05}\",\"value\":\"{number}\"}}\n"))
        .collect();
    let too_large = format!("{{\"key\":\"part:x\",\"value\":\"{}\"}}\n", "x".repeat(7 << 20));
    for (last, what) in [("nonsense\n", "line 5001 of the input"), (&too_large, "are allowed")] {
        let input = format!("{records}{last}");
        let failed = sandbox.run_with_input(&["kv", "load", "-o", "json"], input.as_bytes());
        assert_eq!((failed.code, failed.stdout.as_str()), (9, ""), "{}", failed.stderr);
        let error: Value = serde_json::from_str(&failed.stderr).expect("an object");
        let error = &error["error"];
        assert_eq!((&error["code"], &error["applied"]), (&"FLT-2103".into(), &"unknown".into()));
        assert!(error.to_string().contains(what), "{error}");
        let written = error["details"]["keys"].as_u64().expect("how many are written");
        let there = sandbox.ok(&["scan", "--prefix", "part:", "--count"]);
        assert!(written > 0 && there == format!("{written}\n"), "{error}: {there}");
        let keys: Vec<String> = (0..5_000).map(|number| format!("part:{number:05}")).collect();
        sandbox.ok(&[&["del".to_owned()], &keys[..]].concat());
    }
}

/// Programs are told where a scan goes on, in both directions, and that it has ended.
fn pages(sandbox: &Sandbox) {
    for direction in [&[][..], &["--reverse"]] {
        let (mut seen, mut range) = (Vec::new(), vec!["--prefix".to_owned(), "user:".to_owned()]);
        loop {
            let range_texts = range.iter().map(String::as_str);
            let args = ["scan", "--keys-only", "--limit", "2000"].into_iter().chain(range_texts);
            let args: Vec<&str> = args.chain(direction.iter().copied()).collect();
            let page = sandbox.json(&args);
            let pairs = page["pairs"].as_array().expect("a list");
            seen.extend(pairs.iter().filter_map(|pair| pair["key"].as_str().map(str::to_owned)));
            assert_eq!(page["truncated"], !page["rest"].is_null(), "{args:?}");
            let rest = |name: &str| page["rest"][name].as_str().map(str::to_owned);
            let (Some(from), Some(to)) = (rest("from"), rest("to")) else { break };
            assert_eq!((pairs.len(), rest("from_hex").is_some()), (2_000, true));
            range = vec![from, "--to".to_owned(), to];
        }
        if !direction.is_empty() {
            seen.reverse();
        }
        assert!(
            seen.iter()
                .eq(&(0..5_000).map(|number| format!("user:{number:05}")).collect::<Vec<_>>())
        );
    }
}

fn cluster_views(sandbox: &Sandbox) {
    let status = sandbox.ok(&["ctl", "status", "--check"]);
    for part in ["healthy", "can lose 1 store", "1 member "] {
        assert!(status.contains(part), "{status}");
    }
    let stores = sandbox.json(&["ctl", "stores"]);
    let stores = stores["stores"].as_array().expect("a list").clone();
    let leaders: u64 = stores.iter().filter_map(|store| store["leaders"].as_u64()).sum();
    assert_eq!((stores.len(), leaders), (3, 2));
    for store in &stores {
        // Its database has files before anything is in its tables.
        assert!(store["used_bytes"].as_u64() > Some(0), "{store}");
    }
    let regions = sandbox.json(&["ctl", "regions"]);
    let states: Vec<&str> = regions["regions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|region| region["state"].as_str())
        .collect();
    assert_eq!(states, ["ok", "guard"]);
    assert_eq!(regions["truncated"], false);
    assert_eq!(sandbox.json(&["ctl", "regions", "--limit", "1"])["truncated"], true);
    let first = sandbox.run(&["ctl", "regions", "--limit", "1"]);
    assert!(first.stderr.contains("1 of 2 regions"), "{}", first.stderr);
    assert!(first.stderr.contains("more follow: flotilla ctl regions --from"), "{}", first.stderr);
    let page = sandbox.json(&["ctl", "regions", "--limit", "1"]);
    let next = page["rest"]["from_hex"].as_str().expect("the next page").to_owned();
    assert_eq!((&page["total"], &page["states"]["guard"]), (&2.into(), &1.into()));
    let next = sandbox.json(&["ctl", "regions", "--hex", "--from", &next]);
    assert_eq!((&next["total"], &next["regions"][0]["state"]), (&1.into(), &"guard".into()));
    let owner = sandbox.json(&["ctl", "regions", "--key", "any"]);
    assert_eq!((&owner["total"], &owner["regions"][0]["start_hex"]), (&1.into(), &"".into()));
    let store = stores[0]["id"].to_string();
    assert_eq!(sandbox.json(&["ctl", "regions", "--store", &store])["total"], 2);
    sandbox.fails(&["ctl", "regions", "--store", "4711"], 3, "FLT-3003");
    assert_eq!(sandbox.json(&["ctl", "operators", "--history"])["operators"], Value::Array(vec![]));
    assert_eq!(sandbox.ok(&["ctl", "operators"]), "nothing is being done to regions\n");
    for peer in regions["regions"][0]["peers"].as_array().expect("a list") {
        assert_eq!(peer["role"], "voter", "{peer}");
    }
    let table = sandbox.ok(&["ctl", "regions"]);
    assert!(table.contains("LEADER") && table.contains("LEARNERS"), "{table}");
    refused_changes(sandbox, &regions["regions"][0]["id"].to_string(), &store);
    named_stores(sandbox);
    splits(sandbox);
}

/// What is refused says why and what to do, before anybody is asked to confirm it.
fn refused_changes(sandbox: &Sandbox, region: &str, store: &str) {
    let change = |verb: &'static str, store: &str| {
        let words = ["ctl", "region", verb, "--region", region, "--store", store];
        words.map(str::to_owned)
    };
    let costly = sandbox.fails(&change("remove-peer", store), 6, "FLT-3002");
    assert!(costly.contains("2 voters would stay"), "{costly}");
    let transfer = ["ctl", "region", "transfer-leader", "--region", region, "--to", "4711"];
    for unknown in [
        &change("remove-peer", "4711").each_ref().map(String::as_str)[..],
        &change("add-peer", "4711").each_ref().map(String::as_str),
        &transfer,
        // Nothing is waited for, although only the placement driver can know.
        &["ctl", "store", "remove", "4711", "--yes"],
        &["ctl", "store", "remove", "4711"],
    ] {
        let started = std::time::Instant::now();
        let refused = sandbox.fails(unknown, 3, "FLT-3003");
        assert!(refused.contains("try  flotilla ctl stores"), "{refused}");
        assert!(started.elapsed() < Duration::from_secs(8), "{unknown:?}: it was repeated");
    }
    let there = sandbox.fails(&change("add-peer", store), 1, "FLT-2106");
    for part in [&format!("a peer on store {store} already"), "start one more store first"] {
        assert!(there.contains(part), "{there}");
    }
    let nowhere = ["ctl", "region", "cancel", "--region", "4711"];
    sandbox.fails(&nowhere, 3, "FLT-3004");
    let idle = sandbox.fails(&["ctl", "region", "cancel", "--region", region], 1, "FLT-2106");
    let parts = ["nothing is being done to region", "try  flotilla ctl operators --history"];
    assert!(parts.iter().all(|part| idle.contains(part)), "{idle}");
    // Asked to confirm or not: a store that is up stays.
    for removal in
        [&["ctl", "store", "remove", store][..], &["ctl", "store", "remove", store, "-y"]]
    {
        let refused = sandbox.fails(removal, 1, "FLT-2106");
        let parts = [&format!("store {store} is up"), "try  if it is to go all the same, stop"];
        assert!(parts.iter().all(|part| refused.contains(*part)), "{refused}");
    }
}

/// Which node of the playground a store is.
fn named_stores(sandbox: &Sandbox) {
    let status = sandbox.json(&["playground", "status"]);
    let nodes = status["playground"]["nodes"].as_array().expect("a list").clone();
    assert!(nodes[0]["store_id"].is_null(), "the placement driver is no store");
    let stores = sandbox.json(&["ctl", "stores"]);
    for store in stores["stores"].as_array().expect("a list") {
        let node = nodes.iter().find(|node| node["address"] == store["address"]).expect("known");
        assert_eq!((&store["node"], &store["id"]), (&node["name"], &node["store_id"]), "{store}");
    }
    let table = sandbox.ok(&["ctl", "stores"]);
    assert!(table.starts_with("NODE ") && table.contains("store-3"), "{table}");
    assert!(sandbox.ok(&["playground", "status"]).starts_with("NODE     ID  STATE"));
}

/// What came out of a split is shown; one that cannot be is refused at once.
fn splits(sandbox: &Sandbox) {
    let split = |keys: &[&str]| {
        let keys = keys.iter().flat_map(|key| ["--at", key]);
        ["ctl", "region", "split"].into_iter().chain(keys).map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = sandbox.ok(&split(&["split:m", "split:t"]));
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["regions now:", "split:m split:t new", "(guard)"] {
        assert!(words.contains(part), "{shown}");
    }
    let again = sandbox.ok(&split(&["split:m"]));
    assert_eq!(again, "every key begins a region already\n");
    let more = split(&["split:v"]);
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let told = sandbox.json(&more);
    assert_eq!(
        (&told["split"]["regions_cut"], &told["regions"][0]["is_new"]),
        (&1.into(), &true.into())
    );
    let count = || sandbox.json(&["ctl", "regions"])["total"].as_u64().expect("a number");
    let (long, before) = ("k".repeat(9 << 10), count());
    let refused = sandbox.fails(&split(&["split:w", &long]), 1, "FLT-2105");
    assert!(
        refused.contains("the key has 9216 bytes") && !refused.contains("attempts"),
        "{refused}"
    );
    assert_eq!(count(), before, "nothing was cut");
    let refused = sandbox.fails(&split(&[&"\\xff".repeat(100)]), 1, "FLT-2106");
    let parts = ["guard region", "try  flotilla ctl regions --key"];
    assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
    assert!(!refused.contains("may have taken effect"), "{refused}");
}

/// A region that was given fewer replicas than the cluster wants is not well, though every store is up.
#[test]
fn a_region_without_all_of_its_replicas_is_told() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "4"]);
    let check = ["ctl", "status", "--check"];
    common::eventually("well", || sandbox.run(&check).code == 0);
    // It would be mended at once.
    sandbox.ok(&["ctl", "settings", "set", "halt-scheduling", "true"]);
    let regions = sandbox.json(&["ctl", "regions"]);
    let first = &regions["regions"][0];
    let (id, leader) = (first["id"].to_string(), first["leader"].as_u64().expect("a leader"));
    let peers = first["peers"].as_array().expect("a list").iter();
    let follower = peers.filter_map(|peer| peer["store"].as_u64()).find(|store| *store != leader);
    let follower = follower.expect("three replicas").to_string();
    let change = |verb, store: &str, more| {
        let words = ["ctl", "region", verb, "--region", &id, "--store", store, more];
        words.map(str::to_owned)
    };
    let begun =
        sandbox.json(&change("remove-peer", &follower, "--yes").each_ref().map(String::as_str));
    assert_eq!(begun["operator"]["kind"], "remove-peer", "{begun}");
    common::eventually("the replica is gone", || sandbox.run(&check).code == 7);
    let history = sandbox.ok(&["ctl", "operators", "--history"]);
    assert!(history.contains("  1  done  demote voter"), "{history}");
    common::eventually("it has ended", || {
        let told = sandbox.ok(&["ctl", "operators"]);
        told.contains("nothing is being done to regions\nthe last change: ")
            && told.contains("finished after")
    });
    let ill = sandbox.fails(&check, 7, "FLT-3001");
    let why = format!("why  region {id} has 2 of 3 voters that answer");
    let remedy = format!("try  flotilla ctl region add-peer --region {id} --store ");
    for part in ["degraded: 1 of 2 regions under-replicated", &why, &remedy] {
        assert!(ill.contains(part), "{ill}");
    }
    let region = sandbox.json(&["ctl", "regions", "--key", "a"])["regions"][0].clone();
    assert_eq!(region["state"], "under-replicated", "{region}");
    // A learner holds the data and does not vote: that is not enough.
    sandbox.ok(&change("add-peer", &follower, "--learner"));
    common::eventually("a learner", || {
        let region = sandbox.json(&["ctl", "regions", "--key", "a"])["regions"][0].clone();
        let roles = region["peers"].as_array().expect("a list").iter().map(|peer| &peer["role"]);
        roles.filter(|role| *role == "learner").count() == 1
    });
    sandbox.fails(&check, 7, "FLT-3001");
    let table = sandbox.ok(&["ctl", "regions", "--key", "a"]);
    let line = table.lines().nth(1).expect("a region");
    assert!(
        line.contains(&format!("  {follower}         ")) && line.contains("under-replicated"),
        "{table}"
    );
    let promoted = ["ctl", "region", "add-peer", "--region", &id, "--store", &follower];
    common::eventually("it is promoted", || sandbox.run(&promoted).code == 0);
    common::eventually("well again", || sandbox.run(&check).code == 0);
    playground.stop();

    // One store that is to hold all is well.
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "1"]);
    common::eventually("well", || sandbox.run(&check).code == 0);
    playground.stop();
}

#[test]
fn what_makes_no_sense_is_refused_with_exit_code_2() {
    let sandbox = Sandbox::new();
    for args in [
        &["frobnicate"][..],
        &["get"],
        &["get", "a", "--timeout", "10"],
        &["put", "a"],
        &["bench", "--duration", "1"],
        &["bench", "--clients", "0"],
        &["playground", "--stores", "0"],
        &["scan", "--prefix", "a", "--to", "b"],
        &["scan", "b", "--to", "a"],
        &["scan", "--limit", "0"],
        &["ctl", "regions", "--limit", "0"],
        &["get", "a", "-o", "yaml"],
        &["get", "a", "--timeout", "0s"],
        &["bench", "--duration", "0s"],
        &["bench", "put", "--value-size", "7MiB"],
        &["playground", "--pd", "127.0.0.1:2379"],
        &["kv"],
    ] {
        let text = sandbox.fails(args, 2, "FLT-2108");
        assert!(text.contains("  try  "), "{args:?}: {text}");
        assert_eq!(sandbox.run(args).stdout, "", "{args:?}");
    }
    let text = sandbox.fails(&["bench", "put", "--value-size", "7MiB"], 2, "FLT-2108");
    assert!(text.contains("at most 6MiB"), "{text}");
    assert_eq!(sandbox.run::<&str>(&[]).code, 0);
    assert!(sandbox.ok(&["bench", "--help"]).contains("Examples:"));
    sandbox.fails(&["explain", "FLT-9999"], 3, "FLT-1030");
    for (args, exit, code) in [
        (&["kv", "load", "nofile"][..], 1, "FLT-9001"),
        (&["playground", "--data", "/proc/nope"], 1, "FLT-1009"),
        (&["store", "--config", "none.toml"], 8, "FLT-1006"),
        (&["pd", "--config", "none.toml"], 8, "FLT-1006"),
    ] {
        let text = sandbox.fails(args, exit, code);
        assert!(text.contains("  why  ") && text.contains("  try  "), "{args:?}: {text}");
    }
    assert!(sandbox.ok(&["explain", "flt-1004"]).contains("port"));
    assert!(sandbox.ok(&["version"]).contains("data format"));
}

/// Nobody tells the commands which stores are down: no playground, only the placement driver's own knowledge.
#[test]
fn a_dead_store_shows_long_before_its_silence_is_noticed() {
    let mut cluster = Cluster::start(3);
    let pd = cluster.sandbox.pd();
    let check = ["ctl", "status", "--check", "--pd", &pd];
    common::eventually("well", || cluster.sandbox.run(&check).code == 0);
    cluster.kill(2);
    assert_eq!(cluster.sandbox.run(&check).code, 7, "it does not answer");
    common::eventually("the placement driver knows", || state_of(&cluster, 2) == "disconnected");
    assert_disconnected(&cluster, 2);
    cluster.kill(3);
    common::eventually("unavailable", || {
        let text = cluster.sandbox.run(&check).stderr;
        text.contains("unavailable: 2 of 3 stores not up; 2 of 2 regions leaderless")
    });
    common::eventually("the placement driver knows", || state_of(&cluster, 3) == "disconnected");
    assert_disconnected(&cluster, 3);
    cluster.revive_all();
    common::eventually("well again", || cluster.sandbox.run(&check).code == 0);

    // A placement driver that was started anew calls nothing well that it has not heard of.
    cluster.kill(Cluster::PD);
    cluster.kill(1);
    cluster.revive(Cluster::PD);
    common::eventually("the living ones are back", || {
        let [dead, two, three] = [1, 2, 3].map(|position| state_of(&cluster, position));
        assert_ne!(dead, "up");
        [two, three].iter().all(|state| state == "up")
    });
    assert_eq!(cluster.sandbox.run(&check).code, 7);
}

/// A process that is stopped keeps all of its connections: nobody but who asks it notices.
#[test]
fn frozen_stores_show_at_once() {
    let mut cluster = Cluster::start(3);
    let pd = cluster.sandbox.pd();
    let check = ["ctl", "status", "--check", "--pd", &pd];
    common::eventually("well", || cluster.sandbox.run(&check).code == 0);
    // Which of the first one's regions have another leader by then is another matter.
    for (position, complaint) in
        [(2, ": 1 of 3 stores not up"), (3, "unavailable: 2 of 3 stores not up")]
    {
        cluster.process(position).signal("STOP");
        let text = cluster.sandbox.fails(&check, 7, "FLT-3001");
        assert!(text.contains(complaint), "{text}");
        let state = state_of(&cluster, position);
        assert!(["silent", "disconnected"].contains(&state.as_str()), "{state}");
    }
    for position in [2, 3] {
        cluster.process(position).signal("CONT");
    }
    common::eventually("well again", || cluster.sandbox.run(&check).code == 0);
}

/// What is known of the store at a position; null while that cannot be told.
fn store_of(cluster: &Cluster, position: usize) -> Value {
    let pd = cluster.sandbox.pd();
    let finished = cluster.sandbox.run(&["ctl", "stores", "--pd", &pd, "-o", "json"]);
    let said: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
    let address = cluster.store_address(position);
    let mut stores = said["stores"].as_array().into_iter().flatten();
    stores.find(|store| store["address"] == address).cloned().unwrap_or_default()
}

fn state_of(cluster: &Cluster, position: usize) -> String {
    store_of(cluster, position)["state"].as_str().unwrap_or("not told").to_owned()
}

fn assert_disconnected(cluster: &Cluster, position: usize) {
    let dead = store_of(cluster, position);
    assert_eq!((&dead["state"], &dead["leaders"]), (&"disconnected".into(), &0.into()), "{dead}");
    // Stores report every ten seconds; by silence alone it would count as up for twenty.
    assert!(dead["heartbeat_age_seconds"].as_f64() < Some(20.0), "{dead}");
}

#[test]
fn errors_are_objects_for_programs() {
    let sandbox = Sandbox::new();
    let pd = sandbox.pd();
    for (args, exit, kind) in [
        (&["get", "k", "--timeout", "500ms", "--pd", &pd][..], 4, "unreachable"),
        (&["put", "k", "v", "--timeout", "500ms", "--pd", &pd], 4, "unreachable"),
        (&["get", r"\q", "--pd", &pd], 2, "bad_key"),
        (&["get", "k", "--pd", "not an address"], 2, "invalid_argument"),
        (&["get"], 2, "invalid_argument"),
        (&["playground", "status"], 3, "no_playground"),
    ] {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        let finished = sandbox.run(&args);
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (exit, ""),
            "{args:?} {}",
            finished.stderr
        );
        let error: Value = serde_json::from_str(&finished.stderr).expect("an object");
        let error = &error["error"];
        assert_eq!((error["kind"].as_str(), error["applied"].as_str()), (Some(kind), Some("no")));
        assert!(error["code"].as_str().is_some_and(|code| code.starts_with("FLT-")), "{error}");
    }
}

#[test]
fn servers_tell_programs_where_they_serve() {
    let sandbox = Sandbox::new();
    let data = |name: &str| sandbox.path().join(name).display().to_string();
    let (pd, pd_data, store_data) = (sandbox.pd(), data("pd"), data("store"));
    let (listen, status) = (format!("{}:20160", sandbox.host), format!("{}:20180", sandbox.host));
    let start = |args: &[&str]| {
        let mut process = Process::spawn(&mut sandbox.command(&[args, &["-o", "json"]].concat()));
        let line = process.line_with("\n");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"));
        (process, said)
    };
    let (mut pd_process, said) = start(&["pd", "--data", &pd_data, "--listen", &pd]);
    assert_eq!(said["schema"], "flotilla.pd/0");
    assert_eq!(said["pd"]["address"], pd);
    let store = ["store", "--data", &store_data, "--pd", &pd, "--listen", &listen];
    let (mut store_process, said) = start(&[&store[..], &["--status-listen", &status]].concat());
    assert_eq!(said["schema"], "flotilla.store/0");
    let expected = serde_json::json!({"id": 1, "address": listen, "status_address": status});
    assert_eq!(said["store"], expected);
    for process in [&mut store_process, &mut pd_process] {
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));
    }
}

/// Chosen once, for ever: whoever says something else later is told.
#[test]
fn another_number_of_replicas_is_not_taken_in_silence() {
    let sandbox = Sandbox::new();
    let data = sandbox.path().join("pd").display().to_string();
    let start = |more: &[&str]| {
        let args = ["pd", "--data", &data, "--listen", &sandbox.pd(), "--log-level", "warn"];
        let mut process = Process::spawn(&mut sandbox.command(&[&args[..], more].concat()));
        process.line_with("serves on");
        process.signal("TERM");
        process.finish().stderr
    };
    let told = "max-replicas 5 is not taken: this cluster was made with 1, and keeps that\n";
    for (more, expected) in [
        (&["--max-replicas", "1"][..], ""),
        (&["--max-replicas", "5"], told),
        (&["--max-replicas", "1"], ""),
        // Who says nothing has no wish.
        (&[], ""),
    ] {
        assert_eq!(start(more), expected, "{more:?}");
    }
}

/// The word that it will be a tombstone is no word that it is one.
#[test]
fn a_store_at_the_address_of_another_one_is_refused_and_not_called_removed() {
    let mut cluster = Cluster::start(1);
    let (pd, listen) = (cluster.sandbox.pd(), cluster.store_address(1));
    let status = cluster.status_address(1);
    cluster.kill(1);
    let data = cluster.sandbox.path().join("other").display().to_string();
    let store =
        ["store", "--data", &data, "--pd", &pd, "--listen", &listen, "--status-listen", &status];
    let text = cluster.sandbox.fails(&store, 1, "FLT-1012");
    assert!(text.contains("store 1 is registered there"), "{text}");
    assert!(text.starts_with("flotilla: the placement driver refuses this store\n"), "{text}");
    assert!(!text.contains(" WARN ") && !text.contains(" ERROR "), "{text}");
}

/// The placement driver answers: what is missing is stores.
#[test]
fn a_cluster_that_waits_for_its_stores_says_so() {
    let sandbox = Sandbox::new();
    let data = |name: &str| sandbox.path().join(name).display().to_string();
    let (pd, pd_data, store_data) = (sandbox.pd(), data("pd"), data("store"));
    let (listen, status) = (format!("{}:20160", sandbox.host), format!("{}:20180", sandbox.host));
    let server = |args: &[&str]| {
        let mut process = Process::spawn(&mut sandbox.command(args));
        process.line_with("serves on");
        process
    };
    let _pd = server(&["pd", "--data", &pd_data, "--listen", &pd]);
    let store = ["store", "--data", &store_data, "--pd", &pd, "--listen", &listen];
    let store = server(&[&store[..], &["--status-listen", &status]].concat());
    let waits_for = "1 of 3 stores has registered, start 2 more\n";
    let listed = sandbox.run(&["ctl", "stores", "--pd", &pd]);
    assert_eq!((listed.code, listed.stderr.as_str()), (0, waits_for), "{}", listed.stdout);
    assert!(listed.stdout.contains(&listen), "{}", listed.stdout);
    let stores = sandbox.json(&["ctl", "stores", "--pd", &pd]);
    assert_eq!((&stores["stores"][0]["id"], &stores["stores"][1]), (&1.into(), &Value::Null));
    assert!(sandbox.ok(&["ctl", "status", "--pd", &pd]).contains(waits_for));
    let text = sandbox.fails(&["ctl", "status", "--check", "--pd", &pd], 7, "FLT-3001");
    let one_more = format!(
        "try  flotilla store --data DIR --pd {pd} --listen IP:PORT --status-listen IP:PORT\n"
    );
    let stores = format!("flotilla --pd {pd} ctl stores   shows those that have registered\n");
    for part in [&format!("unavailable: {waits_for}"), &one_more, &stores] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let regions = sandbox.run(&["ctl", "regions", "--pd", &pd]);
    assert_eq!((regions.code, regions.stderr.as_str()), (0, waits_for), "{}", regions.stdout);
    let text = sandbox.fails(&["get", "k", "--timeout", "300ms", "--pd", &pd], 4, "FLT-2102");
    assert!(text.contains("the cluster has no regions yet"), "{text}");
    store.signal("TERM");
    // It is no wonder that a first start finds no other stores.
    let log = store.finish().stderr;
    assert!(!log.contains("looked up one by one"), "{log}");
}

#[test]
fn a_port_in_use_is_named_with_its_owner() {
    let sandbox = Sandbox::new();
    let data = sandbox.path().join("node").display().to_string();
    let listener = TcpListener::bind(sandbox.pd()).expect("free");
    let owner = format!("pid {}", std::process::id());
    for form in [&["playground"][..], &["playground", "--processes"]] {
        let text = sandbox.fails(form, 1, "FLT-1004");
        assert!(text.contains("port 2379 is in use") && text.contains(&owner), "{text}");
        assert!(text.contains("--port-offset"), "{text}");
    }
    let pd = sandbox.pd();
    sandbox.fails(&["pd", "--data", &data, "--listen", &pd], 1, "FLT-1004");
    drop(listener);
    let listener = TcpListener::bind(format!("{}:20160", sandbox.host)).expect("free");
    let listen = listener.local_addr().expect("bound").to_string();
    let status = format!("{}:20180", sandbox.host);
    let store =
        ["store", "--data", &data, "--pd", &pd, "--listen", &listen, "--status-listen", &status];
    let text = sandbox.fails(&store, 1, "FLT-1004");
    assert!(text.contains(&owner) && text.contains("  try  --listen IP:PORT"), "{text}");
    drop(listener);
    let _listener = TcpListener::bind(&status).expect("free");
    let text = sandbox.fails(&store, 1, "FLT-1004");
    let parts = ["port 20180 is in use", &owner, "  try  --status-listen IP:PORT"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert!(!Path::new(&data).exists(), "nothing was begun");
}

#[test]
fn a_data_directory_is_used_once_and_by_its_owner() {
    let (one, two) = (Sandbox::new(), Sandbox::new());
    let data = one.path().join("data");
    let data_text = data.display().to_string();
    let playground = Playground::start(&one, &["--data", &data_text]);
    one.ok(&["put", "k", "v"]);
    for form in [
        &["playground", "--data", &data_text][..],
        &["playground", "--data", &data_text, "--processes"],
    ] {
        let text = two.fails(form, 1, "FLT-1001");
        assert!(text.contains("in use"), "{text}");
    }
    playground.stop();

    // A store of this cluster does not join another one, and a store is no placement driver.
    let other = Playground::start(&two, &[]);
    let store = data.join("store-1").display().to_string();
    let (listen, status) = (format!("{}:20160", one.host), format!("{}:20180", one.host));
    let pd = two.pd();
    let args =
        ["store", "--data", &store, "--pd", &pd, "--listen", &listen, "--status-listen", &status];
    one.fails(&args, 6, "FLT-1002");
    let pd_listen = one.pd();
    let text = one.fails(&["pd", "--data", &store, "--listen", &pd_listen], 6, "FLT-1007");
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).expect("a line");
    assert!(line("  why  ").ends_with("Nothing in it was changed."), "{text}");
    assert!(line("  try  ").starts_with("  try  Start a store there"), "{text}");
    other.stop();

    // A newer format is refused before anything is touched, a damaged ident as well.
    let ident = data.join("store-2/ident");
    let text = fs::read_to_string(&ident).expect("an ident");
    write_ident(&ident, &text.replace("format = 1\n", "format = 99\n"));
    let text_new = fs::read_to_string(&ident).expect("an ident");
    one.fails(&["playground", "--data", &data_text], 6, "FLT-1003");
    assert_eq!(fs::read_to_string(&ident).expect("an ident"), text_new);
    fs::write(&ident, "something else").expect("written");
    one.fails(&["playground", "--data", &data_text], 6, "FLT-1007");

    // And nothing of all that has lost anything.
    fs::write(&ident, text).expect("written");
    let playground = Playground::start(&one, &["--data", &data_text]);
    assert_eq!(one.ok(&["get", "k"]), "v");
    playground.stop();
}

/// Writes an ident whose checksum is right.
fn write_ident(path: &Path, text: &str) {
    let (body, _checksum) = text.rsplit_once("checksum = ").expect("a checksum");
    let sum = crc32c::crc32c(body.as_bytes());
    fs::write(path, format!("{body}checksum = {sum:08x}\n")).expect("written");
}

#[test]
fn a_bad_configuration_starts_nothing() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("node.toml");
    let file_text = file.display().to_string();
    let data = sandbox.path().join("node");
    let data_text = data.display().to_string();
    let (pd, listen) = (sandbox.pd(), format!("{}:20160", sandbox.host));
    let status = format!("{}:20180", sandbox.host);
    let store = [
        "store",
        "--config",
        &file_text,
        "--data",
        &data_text,
        "--pd",
        &pd,
        "--listen",
        &listen,
        "--status-listen",
        &status,
    ];
    let pd_args = ["pd", "--config", &file_text, "--data", &data_text, "--listen", &pd];
    for (text, part) in [
        ("[storage]\nblock-cash = \"8MiB\"\n", "block-cash"),
        ("[storage]\nblock-cache = \"8\"\n", "unit"),
        ("data-dir = \n", "Correct what is named"),
        ("[schedule]\nmax-replicas = 3\n", "schedule"),
    ] {
        fs::write(&file, text).expect("written");
        let error = sandbox.fails(&store, 8, "FLT-1006");
        assert!(error.contains(part), "{error}");
    }
    for (text, part) in [
        ("max-replics = 3\n", "max-replics"),
        ("min-free-disk = \"8\"\n", "unit"),
        ("max-replicas = \"x\"\n", "1:"),
    ] {
        fs::write(&file, text).expect("written");
        let error = sandbox.fails(&pd_args, 8, "FLT-1006");
        assert!(error.contains(part), "{error}");
    }
    // All at once, whatever kind of node it is.
    fs::write(&file, "insecure = 1\nnmae = \"a\"\nmin-free-disk = \"8\"\n").expect("written");
    for args in [&store[..], &pd_args] {
        let error = sandbox.fails(args, 8, "FLT-1006");
        assert!(error.contains("has 3 problems"), "{error}");
        assert!(error.contains("true or false is needed, without quotes"), "{error}");
    }
    let error = sandbox.fails(&["store", "--pd", &pd, "--log-level", "a=loud"], 8, "FLT-1006");
    assert!(error.contains("data-dir"), "{error}");
    let error = sandbox.fails(&["store", "--pd", &pd], 8, "data-dir");
    assert!(
        error.contains("try  correct the options that are named") && !error.contains("Sizes"),
        "{error}"
    );
    sandbox.fails(&["pd", "--data", &data_text, "--listen", "0.0.0.0:2379"], 8, "FLT-1008");
    sandbox.fails(&["playground", "--host", "192.0.2.1"], 8, "FLT-1008");
    sandbox.fails(&["playground", "--port-offset", "65000"], 8, "65535");

    fs::write(&file, "[storage]\nmin-free-disk = \"1000000TiB\"\n").expect("written");
    sandbox.fails(&store, 1, "FLT-1005");
    fs::write(&file, "min-free-disk = \"1000000TiB\"\n").expect("written");
    sandbox.fails(&pd_args, 1, "FLT-1005");
    assert!(!data.join("db").exists(), "nothing was started");
}

#[test]
fn garbage_and_half_open_connections_harm_nobody() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &[]);
    sandbox.ok(&["put", "k", "v"]);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let oversized = [preface, &[0xff; 64], &[0; 4096]].concat();
    let garbage: &[&[u8]] = &[
        b"",
        b"\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a greeting in TLS",
        b"GET / HTTP/1.1\r\n",
        b"GET /\xff\xfe HTTP/9.9\r\nA: \r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        preface,
        &oversized,
        &vec![0xa5; 64 << 10],
    ];
    let mut half_open = Vec::new();
    for address in playground.addresses() {
        for bytes in garbage {
            for keep in [true, false] {
                let mut stream = TcpStream::connect(&address).expect("it listens");
                stream.set_write_timeout(Some(LIVENESS)).expect("settable");
                // It may have closed the connection already.
                let _sent_or_refused = stream.write_all(bytes);
                if keep {
                    half_open.push(stream);
                }
            }
        }
    }
    // Everyone else is served while all of those are open.
    assert_eq!(sandbox.ok(&["get", "k"]), "v");
    sandbox.ok(&["put", "k", "w"]);
    sandbox.ok(&["ctl", "status", "--check"]);
    for address in playground.addresses() {
        if address.contains(":2018") {
            let answer = common::http_get(&address, "/readyz").expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
    drop(half_open);
    assert_eq!(sandbox.ok(&["get", "k"]), "w");
    playground.stop();
}
