//! Finds functions, structs and enums in formatted Rust source, line by line.
//!
//! This is no parser: it relies on rustfmt, which puts the closing brace of an item at the indent of
//! its first line.

/// Something with a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Line of its first word, counted from 1.
    pub line: usize,
}

/// What an item is, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function with a body.
    Function {
        /// Lines between the braces.
        body_lines: usize,
        /// Parameters, `self` not counted.
        parameters: usize,
    },
    /// A struct with named fields.
    Struct {
        /// Its fields.
        fields: usize,
    },
    /// An enum.
    Enum {
        /// Its variants.
        variants: usize,
    },
}

/// The items of `lines`, which are formatted source.
#[must_use]
pub fn items(lines: &[&str]) -> Vec<Item> {
    (0..lines.len()).filter_map(|at| item_at(lines, at)).collect()
}

fn item_at(lines: &[&str], at: usize) -> Option<Item> {
    let line = lines[at];
    let words = without_modifiers(line.trim_start());
    let (keyword, rest) = words.split_once(' ')?;
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let kind = match keyword {
        "fn" => function(lines, at)?,
        "struct" if line.ends_with('{') => {
            Kind::Struct { fields: members(lines, at).filter(|member| is_field(member)).count() }
        }
        "enum" if line.ends_with('{') => {
            Kind::Enum { variants: members(lines, at).filter(|member| is_variant(member)).count() }
        }
        _ => return None,
    };
    Some(Item { kind, name, line: at + 1 })
}

fn without_modifiers(mut words: &str) -> &str {
    loop {
        let shorter = ["pub ", "const ", "async ", "unsafe ", "extern \"C\" "]
            .iter()
            .find_map(|modifier| words.strip_prefix(modifier))
            .or_else(|| words.strip_prefix("pub(")?.split_once(") ").map(|(_, rest)| rest));
        match shorter {
            Some(rest) => words = rest,
            None => return words,
        }
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Where the item that starts at `at` is closed.
fn end_of(lines: &[&str], at: usize) -> Option<usize> {
    let depth = indent(lines[at]);
    let closes = |line: &&str| line.trim_start().starts_with('}') && indent(line) == depth;
    lines[at + 1..].iter().position(closes).map(|offset| at + 1 + offset)
}

fn members<'a>(lines: &'a [&'a str], at: usize) -> impl Iterator<Item = &'a str> {
    let depth = indent(lines[at]) + 4;
    let end = end_of(lines, at).unwrap_or(at + 1);
    let inner = lines[at + 1..end].iter().filter(move |line| indent(line) == depth);
    inner.map(|line| line.trim_start())
}

fn is_field(member: &str) -> bool {
    let starts = without_modifiers(member);
    let name_len = starts.chars().take_while(|c| c.is_alphanumeric() || *c == '_').count();
    name_len > 0 && starts[name_len..].starts_with(':') && !starts[name_len..].starts_with("::")
}

fn is_variant(member: &str) -> bool {
    member.starts_with(|first: char| first.is_ascii_uppercase())
}

fn function(lines: &[&str], at: usize) -> Option<Kind> {
    let depth = indent(lines[at]);
    let ends_signature = |line: &&str| line.ends_with(['{', '}', ';']);
    let last = at + lines[at..].iter().position(ends_signature)?;
    let parameters = parameters(&lines[at..=last].join(" "));
    if !lines[last].ends_with('{') {
        let body_lines = usize::from(lines[last].ends_with('}'));
        return Some(Kind::Function { body_lines, parameters });
    }
    let closes = |line: &&str| line.trim_start().starts_with('}') && indent(line) == depth;
    let body_lines = lines[last + 1..].iter().position(closes)?;
    Some(Kind::Function { body_lines, parameters })
}

/// Parameters of a signature: what stands between commas of the first parentheses behind the name
/// and its generics.
fn parameters(signature: &str) -> usize {
    let signature = signature.replace("->", "  ");
    let after_name = signature.split_once("fn ").map_or("", |(_, rest)| rest);
    let list = parameter_list(after_name);
    let mut depth = 0_i32;
    let is_separator = |c: char| {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' | '>' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    };
    let parts = list.split(is_separator).map(str::trim);
    parts.filter(|part| !part.is_empty() && !is_self(part)).count()
}

/// What the first parentheses outside of generics enclose.
fn parameter_list(after_name: &str) -> &str {
    let (mut angles, mut depth, mut start) = (0_i32, 0_i32, None);
    for (position, c) in after_name.char_indices() {
        match (c, start) {
            ('<', None) => angles += 1,
            ('>', None) => angles -= 1,
            ('(', None) if angles == 0 => start = Some(position + 1),
            ('(', Some(_)) => depth += 1,
            (')', Some(start)) if depth == 0 => return &after_name[start..position],
            (')', Some(_)) => depth -= 1,
            _ => {}
        }
    }
    ""
}

fn is_self(parameter: &str) -> bool {
    parameter.split([' ', ':', '&']).any(|word| word == "self")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
pub(crate) struct Three<T> {
    /// Documented: twice.
    pub one: u8,
    #[serde(default)]
    two: Map<
        u8,
        T,
    >,
    pub(crate) three: std::path::PathBuf,
}

enum Two {
    /// One.
    One,
    Other {
        field: u8,
    },
}

impl Three {
    pub const fn short(&self) {}

    fn long<F: Fn(u8, u8) -> u8>(
        mut self,
        a: &dyn Fn(u8, (u8, u8)) -> Map<u8, u8>,
        b: [u8; 2],
    ) -> Result<(u8, u8), ()> {
        let x = 1;
        match x {
            1 => {}
        }
    }
}

trait T {
    fn declared(a: u8, b: u8);
}
";

    #[test]
    fn sizes_of_a_sample() {
        let lines: Vec<&str> = SAMPLE.lines().collect();
        let found: Vec<(String, Kind)> =
            items(&lines).into_iter().map(|item| (item.name, item.kind)).collect();
        let expected = [
            ("Three", Kind::Struct { fields: 3 }),
            ("Two", Kind::Enum { variants: 2 }),
            ("short", Kind::Function { body_lines: 1, parameters: 0 }),
            ("long", Kind::Function { body_lines: 4, parameters: 2 }),
            ("declared", Kind::Function { body_lines: 0, parameters: 2 }),
        ];
        assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
