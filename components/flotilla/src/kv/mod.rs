//! Commands on single keys and ranges.

mod lines;
mod load;

use std::io::Read as _;

use flotilla_client::{KeyRange, KeyValue};
use serde_json::{Value, json};

pub(crate) use self::load::{dump, load};
use crate::{
    args::{DelArgs, GetArgs, Globals, PutArgs, RangeArgs, ScanArgs},
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

/// `flotilla scan`.
pub(crate) async fn scan(globals: &Globals, args: ScanArgs) -> Result<(), Fault> {
    let range = range(&args.range)?;
    let raw = context::connect(globals).await?.raw();
    if args.count {
        let count = raw.scan(range).count().await?;
        return match globals.output {
            Format::Json => output::print_json("keys", json!({"count": count})),
            Format::Table => output::print(&format!("{count}\n")),
        };
    }
    // One more than is shown tells whether more follow, and which.
    let mut scan = raw.scan(range).limit(args.limit.saturating_add(1));
    if args.reverse {
        scan = scan.reverse();
    }
    if args.keys_only {
        scan = scan.key_only();
    }
    let mut pairs = scan.collect().await?;
    let shown = usize::try_from(args.limit).unwrap_or(usize::MAX).min(pairs.len());
    let next = pairs.drain(shown..).next().map(|pair| pair.key);
    if globals.output == Format::Json {
        let pairs = pairs.iter().map(|pair| scanned(pair, args.keys_only)).collect();
        return output::print_json("pairs", Value::Array(pairs));
    }
    output::print(&pairs_table(&pairs, args.keys_only).render())?;
    if let Some(next) = next {
        let direction = if args.reverse { "down from" } else { "from" };
        let count = pairs.len();
        output::note(&format!("{count} keys, more follow {direction} {}", text::shown(&next)));
    }
    Ok(())
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

fn key(text: &str, is_hex: bool) -> Result<Vec<u8>, Fault> {
    let bytes = if is_hex { text::from_hex(text) } else { text::unescape(text) };
    bytes.map_err(|why| Fault::new(&catalogue::BAD_KEY, format!("{text:?} is no key")).why(why))
}

fn range(args: &RangeArgs) -> Result<KeyRange, Fault> {
    let optional = |text: &Option<String>| {
        text.as_ref().map_or_else(|| Ok(Vec::new()), |text| key(text, args.hex))
    };
    if args.prefix.is_some() {
        let prefix = optional(&args.prefix)?;
        let end = above_prefix(&prefix);
        return Ok(KeyRange::new(prefix, end));
    }
    Ok(KeyRange::new(optional(&args.from)?, optional(&args.to)?))
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
    fn the_end_of_a_prefix() {
        assert_eq!(above_prefix(b"user:"), b"user;");
        assert_eq!(above_prefix(b"a\xff\xff"), b"b");
        assert_eq!(above_prefix(b"\xff"), b"");
        assert_eq!(above_prefix(b""), b"");
    }
}
