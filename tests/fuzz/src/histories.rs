//! Histories as lines of JSON. Oracles: what is read is written and read again as it was; every history has a verdict.

use flotilla_histcheck::{Limits, check, json};

/// See the module.
pub fn run(bytes: &[u8]) {
    let Ok(history) = json::read(bytes) else { return };
    let once = written(&history);
    let again = json::read(once.as_slice()).expect("its own form");
    assert_eq!(written(&again), once);
    let _verdict = check(&history, Limits { positions_max: 2_000 }).to_string();
}

fn written(history: &flotilla_histcheck::History) -> Vec<u8> {
    let mut lines = Vec::new();
    json::write(history, &mut lines).expect("memory takes it");
    lines
}

/// One line of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let lines = r#"{"client":1,"key":"c","kind":"add","amount":-2,"invoked":1,"returned":2,"outcome":"ok","value":7}
{"client":1,"key":"r","kind":"write","value":"a","invoked":10,"returned":20,"outcome":"ok"}
{"client":2,"key":"r","kind":"write","value":null,"invoked":12,"outcome":"unknown"}
{"client":3,"key":"r","kind":"read","invoked":30,"returned":40,"outcome":"ok","value":null}
{"client":4,"key":"r","kind":"cas","expected":"a","new":5,"invoked":50,"returned":60,"outcome":"ok","swapped":false,"found":"b"}
{"client":4,"key":"s","kind":"set-add","value":"e","invoked":50,"returned":60,"outcome":"ok"}
{"client":4,"key":"s","kind":"set-read","invoked":70,"returned":80,"outcome":"ok","values":["e",1]}
{"at":55,"note":"store 2 is killed"}
"#;
    vec![lines.as_bytes().to_vec()]
}
