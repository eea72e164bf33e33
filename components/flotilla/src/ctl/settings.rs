//! `flotilla ctl settings`.

use flotilla_client::{Admin, ErrorKind, placement::Setting};
use serde_json::{Value, json};

use crate::{
    args::{Globals, SettingsArgs, SettingsCommand},
    catalogue,
    fault::Fault,
    output::{self, Column, Format, Table},
    text,
};

/// `flotilla ctl settings`.
pub(super) async fn run(globals: &Globals, admin: &Admin, args: SettingsArgs) -> Result<(), Fault> {
    let known = admin.settings().await?;
    let values = match args.command {
        None => return show(globals, &known, |setting| !args.changed || is_changed(setting)),
        Some(SettingsCommand::Show { keys }) => {
            let wanted = keys.iter().map(|key| find(&known, key));
            let wanted: Vec<&Setting> = wanted.collect::<Result<_, _>>()?;
            let is_wanted = |setting: &Setting| wanted.is_empty() || wanted.contains(&setting);
            return show(globals, &known, is_wanted);
        }
        Some(SettingsCommand::Set { values }) => paired(&values)?,
        Some(SettingsCommand::Reset { keys }) => keys.into_iter().map(|key| (key, None)).collect(),
    };
    set(globals, admin, &known, values).await
}

type Values = Vec<(String, Option<String>)>;

fn paired(words: &[String]) -> Result<Values, Fault> {
    let pairs = words.chunks(2).map(|pair| match pair {
        [key, value] => Ok((key.clone(), Some(value.clone()))),
        _ => {
            let last = pair.first().map_or("", String::as_str);
            let fault = Fault::new(&catalogue::INVALID_ARGUMENT, format!("{last} has no value"));
            Err(fault
                .why("names and values stand in turn")
                .hint("flotilla ctl settings set --help"))
        }
    });
    pairs.collect()
}

fn is_changed(setting: &Setting) -> bool {
    setting.value != setting.usual
}

fn bare(name: &str) -> &str {
    name.split_once('.').map_or(name, |(_, bare)| bare)
}

fn find<'a>(known: &'a [Setting], key: &str) -> Result<&'a Setting, Fault> {
    let is_it = |setting: &&Setting| setting.name == key || bare(&setting.name) == key;
    known.iter().find(is_it).ok_or_else(|| no_setting(key, near(known, key)))
}

fn no_setting(key: &str, near: Option<&str>) -> Fault {
    let fault = Fault::new(&catalogue::NO_SETTING, format!("there is no setting {key}"));
    let fault =
        near.into_iter().fold(fault, |fault, name| fault.hint(format!("did you mean {name}?")));
    fault.hint("flotilla ctl settings   lists those that there are")
}

/// The one that has most letters in common with `key`, from its begin and from its end.
fn near<'a>(known: &'a [Setting], key: &str) -> Option<&'a str> {
    let wanted = bare(key);
    let shared = |setting: &&Setting| {
        let own = bare(&setting.name);
        let front = own.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
        let back = own.chars().rev().zip(wanted.chars().rev()).take_while(|(a, b)| a == b).count();
        front + back
    };
    let best = known.iter().max_by_key(shared)?;
    (2 * shared(&best) > wanted.chars().count()).then_some(best.name.as_str())
}

async fn set(
    globals: &Globals,
    admin: &Admin,
    known: &[Setting],
    values: Values,
) -> Result<(), Fault> {
    let before = values.iter().map(|(key, _)| find(known, key));
    let before: Vec<Setting> = before.map(|it| it.cloned()).collect::<Result<_, _>>()?;
    if let Err(error) = admin.set_settings(&values).await {
        if error.kind() != ErrorKind::Refused {
            return Err(error.into());
        }
        let hints = before.iter().map(|it| format!("flotilla ctl settings show {}", it.name));
        let named = "no setting was changed".to_owned();
        return Err(Fault::from(error)
            .named(named)
            .advised(&catalogue::BAD_SETTING, hints.collect()));
    }
    let now = admin.settings().await?;
    let value =
        |name: &str| now.iter().find(|it| it.name == name).map_or("", |it| it.value.as_str());
    if globals.output == Format::Json {
        let changed = before
            .iter()
            .map(|old| json!({"name": old.name, "before": old.value, "value": value(&old.name)}));
        return output::print_json("settings", Value::Array(changed.collect()));
    }
    let lines = before.iter().map(|old| {
        format!("{} = {}   was {}\n", old.name, quoted(value(&old.name)), quoted(&old.value))
    });
    output::print(&lines.collect::<String>())?;
    let back = before
        .iter()
        .map(|old| format!(" {} {}", old.name, text::shell_word(old.value.as_bytes())));
    output::note(&format!("back again: flotilla ctl settings set{}", back.collect::<String>()));
    Ok(())
}

/// Nothing is to be seen as well.
fn quoted(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { value.to_owned() }
}

fn show(
    globals: &Globals,
    known: &[Setting],
    is_wanted: impl Fn(&Setting) -> bool,
) -> Result<(), Fault> {
    let wanted: Vec<&Setting> = known.iter().filter(|setting| is_wanted(setting)).collect();
    if globals.output == Format::Json {
        let all = wanted.iter().map(|setting| {
            json!({
                "name": setting.name,
                "value": setting.value,
                "usual": setting.usual,
                "possible": setting.possible,
            })
        });
        return output::print_json("settings", Value::Array(all.collect()));
    }
    if wanted.is_empty() {
        return output::print("all settings are as usual\n");
    }
    const COLUMNS: [Column; 4] = [
        Column::Left("SETTING"),
        Column::Left("VALUE"),
        Column::Left("USUAL"),
        Column::Left("POSSIBLE"),
    ];
    let mut table = Table::new(&COLUMNS);
    for setting in wanted {
        let mark = if is_changed(setting) { "*" } else { "" };
        let cells = [
            &setting.name,
            &format!("{}{mark}", quoted(&setting.value)),
            &quoted(&setting.usual),
            &setting.possible,
        ];
        table.row(cells.map(String::clone).into());
    }
    output::print(&table.render())?;
    if known.iter().any(is_changed) {
        output::note("* is not as usual: flotilla ctl settings reset KEY");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str) -> Setting {
        let text = || "1".to_owned();
        Setting { name: name.to_owned(), value: text(), usual: text(), possible: text() }
    }

    #[test]
    fn names_may_leave_their_section_out_and_be_misspelt() {
        let known = ["replication.max-replicas", "schedule.store-limit"].map(setting);
        assert_eq!(find(&known, "store-limit").expect("known").name, "schedule.store-limit");
        assert_eq!(find(&known, "replication.max-replicas").expect("known"), &known[0]);
        let told = find(&known, "store-limits").expect_err("unknown").to_text();
        for part in ["there is no setting store-limits", "did you mean schedule.store-limit?"] {
            assert!(told.contains(part), "{told}");
        }
        let told = find(&known, "xyz").expect_err("unknown").to_text();
        assert!(!told.contains("did you mean") && told.contains("code FLT-3005"), "{told}");
    }

    #[test]
    fn names_and_values_stand_in_turn() {
        let words =
            |words: &[&str]| paired(&words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        let pair = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        assert_eq!(words(&["a", "1", "b", "2"]).expect("two"), [pair("a", "1"), pair("b", "2")]);
        assert!(words(&["a", "1", "b"]).expect_err("odd").to_text().contains("b has no value"));
    }
}
