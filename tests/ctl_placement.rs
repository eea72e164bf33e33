//! Placement from the command line: settings, stores that are emptied, schedulers, and the reasons of what is done.

mod common;

use common::{Playground, Sandbox, eventually};
use serde_json::Value;

/// What a command that succeeds says beside its result.
fn note(sandbox: &Sandbox, args: &[&str]) -> String {
    let finished = sandbox.run(args);
    assert_eq!(finished.code, 0, "{args:?}: {}", finished.stderr);
    finished.stderr
}

#[track_caller]
fn assert_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

fn stores(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.json(&["ctl", "stores"])["stores"].as_array().expect("a list").clone()
}

fn store_of(sandbox: &Sandbox, store: &str) -> Value {
    let id = store.parse().ok();
    let found = stores(sandbox).into_iter().find(|known| known["id"].as_u64() == id);
    found.expect("it is known")
}

fn placement_of(sandbox: &Sandbox, store: &str) -> Value {
    store_of(sandbox, store)["placement"].clone()
}

#[test]
fn what_people_decide() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &[]);
    settings(&sandbox);
    schedulers(&sandbox);
    let store = stores(&sandbox)[0]["id"].to_string();
    treatment(&sandbox, &store);
    drains_that_cannot_end(&sandbox, &store);
    plans(&sandbox, &store);
    rules(&sandbox);
    reasons(&sandbox);
    regions(&sandbox, &store);
    playground.stop();
}

/// Which regions are listed, and in which order.
fn regions(sandbox: &Sandbox, store: &str) {
    sandbox.ok(&["ctl", "region", "split", "--at", "k1", "--at", "k2"]);
    let list = |args: &[&str]| sandbox.json(&[&["ctl", "regions"], args].concat());
    let count = |args: &[&str]| list(args)["total"].as_u64().expect("a number");
    let is_whole = || {
        let states = list(&[])["states"].as_object().expect("an object").clone();
        let checks = ["miss-peer", "extra-peer", "learner-peer", "down-peer", "pending-peer"];
        states.keys().eq(["guard", "ok"])
            && states["ok"].as_u64() >= Some(3)
            && checks.iter().all(|check| count(&["--check", check]) == 0)
    };
    eventually("each of them is whole", is_whole);
    let all = count(&[]);
    let roles = |role: &str| count(&["--store", store, "--role", role]);
    assert_eq!(roles("leader") + roles("follower"), all, "each has three voters on three stores");
    assert_eq!(roles("learner"), 0);
    let led = list(&["--store", store, "--role", "leader"]);
    let led = led["regions"].as_array().expect("a list").clone();
    let store_id = store.parse::<u64>().ok();
    assert!(led.iter().all(|region| region["leader"].as_u64() == store_id), "{led:?}");
    for check in
        ["miss-peer", "extra-peer", "down-peer", "learner-peer", "offline-peer", "oversized"]
    {
        assert_eq!(count(&["--check", check]), 0, "{check}");
    }
    assert_eq!(count(&["--check", "empty"]), all - 1, "all but the guard");
    assert_eq!(count(&["--from", "k1", "--to", "k2"]), 1);
    assert_eq!(count(&["--from", "k1", "--to", "k2", "--check", "miss-peer"]), 0);
    for sort in ["size", "keys", "write-flow", "read-flow", "version", "conf-version"] {
        let sorted = list(&["--sort", sort, "--limit", "2"]);
        let shown = sorted["regions"].as_array().expect("a list");
        assert_eq!((shown.len(), &sorted["truncated"]), (2, &true.into()), "{sorted}");
        assert_eq!((&sorted["total"], &sorted["rest"]), (&all.into(), &Value::Null));
    }
    let versions = list(&["--sort", "version"]);
    let versions: Vec<_> = versions["regions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|region| region["version"].as_u64())
        .collect();
    assert!(versions.is_sorted_by(|a, b| a >= b) && versions[0] > Some(1), "{versions:?}");
    let page = ["ctl", "regions", "--limit", "1", "--store", store, "--check", "empty"];
    let next = format!(" --store {store} --check empty --limit 1");
    let told = ["1 of ", "more follow: flotilla ctl regions --from ", &next];
    assert_parts(&note(sandbox, &page), &told);
    let sorted = ["ctl", "regions", "--sort", "read-flow", "--limit", "1"];
    assert_parts(&sandbox.ok(&sorted), &["SIZE", "KEYS", "READS", "STATE"]);
    assert_parts(&note(sandbox, &sorted), &["the first 1 of ", "--limit N shows more"]);
    sandbox.fails(&["ctl", "regions", "--store", "4711"], 3, "FLT-3003");
    let none = sandbox.fails(&["ctl", "regions", "--from", "k2", "--to", "k1"], 2, "FLT-2108");
    assert_parts(&none, &["these regions cannot be listed", "no key is at --from"]);
    for wrong in [&["--role", "leader"][..], &["--check", "odd"], &["--sort", "id"]] {
        sandbox.fails(&[&["ctl", "regions"], wrong].concat(), 2, "FLT-2108");
    }
}

fn settings(sandbox: &Sandbox) {
    let table = sandbox.ok(&["ctl", "settings"]);
    assert_parts(
        &table,
        &["SETTING", "USUAL", "schedule.max-store-down-time", "at least 10s is possible"],
    );
    assert_eq!(sandbox.ok(&["ctl", "settings", "--changed"]), "all settings are as usual\n");
    let set = ["ctl", "settings", "set", "max-store-down-time", "10m"];
    assert_eq!(sandbox.ok(&set), "schedule.max-store-down-time = 10m0s   was 30m0s\n");
    let back = "back again: flotilla ctl settings set schedule.max-store-down-time 10m0s";
    assert_parts(&note(sandbox, &set), &[back]);
    let changed = sandbox.json(&["ctl", "settings", "--changed"]);
    let changed = changed["settings"].as_array().expect("a list").clone();
    assert_eq!((changed.len(), &changed[0]["value"]), (1, &"10m0s".into()));
    let shown = sandbox.ok(&["ctl", "settings", "show", "max-store-down-time"]);
    assert_parts(&shown, &["10m0s*", "30m0s"]);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    // In any order, since they are set together.
    sandbox.ok(&[
        "ctl",
        "settings",
        "set",
        "isolation-level",
        "zone",
        "location-labels",
        "zone,host",
    ]);
    let unknown =
        sandbox.fails(&["ctl", "settings", "set", "halt-schedule", "true"], 3, "FLT-3005");
    assert_parts(&unknown, &["did you mean schedule.halt-scheduling?"]);
    sandbox.fails(&["ctl", "settings", "show", "xyz"], 3, "FLT-3005");
    sandbox.fails(&["ctl", "settings", "reset", "xyz"], 3, "FLT-3005");
    let refused = ["ctl", "settings", "set", "halt-scheduling", "true", "max-replicas", "9"];
    let refused = sandbox.fails(&refused, 1, "FLT-3006");
    assert_parts(
        &refused,
        &[
            "no setting was changed",
            "cannot be \"9\"",
            "from 1 to 7",
            "settings show replication.max-replicas",
        ],
    );
    let refused = sandbox.fails(&["ctl", "settings", "reset", "location-labels"], 1, "FLT-3006");
    assert_parts(&refused, &["isolation-level is \"zone\""]);
    let odd = ["ctl", "settings", "set", "halt-scheduling", "true", "max-replicas"];
    assert_parts(&sandbox.fails(&odd, 2, "FLT-2108"), &["max-replicas has no value"]);
    sandbox.ok(&["ctl", "settings", "reset", "isolation-level", "schedule.max-store-down-time"]);
    sandbox.ok(&["ctl", "settings", "reset", "location-labels"]);
    assert_eq!(sandbox.ok(&["ctl", "settings", "--changed"]), "all settings are as usual\n");
}

fn schedulers(sandbox: &Sandbox) {
    let table = sandbox.ok(&["ctl", "schedulers"]);
    assert_parts(&table, &["SCHEDULER", "balance-region", "shuffle-leader", "does not run"]);
    let pause = ["ctl", "schedulers", "pause", "balance-region", "--for", "10m"];
    assert_eq!(sandbox.ok(&pause), "balance-region does nothing for 10 min\n");
    assert_parts(&note(sandbox, &pause), &["flotilla ctl schedulers resume balance-region"]);
    assert_parts(&sandbox.ok(&["ctl", "schedulers", "list"]), &["paused for"]);
    assert_eq!(
        sandbox.ok(&["ctl", "schedulers", "resume", "balance-region"]),
        "balance-region goes on\n"
    );
    sandbox.ok(&["ctl", "schedulers", "remove", "balance-region"]);
    let twice = sandbox.fails(&["ctl", "schedulers", "remove", "balance-region"], 1, "FLT-3007");
    assert_parts(&twice, &["the balance-region-scheduler does not run"]);
    sandbox.ok(&["ctl", "schedulers", "add", "balance-region"]);
    for (args, part) in [
        (&["add", "balance-region"][..], "runs already"),
        (&["add", "evict-leader"], "say which one"),
        (&["add", "evict-leader", "--store", "4711"], "no store 4711"),
        (&["add", "balance-leaders"], "there are balance-leader, "),
        (&["pause", "evict-leader", "--for", "1s"], "does not run"),
    ] {
        let args = [&["ctl", "schedulers"], args].concat();
        assert_parts(&sandbox.fails(&args, 1, "FLT-3007"), &[part]);
    }
    sandbox.fails(&["ctl", "schedulers", "pause", "balance-region"], 2, "FLT-2108");
}

fn treatment(sandbox: &Sandbox, store: &str) {
    let told = sandbox.ok(&["ctl", "store", "label", store, "zone=z1", "rack=r7"]);
    assert_eq!(told, format!("store {store}: labels: zone=z1 rack=r7\n"));
    let told = sandbox.ok(&["ctl", "store", "label", store, "--delete", "rack"]);
    assert_eq!(told, format!("store {store}: labels: zone=z1\n"));
    let told = sandbox.ok(&["ctl", "store", "weight", store, "--leader", "0.5"]);
    assert_eq!(told, format!("store {store}: leader weight 0.5, region weight 1\n"));
    sandbox.ok(&["ctl", "store", "weight", store, "--leader", "1"]);
    let told = sandbox.ok(&["ctl", "store", "limit", store, "--add", "15"]);
    assert_eq!(
        told,
        format!("store {store}: at most 15 replicas come and 1000 leave in a minute\n")
    );
    sandbox.ok(&["ctl", "store", "limit", store, "--add", "usual"]);
    assert_eq!(placement_of(sandbox, store)["add_peers_per_minute"], 1000);
    let maintain = ["ctl", "store", "maintain", store, "--for", "20m"];
    assert_parts(&sandbox.ok(&maintain), &["worked on for 20 min", "leads nothing"]);
    assert_parts(&note(sandbox, &maintain), &[&format!("store maintain {store} --end")]);
    assert!(placement_of(sandbox, store)["maintained_until_unix_ms"].as_u64() > Some(0));
    sandbox.ok(&["ctl", "store", "maintain", store, "--end"]);
    assert_eq!(placement_of(sandbox, store)["maintained_until_unix_ms"], 0);
    for (args, part) in [
        (&["label", store, "a b=c"][..], "' ' is in it"),
        (&["label", store, "--delete", "rack"], "has no label \"rack\""),
        (&["weight", store, "--leader", "1001"], "from 0 to 1000"),
        (&["maintain", store, "--for", "721h"], "at most 720h"),
    ] {
        let args = [&["ctl", "store"], args].concat();
        assert_parts(&sandbox.fails(&args, 1, "FLT-2106"), &[part, "store --help"]);
    }
    for args in [
        &["label", "4711", "zone=z1"][..],
        &["weight", "4711", "--region", "2"],
        &["limit", "4711", "--remove", "2"],
        &["maintain", "4711", "--end"],
        &["drain", "4711"],
        &["drain", "4711", "--undo"],
        &["replace", "4711"],
    ] {
        let args = [&["ctl", "store"], args].concat();
        assert_parts(&sandbox.fails(&args, 3, "FLT-3003"), &["flotilla ctl stores"]);
    }
    for args in
        [&["label", store][..], &["label", store, "zone"], &["weight", store], &["maintain", store]]
    {
        sandbox.fails(&[&["ctl", "store"], args].concat(), 2, "FLT-2108");
    }
}

/// Three stores, three replicas: asked to confirm or not, nothing is begun.
fn drains_that_cannot_end(sandbox: &Sandbox, store: &str) {
    for drain in [&["ctl", "store", "drain", store][..], &["ctl", "store", "drain", store, "--yes"]]
    {
        let refused = sandbox.fails(drain, 1, "FLT-2106");
        assert_parts(&refused, &["2 other stores up", "start a new store first", "max-replicas 2"]);
    }
    let replace = sandbox.fails(&["ctl", "store", "replace", store, "--yes"], 1, "FLT-2106");
    assert_parts(&replace, &["is up", &format!("flotilla ctl store drain {store}")]);
    assert_eq!(stores(sandbox).iter().filter(|it| it["state"] == "up").count(), 3);
}

fn plans(sandbox: &Sandbox, store: &str) {
    let come = ["ctl", "plan", "--add-stores", "1", "--labels", "zone=z4"];
    // Until all have reported, it says so.
    eventually("all is known", || sandbox.run(&come).code == 0);
    let plan = sandbox.json(&come);
    let planned = plan["plan"]["stores"].as_array().expect("a list").clone();
    assert_eq!(planned.len(), 4, "{plan}");
    assert_eq!((&planned[3]["is_new"], &planned[0]["is_new"]), (&true.into(), &false.into()));
    let told = sandbox.ok(&["ctl", "plan", "--add-stores", "1", "--remove", store]);
    assert_parts(&told, &["STORE", "LEADERS", "new", "leaves", "replicas", "would move"]);
    let refused = sandbox.fails(&["ctl", "plan", "--remove", store], 1, "FLT-2106");
    assert_parts(&refused, &["there is no plan", "2 would stay", "if 1 more store comes"]);
    let refused = sandbox.fails(&["ctl", "plan", "--remove", "4711"], 1, "FLT-2106");
    assert_parts(&refused, &["there is no store 4711: there are the stores "]);
    sandbox.fails(&["ctl", "plan", "--labels", "zone=z4"], 2, "FLT-2108");
    let file = sandbox.path().join("planned.json");
    let file = file.to_str().expect("a text");
    let rule = r#"{"group_id":"pd","id":"default","role":"voter","count":1}"#;
    std::fs::write(file, rule).expect("it is written");
    let fewer = sandbox.json(&["ctl", "plan", "--rules", file]);
    let kept = |store: &Value| store["after"]["replicas"].as_u64().expect("a number");
    let planned = fewer["plan"]["stores"].as_array().expect("a list").clone();
    assert_eq!(planned.iter().map(kept).sum::<u64>(), 2, "one of each of two regions: {fewer}");
    std::fs::write(file, "[]").expect("it is written");
    let empty = sandbox.fails(&["ctl", "plan", "--rules", file], 1, "FLT-3008");
    assert_parts(&empty, &["the list is empty"]);
    let far = sandbox.fails(&["ctl", "plan", "--horizon", "1000h"], 1, "FLT-2106");
    assert_parts(&far, &["from 60 s to 604800 s"]);
    assert_eq!(stores(sandbox).len(), 3, "nothing was done");
}

fn rules(sandbox: &Sandbox) {
    assert_parts(&sandbox.ok(&["ctl", "rules"]), &["RULE", "pd/default", "voter"]);
    let file = sandbox.path().join("rules.json");
    let file = file.to_str().expect("a text");
    let write = |text: &str| std::fs::write(file, text).expect("it is written");
    let set = ["ctl", "rules", "set", file];
    let yes = ["ctl", "rules", "set", file, "--yes"];
    let rule = |id: &str, role: &str, count: u32| {
        format!(
            r#"{{"group_id":"pd","id":"{id}","role":"{role}","count":{count},"start_key":"6B"}}"#
        )
    };
    write(&rule("copy", "learner", 1));
    // Three stores, of which each has a voter already.
    let refused = sandbox.fails(&set, 1, "FLT-3008");
    assert_parts(&refused, &["no placement rule was changed", "stores for 3 of them"]);
    for (text, part) in [
        (rule("copy", "leaders", 1), "leader, voter, follower and learner are possible"),
        (rule("copy", "learner", 0), "A number from 1 to 7 is possible"),
        ("[]".to_owned(), "the list is empty"),
    ] {
        write(&text);
        assert_parts(&sandbox.fails(&yes, 1, "FLT-3008"), &[part]);
    }
    let fewer = r#"{"group_id":"pd","id":"default","role":"voter","count":2}"#;
    write(&format!("[{fewer}, {}]", rule("copy", "learner", 1)));
    let asked = sandbox.fails(&set, 6, "FLT-3002");
    assert_parts(&asked, &["pd/default, pd/copy are to be set", "--yes"]);
    assert_eq!(sandbox.ok(&yes), "set pd/default, pd/copy\n");
    let listed = sandbox.json(&["ctl", "rules"]);
    assert_eq!(listed["rules"].as_array().map(Vec::len), Some(2), "{listed}");
    let none = sandbox.fails(&["ctl", "rules", "delete", "pd", "none", "--yes"], 3, "FLT-3009");
    assert_parts(&none, &["there is no placement rule pd/none"]);
    sandbox.fails(&["ctl", "rules", "delete", "pd", "copy"], 6, "FLT-3002");
    sandbox.ok(&["ctl", "rules", "delete", "pd", "copy", "--yes"]);
    write(&fewer.replace('2', "3"));
    sandbox.ok(&yes);
    let listed = sandbox.json(&["ctl", "rules"]);
    assert_eq!(
        (&listed["rules"][0]["id"], &listed["rules"][0]["count"]),
        (&"default".into(), &3.into())
    );
}

fn reasons(sandbox: &Sandbox) {
    let regions = sandbox.json(&["ctl", "regions"]);
    let region = &regions["regions"][0];
    let (id, leader) = (region["id"].to_string(), region["leader"].to_string());
    let evict = ["ctl", "schedulers", "add", "evict-leader", "--store", &leader];
    assert_eq!(sandbox.ok(&evict), format!("evict-leader runs for store {leader}\n"));
    let why = "leads are to leave store";
    eventually("the decision is told", || {
        let told = sandbox.ok(&["ctl", "explain", "region", &id]);
        told.contains("evict-leader  chosen") && told.contains(why)
    });
    let told = sandbox.ok(&["ctl", "explain", "region", &id]);
    assert_parts(
        &told,
        &[&format!("region {id}  [\"\", "), "voters", "now: region", "transfer leader: store"],
    );
    let told = sandbox.ok(&["ctl", "explain", "store", &leader]);
    // Whether it takes replicas depends on the disk of this machine.
    assert_parts(&told, &["now: takes no leads: it is kept free of leads"]);
    let told = sandbox.ok(&["ctl", "explain", "operator", &id]);
    assert_parts(&told, &["chosen", "now: region"]);
    let told = sandbox.ok(&["ctl", "explain", "scheduler", "evict-leader"]);
    assert_parts(&told, &["evict-leader  ", why]);
    let told = sandbox.json(&["ctl", "explain", "region", &id, "--limit", "1"]);
    let explained = &told["explanation"];
    assert_eq!(explained["decisions"].as_array().map(Vec::len), Some(1), "{told}");
    sandbox.ok(&["ctl", "schedulers", "remove", "evict-leader", "--store", &leader]);
    let told = sandbox.ok(&["ctl", "explain", "store", &leader]);
    assert_parts(&told, &["now: takes leads"]);
    sandbox.ok(&["ctl", "settings", "set", "halt-scheduling", "true"]);
    let told = sandbox.ok(&["ctl", "explain", "scheduler", "balance-region"]);
    assert_parts(&told, &["nothing is decided at all"]);
    sandbox.ok(&["ctl", "settings", "reset", "halt-scheduling"]);
    sandbox.fails(&["ctl", "explain", "region", "4711"], 3, "FLT-3004");
    sandbox.fails(&["ctl", "explain", "store", "4711"], 3, "FLT-3003");
    let none = sandbox.fails(&["ctl", "explain", "operator", "4711"], 1, "FLT-2106");
    assert_parts(&none, &["nothing was done to region 4711", "operators --history"]);
    let status = sandbox.ok(&["ctl", "status"]);
    assert_parts(&status, &["CHANGES  ", "under way   waiting "]);
}

/// Regions that were cut on three of four stores come to be on all of them.
#[test]
fn regions_are_spread() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "4"]);
    // Nobody else moves them.
    for scheduler in ["balance-region", "balance-leader"] {
        sandbox.ok(&["ctl", "schedulers", "remove", scheduler]);
    }
    let mut split = vec!["ctl", "region", "split"];
    for key in ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"] {
        split.extend(["--at", key]);
    }
    sandbox.ok(&split);
    let regions = || sandbox.json(&["ctl", "regions", "--from", "u1"])["regions"].clone();
    // What begins at the last key is cut once more behind it, for clients of transactions; behind that is the guard.
    let known = |least: usize| regions().as_array().is_some_and(|all| all.len() >= least);
    eventually("the pieces are known", || known(10));
    let scatter = ["ctl", "region", "scatter", "--from", "u1", "--to", "u9"];
    let told = sandbox.ok(&scatter);
    assert_parts(&told, &["9 regions: ", "begin to move", "are spread already"]);
    let held = |store: u64| {
        let all = regions();
        let on = |region: &&Value| {
            let peers = region["peers"].as_array().expect("a list");
            peers.iter().any(|peer| peer["store"].as_u64() == Some(store))
        };
        all.as_array().expect("a list").iter().filter(on).count()
    };
    let ids: Vec<u64> =
        stores(&sandbox).iter().map(|store| store["id"].as_u64().expect("an id")).collect();
    eventually("each store has its share", || ids.iter().all(|id| (6..=8).contains(&held(*id))));
    let unknown = sandbox.fails(&["ctl", "region", "scatter", "2", "4711", "4712"], 3, "FLT-3004");
    assert_parts(&unknown, &["no region was spread", "4711, 4712"]);
    sandbox.fails(&["ctl", "region", "scatter"], 2, "FLT-2108");
    sandbox.fails(&["ctl", "region", "scatter", "--from", "b", "--to", "a"], 2, "FLT-2108");
    playground.stop();
}

/// A store is told to leave, stays, and leaves; it serves meanwhile, and every region has its replicas in the end.
#[test]
fn a_store_is_drained() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "4"]);
    sandbox.ok(&["put", "greeting", "hello"]);
    let region = sandbox.json(&["ctl", "regions"])["regions"][0].clone();
    let leader = region["leader"].to_string();
    let drain = ["ctl", "store", "drain", &leader];
    let asked = sandbox.fails(&drain, 6, "FLT-3002");
    let parts = [
        &format!("store {leader} at "),
        "is to be emptied",
        "move to other stores; 3 stores stay, and 1 store may fail then as now",
        &format!("flotilla ctl store drain {leader} --yes"),
    ];
    assert_parts(&asked, &parts);
    assert!(stores(&sandbox).iter().all(|store| store["state"] == "up"), "nothing was done");
    let told = sandbox.ok(&["ctl", "store", "drain", &leader, "--yes"]);
    assert_parts(&told, &[&format!("store {leader} leaves: "), "left ("]);
    assert_eq!(
        sandbox.ok(&["ctl", "store", "drain", &leader, "--undo"]),
        format!("store {leader}: stays\n")
    );
    let state = || store_of(&sandbox, &leader)["state"].as_str().expect("a word").to_owned();
    assert_eq!(state(), "up");
    sandbox.ok(&["ctl", "store", "drain", &leader, "-y"]);
    eventually("it is empty", || state() == "tombstone");
    assert_eq!(sandbox.ok(&["get", "greeting"]), "hello");
    eventually("all is well", || sandbox.run(&["ctl", "status", "--check"]).code == 0);
    for args in [&drain[..], &["ctl", "store", "label", &leader, "zone=z1"]] {
        assert_parts(&sandbox.fails(args, 1, "FLT-2106"), &["was removed for good already"]);
    }
    forgotten(&sandbox, &leader);
    playground.stop();
}

/// A store that is gone for good is listed until somebody says that it need not be.
fn forgotten(sandbox: &Sandbox, store: &str) {
    let others: Vec<String> = stores(sandbox)
        .iter()
        .filter(|other| other["state"] == "up")
        .map(|other| other["id"].to_string())
        .collect();
    let up = sandbox.fails(&["ctl", "store", "forget", &others[0], "--yes"], 1, "FLT-2106");
    assert_parts(&up, &["no store was forgotten", "is up: only a tombstone is forgotten"]);
    sandbox.fails(&["ctl", "store", "forget", "4711"], 3, "FLT-3003");
    sandbox.fails(&["ctl", "store", "forget"], 2, "FLT-2108");
    let asked = sandbox.fails(&["ctl", "store", "forget", "--all-removed"], 6, "FLT-3002");
    let parts = [
        &format!("store {store} at "),
        "is to be forgotten",
        "its id is refused for ever",
        "flotilla ctl store forget --all-removed --yes",
    ];
    assert_parts(&asked, &parts);
    assert_eq!(stores(sandbox).len(), 4, "nothing was done");
    let told = sandbox.ok(&["ctl", "store", "forget", store, "--yes"]);
    assert_eq!(told, format!("listed no more: store {store}\n"));
    assert_eq!(stores(sandbox).len(), 3);
    assert!(!sandbox.ok(&["ctl", "stores", "--all"]).contains("tombstone"));
    sandbox.fails(&["ctl", "store", "forget", store, "--yes"], 3, "FLT-3003");
    let none = sandbox.ok(&["ctl", "store", "forget", "--all-removed"]);
    assert_eq!(none, "no store was removed: there is none to forget\n");
    let drain = sandbox.fails(&["ctl", "store", "drain", store, "--yes"], 3, "FLT-3003");
    assert_parts(&drain, &["flotilla ctl stores"]);
}
