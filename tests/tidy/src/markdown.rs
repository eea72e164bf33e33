//! Links and tables of Markdown files.

/// The targets of all links and images outside of code.
#[must_use]
pub fn links(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        // Every second part of a line split at back ticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        let mut parts = prose.split("](");
        parts.next();
        let ends = parts.filter_map(|part| part.split_once(')'));
        targets.extend(ends.map(|(target, _)| target.trim().to_owned()));
    }
    targets
}

/// The cells of the first table in `text`, without heading.
#[must_use]
pub fn table(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_sample() {
        let text = "[a](b.md) and ![c](d.png#e)\n```\n[no](code)\n```\n`[no](code)` [f](https://g)";
        assert_eq!(links(text), ["b.md", "d.png#e", "https://g"]);
    }

    #[test]
    fn table_of_a_sample() {
        let text = "prose\n\n| a | b |\n|---|---|\n| 1 | x, y |\n| 2 | – |\n\nprose | prose\n";
        assert_eq!(table(text), [["1", "x, y"], ["2", "–"]]);
    }
}
