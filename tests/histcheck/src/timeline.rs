//! Draws a witness: one line an operation, time from left to right.
//!
//! Columns are moments in their order, not in proportion: a pause of a minute and one of a microsecond
//! are equally wide. The exact times stand at the end of the lines.

use std::fmt;

use flotilla_base::Moment;

use crate::operation::{Operation, content};
use crate::witness::{Start, Witness};

/// Operations of one picture; what is earlier is only counted.
const LINES_MAX: usize = 40;

/// Characters between two moments.
const STEP: usize = 3;

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {}: {}", self.key, self.anomaly)?;
        for line in &self.explanation {
            writeln!(f, "  {line}")?;
        }
        writeln!(f)?;
        if let Some(Start { at, contents }) = &self.start {
            let contents: Vec<String> = contents.iter().map(|it| content(it.as_ref())).collect();
            writeln!(f, "  until {} everything can be explained;", millis(*at))?;
            writeln!(f, "  the key then held {}", contents.join(" or "))?;
        }
        let hidden = self.operations.len().saturating_sub(LINES_MAX);
        if hidden > 0 {
            writeln!(f, "  … and {hidden} earlier operations")?;
        }
        Picture::of(self, &self.operations[hidden..]).draw(f)
    }
}

struct Line {
    head: String,
    /// From when to when; a note has one moment.
    bar: (Moment, Option<Moment>),
    tail: String,
}

struct Picture {
    lines: Vec<Line>,
    /// Every moment of the lines, in order.
    moments: Vec<Moment>,
}

impl Picture {
    fn of(witness: &Witness, operations: &[Operation]) -> Self {
        let mut lines: Vec<Line> = operations.iter().map(Line::of).collect();
        let begin = lines.first().map_or(Moment(0), |line| line.bar.0);
        lines.extend(witness.notes.iter().filter(|note| note.at >= begin).map(|note| Line {
            head: note.text.clone(),
            bar: (note.at, None),
            tail: millis(note.at),
        }));
        lines.sort_by_key(|line| line.bar.0);
        let ends = lines.iter().flat_map(|line| [Some(line.bar.0), line.bar.1]);
        let mut moments: Vec<Moment> = ends.flatten().collect();
        moments.sort_unstable();
        moments.dedup();
        Self { lines, moments }
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|line| line.head.chars().count()).max().unwrap_or(0);
        let column = |moment| STEP * self.moments.partition_point(|known| *known < moment);
        let right = STEP * self.moments.len();
        for Line { head, bar: (begin, end), tail } in &self.lines {
            let left = column(*begin);
            let bar = match end {
                None => "╎".to_owned(),
                Some(Moment::NEVER) => format!("├{}▷", "─".repeat(right - left - 2)),
                Some(end) if end == begin => "│".to_owned(),
                Some(end) => format!("├{}┤", "─".repeat(column(*end) - left - 1)),
            };
            let bar = format!("{}{bar}", " ".repeat(left));
            writeln!(f, "  {head:width$}  {bar:right$}  {tail}")?;
        }
        Ok(())
    }
}

impl Line {
    fn of(operation: &Operation) -> Self {
        let Operation { client, invoked, returned, .. } = operation;
        let end = if *returned == Moment::NEVER { "…".to_owned() } else { millis(*returned) };
        Self {
            head: format!("client {client}  {operation}"),
            bar: (*invoked, Some(*returned)),
            tail: format!("{} – {end}", millis(*invoked)),
        }
    }
}

/// A moment to the nanosecond: clocks of histories are compared, not rounded.
fn millis(moment: Moment) -> String {
    format!("{}.{:06} ms", moment.0 / 1_000_000, moment.0 % 1_000_000)
}
