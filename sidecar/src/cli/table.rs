//! Aligned columns for people.

use std::fmt;

/// A table with N columns.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    lines: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(heads: [&str; N]) -> Self {
        Self { lines: vec![heads.map(str::to_owned)] }
    }

    /// Control characters are shown as `?`: a row may hold what a stranger sent.
    pub(super) fn push(&mut self, cells: [String; N]) {
        self.lines.push(cells.map(|cell| cell.replace(char::is_control, "?")));
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for line in &self.lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &self.lines {
            let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
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
