//! Text for people: names with values, and rows in columns.

/// Names and values, one pair a line.
pub(super) fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = pairs.iter().map(|(name, value)| format!("{name:width$}  {}", plain(value))).collect();
    lines.join("\n") + "\n"
}

/// Rows under a heading.
pub(crate) fn rows<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut all = vec![heading.map(str::to_owned)];
    all.extend(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &all {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Text that cannot steer the terminal, whatever a node says.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let text = rows(["a", "long"], [["1".into(), "x".into()], ["22\u{1b}[2J".into(), String::new()]]);
        assert_eq!(text, "a       long\n1       x\n22\u{fffd}[2J\n");
        assert_eq!(fields([("height", "5".to_owned()), ("x", "a\nb".to_owned())]), "height  5\nx       a\u{fffd}b\n");
    }
}
