//! Aligned columns for people.

use std::fmt;

/// Lines of cells below their heads.
#[derive(Debug)]
pub(super) struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<'a>(heads: impl IntoIterator<Item = &'a str>) -> Self {
        Self { lines: vec![heads.into_iter().map(str::to_owned).collect()] }
    }

    /// A cell for each head. Control characters are shown as `?`: a row may hold what a stranger sent.
    pub(super) fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().map(|cell| cell.replace(char::is_control, "?")).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = vec![0; self.lines.iter().map(Vec::len).max().unwrap_or_default()];
        for line in &self.lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &self.lines {
            let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_control_character_reaches_the_terminal() {
        let mut table = Table::new(["a", "b"]);
        table.push(["long\u{1b}[31m".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "a          b\nlong?[31m  x\n");
    }
}
