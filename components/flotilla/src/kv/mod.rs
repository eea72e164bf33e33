//! Commands on single keys and ranges.

mod lines;
mod load;

use std::io::Read as _;

use flotilla_client::{KeyRange, KeyValue};
use serde_json::{Value, json};

pub(crate) use self::load::{dump, load};
use crate::{
    args::{AddArgs, DelArgs, GetArgs, Globals, PutArgs, RangeArgs, SCAN_LIMIT, ScanArgs},
    catalogue, context,
    fault::Fault,
    output::{self, Column, Format, Table},
    text,
};

/// Characters of a value in a table on a terminal.
const VALUE_CHARACTERS_MAX: usize = 60;

/// `flotilla get`.
pub(crate) async fn get(globals: &Globals, args: GetArgs) -> Result<(), Fault> {
    let key = key(&args.key, args.hex)?;
    let raw = context::connect(globals).await?.raw();
    let Some(value) = raw.get(key.clone()).await? else {
        let text = format!("key not found: {}", text::shown(&key));
        return Err(Fault::new(&catalogue::KEY_NOT_FOUND, text));
    };
    if globals.output == Format::Json {
        return output::print_json("pair", lines::object(&key, &value));
    }
    output::print_bytes(&value)?;
    // Elsewhere the bytes are the value and nothing else.
    if output::is_terminal() { output::print("\n") } else { Ok(()) }
}

/// `flotilla put`.
pub(crate) async fn put(globals: &Globals, args: PutArgs) -> Result<(), Fault> {
    let key = key(&args.key, args.hex)?;
    let value = match args.value {
        Some(value) => value.into_bytes(),
        None => {
            let mut value = Vec::new();
            std::io::stdin()
                .read_to_end(&mut value)
                .map_err(|cause| Fault::io("cannot read the value", &cause))?;
            value
        }
    };
    context::connect(globals).await?.raw().put(key, value).await?;
    done(globals, "put", 1)
}

/// `flotilla del`.
pub(crate) async fn del(globals: &Globals, args: DelArgs) -> Result<(), Fault> {
    let keys = args.keys.iter().map(|text| key(text, args.hex));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let count = keys.len();
    let raw = context::connect(globals).await?.raw();
    raw.batch_delete(keys).await?;
    done(globals, "del", count)
}

/// `flotilla add`.
pub(crate) async fn add(globals: &Globals, args: AddArgs) -> Result<(), Fault> {
    let key = key(&args.key, args.hex)?;
    let sum = context::connect(globals).await?.raw().add(key, args.amount).await?;
    match globals.output {
        Format::Json => output::print_json("sum", json!(sum)),
        Format::Table => output::print(&format!("{sum}\n")),
    }
}

/// `flotilla scan`.
pub(crate) async fn scan(globals: &Globals, args: ScanArgs) -> Result<(), Fault> {
    let range = range(&args.range, "scan")?;
    let raw = context::connect(globals).await?.raw();
    if args.count {
        let count = raw.scan(range).count().await?;
        return match globals.output {
            Format::Json => output::print_json("keys", json!({"count": count})),
            Format::Table => output::print(&format!("{count}\n")),
        };
    }
    // One more than is shown tells whether more follow, and which.
    let mut scan = raw.scan(range.clone()).limit(args.limit.saturating_add(1));
    if args.reverse {
        scan = scan.reverse();
    }
    if args.keys_only {
        scan = scan.key_only();
    }
    let mut pairs = scan.collect().await?;
    let shown = usize::try_from(args.limit).unwrap_or(usize::MAX).min(pairs.len());
    let next = pairs.drain(shown..).next().map(|pair| pair.key);
    let rest = next.map(|next| match (args.reverse, pairs.last()) {
        (true, Some(last)) => KeyRange::new(range.start, last.key.clone()),
        _ => KeyRange::new(next, range.end),
    });
    if globals.output == Format::Json {
        let pairs = pairs.iter().map(|pair| scanned(pair, args.keys_only)).collect();
        let truncated = json!(rest.is_some());
        let rest = rest.as_ref().map_or(Value::Null, rest_json);
        let more = [("truncated", truncated), ("rest", rest)];
        return output::print_json_with("pairs", Value::Array(pairs), &more);
    }
    output::print(&pairs_table(&pairs, args.keys_only).render())?;
    if let Some(rest) = rest {
        let count = text::counted(pairs.len() as u64, "key");
        output::note(&format!(
            "{count}, more follow: {}",
            context::pasted(globals, &continuation(&args, &rest))
        ));
    }
    Ok(())
}

/// The range that was not shown, for `scan FROM --to TO`: in the form that these arguments have.
fn rest_json(rest: &KeyRange) -> Value {
    let (start, end) = (&rest.start, &rest.end);
    json!({
        "from": text::argument(start),
        "to": text::argument(end),
        "from_hex": text::to_hex(start),
        "to_hex": text::to_hex(end),
    })
}

/// The command that goes on where `args` ended; it can be pasted.
fn continuation(args: &ScanArgs, rest: &KeyRange) -> String {
    let mut command = "flotilla scan".to_owned();
    let mut add = |word: &str| {
        command.push(' ');
        command.push_str(word);
    };
    if !rest.start.is_empty() {
        add(&text::shell_word(&rest.start));
    }
    if !rest.end.is_empty() {
        add("--to");
        add(&text::shell_word(&rest.end));
    }
    for (flag, is_set) in [("--reverse", args.reverse), ("--keys-only", args.keys_only)] {
        if is_set {
            add(flag);
        }
    }
    if args.limit != SCAN_LIMIT {
        add("--limit");
        add(&args.limit.to_string());
    }
    command
}

fn scanned(pair: &KeyValue, keys_only: bool) -> Value {
    let mut object = lines::object(&pair.key, &pair.value);
    if let (true, Some(fields)) = (keys_only, object.as_object_mut()) {
        fields.retain(|name, _value| name.starts_with("key"));
    }
    object
}

fn pairs_table(pairs: &[KeyValue], keys_only: bool) -> Table {
    let columns: &[Column] = match keys_only {
        true => &[Column::Left("KEY")],
        false => &[Column::Left("KEY"), Column::Left("VALUE")],
    };
    let characters = if output::is_terminal() { VALUE_CHARACTERS_MAX } else { usize::MAX };
    let mut table = Table::new(columns);
    for KeyValue { key, value } in pairs {
        let mut cells = vec![text::shown(key)];
        if !keys_only {
            cells.push(text::shortened(value, characters));
        }
        table.row(cells);
    }
    table
}

fn done(globals: &Globals, verb: &str, keys: usize) -> Result<(), Fault> {
    match globals.output {
        Format::Json => output::print_json(verb, json!({"keys": keys})),
        Format::Table => Ok(()),
    }
}

/// The bytes of a key as a person writes it.
pub(crate) fn key(text: &str, is_hex: bool) -> Result<Vec<u8>, Fault> {
    let bytes = if is_hex { text::from_hex(text) } else { text::unescape(text) };
    let hint = if is_hex {
        "pairs of digits, e.g. --hex 00ff"
    } else {
        r"write a backslash as \\, and any other byte as \xNN"
    };
    bytes.map_err(|why| {
        let fault = Fault::new(&catalogue::BAD_KEY, format!("{text:?} is no key"));
        fault.why(why).hint(hint)
    })
}

/// The range of keys that `args` of `command` mean.
fn range(args: &RangeArgs, command: &str) -> Result<KeyRange, Fault> {
    let optional = |text: &Option<String>| {
        text.as_ref().map_or_else(|| Ok(Vec::new()), |text| key(text, args.hex))
    };
    if args.prefix.is_some() {
        let prefix = optional(&args.prefix)?;
        let end = above_prefix(&prefix);
        return Ok(KeyRange::new(prefix, end));
    }
    let range = KeyRange::new(optional(&args.from)?, optional(&args.to)?);
    if !range.end.is_empty() && range.start >= range.end {
        let (from, to) = (text::shown(&range.start), text::shown(&range.end));
        let text = format!("there is no key from {from} up to {to}");
        let fault = Fault::new(&catalogue::INVALID_ARGUMENT, text);
        let why = "--to is the first key that is not wanted any more; it has to be above FROM";
        let (start, end) = (text::shell_word(&range.start), text::shell_word(&range.end));
        let hint = match range.start == range.end {
            true => format!("flotilla {command} --prefix {start}"),
            false => format!("flotilla {command} {end} --to {start}"),
        };
        return Err(fault.why(why).hint(hint));
    }
    Ok(range)
}

/// The least key above all that begin with `prefix`; empty where there is none.
fn above_prefix(prefix: &[u8]) -> Vec<u8> {
    let kept = prefix.iter().rposition(|byte| *byte < u8::MAX).map_or(0, |last| last + 1);
    let mut end = prefix[..kept].to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_goes_on_where_it_ended() {
        let range = |from: Option<&str>, to: Option<&str>| RangeArgs {
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            prefix: None,
            hex: false,
        };
        let scan = |reverse, keys_only, limit| ScanArgs {
            range: range(None, None),
            limit,
            reverse,
            keys_only,
            count: false,
        };
        for (args, rest, expected) in [
            (scan(false, false, 100), KeyRange::new("user:3", ""), "flotilla scan user:3"),
            (
                scan(false, true, 7),
                KeyRange::new("user:3", "user;"),
                "flotilla scan user:3 --to 'user;' --keys-only --limit 7",
            ),
            (scan(true, false, 100), KeyRange::new("", "b"), "flotilla scan --to b --reverse"),
        ] {
            assert_eq!(continuation(&args, &rest), expected);
        }
        assert!(super::range(&range(Some("a"), Some("b")), "scan").is_ok());
        for (from, hint) in [
            ("b;", "flotilla kv dump a --to 'b;'"),
            // The same the other way round would be the same.
            ("a", "flotilla kv dump --prefix a"),
        ] {
            let empty = super::range(&range(Some(from), Some("a")), "kv dump");
            let text = empty.expect_err("no key is in it").to_text();
            assert!(text.contains(&format!("  try  {hint}\n")), "{text}");
        }
    }

    /// A program passes on what it was told, whatever the keys are made of.
    #[test]
    fn what_is_left_is_told_in_the_form_of_the_arguments() {
        for (bytes, argument) in [
            (b"user:1".as_slice(), "user:1"),
            (b"a\\b", r"a\\b"),
            (b"\xff\0", r"\xff\x00"),
            (b"-5", r"\x2d5"),
            (b"", ""),
        ] {
            let rest = rest_json(&KeyRange::new(bytes.to_vec(), ""));
            assert_eq!((&rest["from"], &rest["to"]), (&argument.into(), &"".into()));
            assert_eq!(key(argument, false).expect("a key"), bytes);
        }
    }

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(above_prefix(b"user:"), b"user;");
        assert_eq!(above_prefix(b"a\xff\xff"), b"b");
        assert_eq!(above_prefix(b"\xff"), b"");
        assert_eq!(above_prefix(b""), b"");
    }
}
