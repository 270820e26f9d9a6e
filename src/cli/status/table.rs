//! Columns that fit a width.

/// A column: its title, the side at which its cells begin, and how early it is left out where there is no room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) side: Side,
    /// Those with the largest number go first; 0 stays.
    pub(super) expendable: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

pub(super) const fn left(title: &'static str, expendable: u8) -> Column {
    Column { title, side: Side::Left, expendable }
}

pub(super) const fn right(title: &'static str, expendable: u8) -> Column {
    Column { title, side: Side::Right, expendable }
}

const GAP: usize = 2;

/// The lines of a table, the titles first. Columns for which there is no room are left out; what is still too long is cut.
pub(super) fn lines(columns: &[Column], rows: &[Vec<String>], width: usize) -> Vec<String> {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let cells = rows.iter().map(|row| row[index].chars().count());
            cells.chain([column.title.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let needed = |shown: &[usize]| {
        shown.iter().map(|&index| widths[index] + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while needed(&shown) > width
        && let Some(worst) = shown.iter().copied().max_by_key(|&index| columns[index].expendable)
        && columns[worst].expendable > 0
    {
        shown.retain(|&index| index != worst);
    }
    let line = |cell: &dyn Fn(usize) -> String| {
        let mut line = String::new();
        for &index in &shown {
            let (text, width) = (cell(index), widths[index]);
            let text = match columns[index].side {
                Side::Left => format!("{text:<width$}"),
                Side::Right => format!("{text:>width$}"),
            };
            line.push_str(&text);
            line.push_str(&" ".repeat(GAP));
        }
        cut(line.trim_end(), width)
    };
    let titles = line(&|index| columns[index].title.to_owned());
    let rows = rows.iter().map(|row| line(&|index| row[index].clone()));
    std::iter::once(titles).chain(rows).collect()
}

/// The beginning of a line that is too long.
pub(super) fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let beginning: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{beginning}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_left_out_until_the_rest_fits() {
        let columns = [left("NAME", 0), right("FRAMES", 1), left("STATE", 2)];
        let rows = [["one", "1,000", "open"], ["another", "2", "half-closed"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            lines(&columns, &rows, 80),
            ["NAME     FRAMES  STATE", "one       1,000  open", "another       2  half-closed"]
        );
        assert_eq!(
            lines(&columns, &rows, 26),
            ["NAME     FRAMES", "one       1,000", "another       2"]
        );
        assert_eq!(lines(&columns, &rows, 14), ["NAME", "one", "another"]);
        assert_eq!(lines(&columns, &rows, 5), ["NAME", "one", "anot…"]);
    }
}
