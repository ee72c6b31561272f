// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Tables for people.

/// Prints rows in columns as wide as they need; the first row is the heading.
pub fn print(rows: &[Vec<String>]) {
    print!("{}", text(rows));
}

fn text(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A duration as people say it.
pub fn time(nanoseconds: u64) -> String {
    match nanoseconds {
        0 => "-".to_owned(),
        1..10_000 => format!("{:.1} us", nanoseconds as f64 / 1e3),
        10_000..10_000_000 => format!("{} us", nanoseconds / 1000),
        _ => format!("{} ms", nanoseconds / 1_000_000),
    }
}

pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [row(["A", "LONG"]), row(["wide", "x"])];
        assert_eq!(text(&rows), "A     LONG\nwide  x\n");
        assert_eq!((time(85_400), time(1500), time(12_000_000)), ("85 us".into(), "1.5 us".into(), "12 ms".into()));
    }
}
