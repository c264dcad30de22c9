//! Text in columns.

/// A table whose first row is its head.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that hold numbers, and so end at the same place.
    right: Vec<usize>,
}

impl Table {
    pub(crate) fn new(head: &[&str], right: &[usize]) -> Self {
        Self { rows: vec![head.iter().map(ToString::to_string).collect()], right: right.to_vec() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                let blanks = " ".repeat(width - cell.chars().count());
                if self.right.contains(&column) {
                    format!("{blanks}{cell}")
                } else {
                    format!("{cell}{blanks}")
                }
            });
            writeln!(f, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
            if index == 0 {
                let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>();
                writeln!(f, "  {}", rule.join("  "))?;
            }
        }
        Ok(())
    }
}

/// Thousands apart, as people read numbers.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The first and last digits of a hash or address.
pub(crate) fn short(hash: impl std::fmt::Display) -> String {
    let text = hash.to_string();
    match (text.get(..8), text.get(text.len().saturating_sub(4)..)) {
        (Some(head), Some(tail)) if text.len() > 14 => format!("{head}…{tail}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["what", "gas"], &[1]);
        table.row(vec!["grant".into(), thousands(98_765)]);
        table.row(vec!["é".into(), thousands(7)]);
        let expected = "  what      gas\n  ─────  ──────\n  grant  98,765\n  é           7\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn numbers_are_grouped() {
        let check = |number, expected: &str| assert_eq!(thousands(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(12_345_678, "12,345,678");
    }
}
