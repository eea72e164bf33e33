//! Results on standard output: tables for people, one JSON object for programs.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, Table as Grid, presets};
use serde_json::{Value, json};

use crate::fault::Fault;

/// The form of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns and units.
    #[default]
    Table,
    /// One object, named after what it holds; sizes in bytes, times in seconds.
    Json,
}

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text, each line with its end.
    pub(crate) fn render(&self) -> String {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        let heading = |column: &Column| match column {
            Column::Left(text) | Column::Right(text) => *text,
        };
        grid.set_header(self.columns.iter().map(heading));
        for row in &self.rows {
            grid.add_row(row);
        }
        for (position, column) in self.columns.iter().enumerate() {
            let Some(cells) = grid.column_mut(position) else { continue };
            cells.set_padding((0, 2));
            if matches!(column, Column::Right(_)) {
                cells.set_cell_alignment(CellAlignment::Right);
            }
        }
        let lines = grid.lines().map(|line| line.trim_end().to_owned() + "\n");
        lines.collect()
    }
}

/// Writes `text` as it is.
pub(crate) fn print(text: &str) -> Result<(), Fault> {
    print_bytes(text.as_bytes())
}

/// Writes `bytes` as they are.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|cause| Fault::io("cannot write the output", &cause))
}

/// Writes `{"schema": …, NOUN: value}`.
pub(crate) fn print_json(noun: &str, value: Value) -> Result<(), Fault> {
    print_json_with(noun, value, &[])
}

/// The same with more beside the value.
pub(crate) fn print_json_with(
    noun: &str,
    value: Value,
    more: &[(&str, Value)],
) -> Result<(), Fault> {
    let mut object = json!({"schema": format!("flotilla.{noun}/0")});
    object[noun] = value;
    for (name, value) in more {
        object[*name] = value.clone();
    }
    print(&format!("{object}\n"))
}

/// A word beside the result, for people only: never mixed with the output.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told when even that fails.
    let _lost = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person sees the output at once.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_no_line_ends_with_blanks() {
        let mut table = Table::new(&[Column::Right("ID"), Column::Left("ADDRESS")]);
        table.row(vec!["1".to_owned(), "a".to_owned()]);
        table.row(vec!["100".to_owned(), String::new()]);
        assert_eq!(table.render(), " ID  ADDRESS\n  1  a\n100\n");
    }
}
