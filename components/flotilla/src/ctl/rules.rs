//! `flotilla ctl rules`: placement rules, in the form of the public protocol.

use std::{io::Read as _, path::Path};

use flotilla_client::{Admin, ErrorKind, plan::Supposed};
use serde_json::{Value, json};

use super::{
    confirm::{Plan, confirm},
    plan::heading,
};
use crate::{
    args::{Globals, RulesArgs, RulesCommand},
    catalogue,
    fault::Fault,
    output::{self, Column, Format, Table},
    text,
};

/// Bytes of a file of rules at most.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Characters of a border in a table.
const BORDER_CHARACTERS_MAX: usize = 30;

/// `flotilla ctl rules`.
pub(super) async fn run(globals: &Globals, admin: &Admin, args: RulesArgs) -> Result<(), Fault> {
    let known = rules(admin).await?;
    let (operations, yes, command) = match args.command {
        None => return list(globals, &known),
        Some(RulesCommand::Set { file, yes }) => {
            let name = file.display().to_string();
            let command = format!("flotilla ctl rules set {} --yes", text::quoted(&name));
            (operations(&name, &read(&file)?)?, yes, command)
        }
        Some(RulesCommand::Delete { group, id, yes }) => {
            if !known.iter().any(|rule| rule["group_id"] == group && rule["id"] == id) {
                return Err(no_rule(&group, &id));
            }
            let words = [&group, &id].map(|word| text::quoted(word)).join(" ");
            let operation = json!({"group_id": group, "id": id, "action": "del"});
            (vec![operation], yes, format!("flotilla ctl rules delete {words} --yes"))
        }
    };
    change(globals, admin, &operations, (yes, command)).await
}

async fn rules(admin: &Admin) -> Result<Vec<Value>, Fault> {
    let rules = admin.rules().await?;
    serde_json::from_str(&rules).map_err(|error| {
        Fault::new(&catalogue::INTERNAL, "the placement driver lists rules that cannot be read")
            .why(error.to_string())
    })
}

fn no_rule(group: &str, id: &str) -> Fault {
    Fault::new(&catalogue::NO_RULE, format!("there is no placement rule {group}/{id}"))
        .why("no rule has this name")
        .hint("flotilla ctl rules   lists those that there are")
}

fn read(file: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    let is_input = file.as_os_str() == "-";
    let done = if is_input {
        std::io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        let opened = std::fs::File::open(file);
        opened.and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text))
    };
    done.map_err(|cause| Fault::io(format!("cannot read {}", file.display()), &cause))?;
    Ok(text)
}

/// The rules of a file, in the form in which they are sent.
pub(super) fn wire(file: &Path) -> Result<String, Fault> {
    let name = file.display().to_string();
    Ok(json!(operations(&name, &read(file)?)?).to_string())
}

/// The rules of a file: one, or a list.
fn operations(name: &str, text: &str) -> Result<Vec<Value>, Fault> {
    let malformed = |why: String| {
        Fault::new(&catalogue::BAD_RULE, "no placement rule was changed")
            .why(format!("{name} holds no rules: {why}"))
            .hint("flotilla ctl rules set --help   says what is possible")
            .hint("flotilla ctl rules -o json   shows those that there are")
    };
    let read: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    match read {
        Value::Array(rules) if rules.is_empty() => Err(malformed("the list is empty".to_owned())),
        Value::Array(rules) => Ok(rules),
        // As it is listed.
        Value::Object(mut object) => match object.get_mut("rules").map(Value::take) {
            Some(Value::Array(rules)) if !rules.is_empty() => Ok(rules),
            Some(_) => Err(malformed("\"rules\" is no list of them".to_owned())),
            None => Ok(vec![Value::Object(object)]),
        },
        _ => Err(malformed("an object or a list of objects is needed".to_owned())),
    }
}

async fn change(
    globals: &Globals,
    admin: &Admin,
    operations: &[Value],
    (yes, command): (bool, String),
) -> Result<(), Fault> {
    let wire = json!(operations).to_string();
    if !yes {
        let supposed = Supposed { rule_operations: wire.clone(), ..Supposed::default() };
        let outlook = admin.plan(&supposed).await.map_err(refused)?;
        let mut cost = heading(&outlook).trim_end().to_owned();
        if let Some((region, why)) = outlook.stuck.first() {
            let stuck = text::counted(outlook.stuck_regions, "region");
            cost.push_str(&format!("; {stuck} would stay as they are: region {region}: {why}"));
        }
        let hints = vec![command, "flotilla ctl rules   lists the rules as they are".to_owned()];
        confirm(globals, Plan { what: consequence(operations), cost, hints })?;
    }
    admin.change_rules(&wire).await.map_err(refused)?;
    let now = rules(admin).await?;
    if globals.output == Format::Json {
        return output::print_json("rules", Value::Array(now));
    }
    output::print(&format!("{}\n", told(operations)))?;
    output::note(
        "how it goes on: flotilla ctl status; what is done to regions: flotilla ctl operators",
    );
    Ok(())
}

fn refused(error: flotilla_client::Error) -> Fault {
    if error.kind() != ErrorKind::Refused {
        return error.into();
    }
    let hints = [
        "flotilla ctl rules -o json   shows those that there are",
        "flotilla ctl stores   shows the labels of stores",
    ];
    let fault = Fault::from(error).named("no placement rule was changed".to_owned());
    fault.advised(&catalogue::BAD_RULE, hints.map(str::to_owned).into())
}

fn name(rule: &Value) -> String {
    let word = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", word("group_id"), word("id"))
}

fn named(operations: &[Value], is_deleted: bool) -> Vec<String> {
    let is_it = |rule: &&Value| (rule["action"] == "del") == is_deleted;
    operations.iter().filter(is_it).map(name).collect()
}

/// What is to be done, as a sentence.
fn consequence(operations: &[Value]) -> String {
    let (put, deleted) = (named(operations, false), named(operations, true));
    let part = |names: &[String], verb: &str| {
        let be = if names.len() == 1 { "is" } else { "are" };
        (!names.is_empty()).then(|| format!("{} {be} to be {verb}", names.join(", ")))
    };
    let parts: Vec<String> =
        [part(&put, "set"), part(&deleted, "deleted")].into_iter().flatten().collect();
    format!("placement rules change: {}", parts.join("; "))
}

fn told(operations: &[Value]) -> String {
    let (put, deleted) = (named(operations, false), named(operations, true));
    let part = |names: &[String], verb: &str| {
        (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")))
    };
    let parts: Vec<String> =
        [part(&put, "set"), part(&deleted, "deleted")].into_iter().flatten().collect();
    parts.join("; ")
}

fn list(globals: &Globals, rules: &[Value]) -> Result<(), Fault> {
    if globals.output == Format::Json {
        return output::print_json("rules", json!(rules));
    }
    output::print(&table(rules))
}

fn table(rules: &[Value]) -> String {
    const COLUMNS: [Column; 7] = [
        Column::Left("RULE"),
        Column::Left("ROLE"),
        Column::Right("COUNT"),
        Column::Left("START"),
        Column::Left("END"),
        Column::Left("STORES"),
        Column::Left("APART"),
    ];
    let mut table = Table::new(&COLUMNS);
    for rule in rules {
        let word = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
        let border = |field: &str| {
            let key = text::from_hex(&word(field)).unwrap_or_default();
            text::shortened(&key, BORDER_CHARACTERS_MAX)
        };
        let constraints = rule["label_constraints"].as_array().into_iter().flatten();
        let constraints: Vec<String> = constraints.map(constraint).collect();
        let constraints = match constraints.join(", ") {
            none if none.is_empty() => "any".to_owned(),
            some => some,
        };
        let marks = if rule["override"] == true { " (override)" } else { "" };
        table.row(vec![
            format!("{}{marks}", name(rule)),
            word("role"),
            rule["count"].to_string(),
            border("start_key"),
            border("end_key"),
            constraints,
            apart(rule),
        ]);
    }
    table.render()
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn constraint(constraint: &Value) -> String {
    let word = |field: &str| constraint[field].as_str().unwrap_or_default();
    let values = words(&constraint["values"]).join(" ");
    format!("{} {} {values}", word("key"), word("op")).trim_end().to_owned()
}

/// In which kinds of places replicas are apart; the one with a mark without exception.
fn apart(rule: &Value) -> String {
    let level = rule["isolation_level"].as_str().unwrap_or_default();
    let mark = |kind: &&str| if *kind == level { format!("{kind}!") } else { (*kind).to_owned() };
    let kinds: Vec<String> = words(&rule["location_labels"]).iter().map(mark).collect();
    if kinds.is_empty() { "-".to_owned() } else { kinds.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_rule_or_a_list_or_what_was_listed() {
        let read = |text: &str| operations("f", text).map(|it| it.len()).map_err(|it| it.to_text());
        assert_eq!(read(r#"{"group_id": "a", "id": "b"}"#), Ok(1));
        assert_eq!(read(r#"[{"id": "a"}, {"id": "b"}]"#), Ok(2));
        assert_eq!(read(r#"{"schema": "flotilla.rules/0", "rules": [{"id": "a"}]}"#), Ok(1));
        for (text, part) in [
            ("[]", "the list is empty"),
            ("7", "an object or a list"),
            ("{", "f holds no rules: EOF"),
            (r#"{"rules": 7}"#, "no list of them"),
        ] {
            let told = read(text).expect_err(text);
            assert!(told.contains(part) && told.contains("FLT-3008"), "no {part} in {told}");
        }
    }

    #[test]
    fn rules_are_told_in_a_line_each() {
        let rules = [
            json!({"group_id": "pd", "id": "default", "role": "voter", "count": 3, "start_key": "", "end_key": ""}),
            json!({
                "group_id": "a", "id": "b", "role": "learner", "count": 1, "start_key": "6B", "end_key": "6C",
                "override": true, "location_labels": ["zone", "host"], "isolation_level": "zone",
                "label_constraints": [{"key": "disk", "op": "in", "values": ["ssd"]}, {"key": "x", "op": "exists"}],
            }),
        ];
        let table = table(&rules);
        for part in [
            "pd/default",
            "any",
            "a/b (override)",
            "k      l",
            "disk in ssd, x exists",
            "zone!,host",
        ] {
            assert!(table.contains(part), "no {part} in\n{table}");
        }
        let operations = [rules[0].clone(), json!({"group_id": "a", "id": "b", "action": "del"})];
        assert_eq!(told(&operations), "set pd/default; deleted a/b");
        let told = "placement rules change: pd/default is to be set; a/b is to be deleted";
        assert_eq!(consequence(&operations), told);
    }
}
