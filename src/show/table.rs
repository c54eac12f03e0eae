//! Aligned columns. A row is always one line: too long ones are for the terminal to fold, and for `--json`.

use std::io;

use comfy_table::{Cell, CellAlignment, ContentArrangement, presets};

use crate::show::escape::escaped;
use crate::show::page::{Page, Tone};

/// Rows shown at once. Longer listings are shown in parts, each with its titles, so that the first rows need not wait for the last.
const PART: usize = 1000;

/// A column's title and side.
#[derive(Clone, Copy)]
pub enum Column {
    Text(&'static str),
    Number(&'static str),
}

pub struct Table {
    columns: &'static [Column],
    rows: Vec<(Tone, Vec<String>)>,
}

impl Table {
    pub fn new(columns: &'static [Column]) -> Table {
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row, and shows all of them when there are enough.
    pub fn row(&mut self, page: &mut Page<'_>, tone: Tone, cells: Vec<String>) -> io::Result<()> {
        self.rows.push((tone, cells));
        if self.rows.len() < PART { Ok(()) } else { self.show(page) }
    }

    /// Shows the rows that were not shown yet.
    pub fn show(&mut self, page: &mut Page<'_>) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().map(|column| match column {
            Column::Text(title) => Cell::new(title),
            Column::Number(title) => Cell::new(title).set_alignment(CellAlignment::Right),
        }));
        for (_, cells) in &self.rows {
            table.add_row(cells.iter().zip(self.columns).map(|(text, column)| {
                // Escaped before it is measured; a line break would make two lines of a row.
                let cell = Cell::new(escaped(text));
                match column {
                    Column::Text(_) => cell,
                    Column::Number(_) => cell.set_alignment(CellAlignment::Right),
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let tones = std::iter::once(Tone::Title).chain(self.rows.iter().map(|(tone, _)| *tone));
        for (tone, line) in tones.zip(table.lines()) {
            page.line(tone, line.trim_end())?;
        }
        self.rows.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::page::written;

    const COLUMNS: &[Column] = &[Column::Text("NAME"), Column::Number("SIZE"), Column::Text("WHY")];

    fn cells(cells: [&str; 3]) -> Vec<String> {
        cells.map(str::to_string).to_vec()
    }

    #[test]
    fn columns_are_aligned() {
        let shown = written(|page| {
            let mut table = Table::new(COLUMNS);
            table.row(page, Tone::Plain, cells(["outbound", "7", ""]))?;
            table.row(page, Tone::Bad, cells(["世界", "1234", "a\nb"]))?;
            table.show(page)
        });
        assert_eq!(
            shown,
            "NAME      SIZE  WHY\n\
             outbound     7\n\
             世界      1234  a\\nb\n"
        );
    }

    #[test]
    fn nothing_has_no_titles() {
        assert_eq!(written(|page| Table::new(COLUMNS).show(page)), "");
    }

    #[test]
    fn long_listings_come_in_parts() {
        let shown = written(|page| {
            let mut table = Table::new(COLUMNS);
            for _ in 0..PART + 1 {
                table.row(page, Tone::Plain, cells(["a", "1", "b"]))?;
            }
            table.show(page)
        });
        assert_eq!(shown.lines().count(), PART + 3);
        assert_eq!(shown.lines().filter(|line| line.starts_with("NAME")).count(), 2);
    }
}
