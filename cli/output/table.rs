//! Tables that fit the terminal. Long cells are cut where their column allows it; then columns are left out. If even that is not enough, each row becomes a block of
//! lines.

use super::style::Style;
use super::text::{EMPTY_CELL, columns, fitted, fitted_in_the_middle, wrapped};
use crate::limits::VALUE_COLUMNS_MIN;

/// Columns between two cells.
const GAP: usize = 2;

/// A column, and what happens to it in a narrow terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    /// Longer cells may be cut to this many columns of the terminal; `None`: never.
    least: Option<usize>,
    /// Whether cells are cut in the middle instead of at their end.
    middle: bool,
    /// The higher, the sooner it is left out; 0: never.
    drop_rank: u8,
}

impl Column {
    pub(crate) const fn new(head: &'static str) -> Self {
        Self { head, least: None, middle: false, drop_rank: 0 }
    }

    /// May be cut to this many columns.
    pub(crate) const fn cut(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }

    /// May be cut to this many columns, in the middle: names often begin alike.
    pub(crate) const fn cut_in_the_middle(self, least: usize) -> Self {
        Self { least: Some(least), middle: true, ..self }
    }

    /// May be left out; columns with a higher rank are left out sooner.
    pub(crate) const fn drop_rank(self, drop_rank: u8) -> Self {
        Self { drop_rank, ..self }
    }
}

impl Column {
    fn fit(&self, text: &str, most: usize) -> String {
        if self.middle { fitted_in_the_middle(text, most) } else { fitted(text, most) }
    }
}

impl From<&'static str> for Column {
    fn from(head: &'static str) -> Self {
        Column::new(head)
    }
}

/// The content of one cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::new(text, Style::Plain)
    }
}

/// A table that is printed in pages. The first page sets the width of its columns.
pub(crate) struct Table {
    columns: Vec<Column>,
    /// The terminal's width; `None`: not a terminal, so the table is as wide as its cells.
    width: Option<usize>,
    coloured: bool,
    layout: Option<Layout>,
}

enum Layout {
    /// Lines; a column without a width is left out.
    Lines { widths: Vec<Option<usize>>, numeric: Vec<bool> },
    /// A block for each row, in a terminal this wide.
    Blocks { width: usize },
}

impl Table {
    pub(super) fn new(columns: Vec<Column>, width: Option<usize>, coloured: bool) -> Self {
        Self { columns, width, coloured, layout: None }
    }

    /// One page of rows as text; the first page begins with the headings.
    pub(super) fn render(&mut self, rows: &[Vec<Cell>]) -> String {
        let begins = self.layout.is_none();
        let layout = self.layout.take().unwrap_or_else(|| self.lay_out(rows));
        let mut text = String::new();
        match &layout {
            Layout::Lines { widths, numeric } => {
                if begins {
                    let heads: Vec<Cell> = self.columns.iter().map(|c| Cell::new(c.head, Style::Head)).collect();
                    text += &self.line(&heads, widths, numeric);
                }
                rows.iter().for_each(|row| text += &self.line(row, widths, numeric));
            }
            Layout::Blocks { width } => {
                for (at, row) in rows.iter().enumerate() {
                    if at > 0 || !begins {
                        text.push('\n');
                    }
                    text += &self.block(row, *width);
                }
            }
        }
        self.layout = Some(layout);
        text
    }

    /// The headings of the columns that were left out.
    pub(super) fn left_out(&self) -> Vec<&'static str> {
        match &self.layout {
            Some(Layout::Lines { widths, .. }) => {
                let left_out =
                    self.columns.iter().zip(widths).filter(|(c, width)| width.is_none() && !c.head.is_empty());
                left_out.map(|(column, _)| column.head).collect()
            }
            _ => Vec::new(),
        }
    }

    fn lay_out(&self, rows: &[Vec<Cell>]) -> Layout {
        let cells = |at: usize| rows.iter().filter_map(move |row| row.get(at)).map(|cell| cell.text.as_str());
        let numeric = (0..self.columns.len())
            .map(|at| cells(at).any(is_number) && cells(at).all(|cell| is_number(cell) || cell == EMPTY_CELL));
        let needed: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| cells(at).map(columns).max().unwrap_or(0).max(columns(column.head)))
            .collect();
        let widths = match self.width {
            None => Some(needed.iter().copied().map(Some).collect()),
            Some(width) => self.fit(&needed, width),
        };
        match (widths, self.width) {
            (None, Some(width)) => Layout::Blocks { width },
            (widths, _) => Layout::Lines { widths: widths.unwrap_or_default(), numeric: numeric.collect() },
        }
    }

    /// Widths that fit, if there are any. Cells are cut first; then columns are left out.
    fn fit(&self, needed: &[usize], width: usize) -> Option<Vec<Option<usize>>> {
        let mut kept: Vec<Option<usize>> = needed.iter().copied().map(Some).collect();
        loop {
            let mut excess = total_width(&kept).saturating_sub(width);
            let mut widths = kept.clone();
            // The widest column that may be cut becomes narrower first.
            while excess > 0 {
                let can_shrink = |at: usize, width: usize| {
                    self.columns[at].least.is_some_and(|least| width > least.max(columns(self.columns[at].head)))
                };
                let widest = widths.iter().enumerate().filter_map(|(at, width)| width.map(|width| (width, at)));
                let Some((width, at)) = widest.filter(|(width, at)| can_shrink(*at, *width)).max() else { break };
                widths[at] = Some(width - 1);
                excess -= 1;
            }
            if excess == 0 {
                return Some(widths);
            }
            let droppable = (0..kept.len()).filter(|at| kept[*at].is_some() && self.columns[*at].drop_rank > 0);
            let first_to_go = droppable.max_by_key(|at| self.columns[*at].drop_rank)?;
            kept[first_to_go] = None;
        }
    }

    fn line(&self, cells: &[Cell], widths: &[Option<usize>], numeric: &[bool]) -> String {
        let mut line = String::new();
        // Blanks are written only when text follows, so that no line ends with blanks.
        let mut blanks = 0;
        let columns_and_cells = self.columns.iter().zip(cells).zip(widths).zip(numeric);
        let shown = columns_and_cells.filter_map(|(((column, c), width), n)| width.map(|width| (column, c, width, n)));
        for (column, cell, width, numeric) in shown {
            // A later page may have a longer cell than the first. It is cut only in a column that allows it.
            let text = match column.least {
                Some(_) if self.width.is_some() => column.fit(&cell.text, width),
                _ => cell.text.clone(),
            };
            let padding = width.saturating_sub(columns(&text));
            let (before, after) = if *numeric { (padding, 0) } else { (0, padding) };
            blanks += before;
            if !text.is_empty() {
                line += &" ".repeat(blanks);
                line += &cell.style.paint(text, self.coloured);
                blanks = 0;
            }
            blanks += after + GAP;
        }
        line.push('\n');
        line
    }

    fn block(&self, cells: &[Cell], width: usize) -> String {
        let filled = self.columns.iter().zip(cells).filter(|(_, cell)| !cell.text.is_empty());
        let lines = filled.map(|(column, cell)| {
            let head = Style::Head.paint(column.head, self.coloured);
            named(if column.head.is_empty() { "" } else { &head }, columns(column.head), cell, width, self.coloured)
        });
        lines.collect()
    }
}

fn total_width(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
}

fn is_number(cell: &str) -> bool {
    !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Named values below a title. In a narrow terminal they are not aligned, and long values stand below their names.
pub(super) fn details(title: &str, values: &[(&str, Cell)], width: Option<usize>, coloured: bool) -> String {
    const INDENT: usize = 2;
    let names = values.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
    let mut text = Style::Head.paint(title, coloured) + "\n";
    for (name, cell) in values {
        let narrow = width.filter(|width| *width < INDENT + names + GAP + VALUE_COLUMNS_MIN);
        let (value, painted) = (cell.style.paint(&cell.text, coloured), Style::Dim.paint(name, coloured));
        text += &match narrow {
            None => format!("  {painted}{}  {value}\n", " ".repeat(names - columns(name))),
            Some(width) => named(&painted, columns(name), cell, width, coloured),
        };
    }
    text
}

/// A value beside its name, or below the name if the two do not fit in one line.
fn named(painted: &str, name_columns: usize, cell: &Cell, width: usize, coloured: bool) -> String {
    let beside = if name_columns == 0 { 0 } else { name_columns + 1 };
    if beside + columns(&cell.text) <= width {
        let blank = if beside == 0 { "" } else { " " };
        return format!("{painted}{blank}{}\n", cell.style.paint(&cell.text, coloured));
    }
    let head = if beside == 0 { String::new() } else { format!("{painted}\n") };
    let lines = wrapped(&cell.text, width).into_iter().map(|line| cell.style.paint(line, coloured) + "\n");
    head + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(columns: &[Column], width: Option<usize>, rows: &[&[&str]]) -> (String, Vec<&'static str>) {
        let rows: Vec<Vec<Cell>> =
            rows.iter().map(|row| row.iter().map(|text| Cell::from((*text).to_owned())).collect()).collect();
        let mut table = Table::new(columns.to_vec(), width, false);
        (table.render(&rows), table.left_out())
    }

    const COLUMNS: [Column; 4] = [
        Column::new("ID"),
        Column::new("KIND").cut(5).drop_rank(1),
        Column::new("N").drop_rank(2),
        Column::new("LAST ERROR").cut(12),
    ];
    const ROWS: [&[&str]; 2] =
        [&["0199d0a1-7c1e", "email.send", "7", "NETWORK_ERROR: no route to example.com"], &["b", "sms", "1200", "-"]];

    #[test]
    fn a_table_lines_up_and_puts_numbers_to_the_right() {
        let (text, _) = render(&["QUEUE".into(), "N".into()], None, &[&["email", "7"], &["sms", "1200"]]);
        assert_eq!(text, "QUEUE     N\nemail     7\nsms    1200\n");
    }

    #[test]
    fn a_table_fits_its_terminal() {
        insta::assert_snapshot!(render(&COLUMNS, None, &ROWS).0, @r"
        ID             KIND           N  LAST ERROR
        0199d0a1-7c1e  email.send     7  NETWORK_ERROR: no route to example.com
        b              sms         1200  -
        ");
        insta::assert_snapshot!(render(&COLUMNS, Some(60), &ROWS).0, @r"
        ID             KIND           N  LAST ERROR
        0199d0a1-7c1e  email.send     7  NETWORK_ERROR: no route to…
        b              sms         1200  -
        ");
        let (text, left_out) = render(&COLUMNS, Some(34), &ROWS);
        insta::assert_snapshot!(text, @r"
        ID             KIND   LAST ERROR
        0199d0a1-7c1e  emai…  NETWORK_ERR…
        b              sms    -
        ");
        assert_eq!(left_out, ["N"]);
        insta::assert_snapshot!(render(&COLUMNS, Some(20), &ROWS).0, @r"
        ID 0199d0a1-7c1e
        KIND email.send
        N 7
        LAST ERROR
        NETWORK_ERROR: no ro
        ute to example.com

        ID b
        KIND sms
        N 1200
        LAST ERROR -
        ");
        for width in 1..120 {
            let (text, _) = render(&COLUMNS, Some(width), &ROWS);
            let widest = text.lines().map(columns).max().unwrap_or(0);
            assert!(widest <= width.max("LAST ERROR".len()), "{widest} in {width}:\n{text}");
        }
    }

    #[test]
    fn later_pages_keep_the_column_widths_of_the_first() {
        let mut table = Table::new(COLUMNS.to_vec(), Some(60), false);
        let row = |id: &str| {
            vec![vec![Cell::from(id.to_owned()), "k".to_owned().into(), "1".to_owned().into(), "-".to_owned().into()]]
        };
        assert_eq!(table.render(&row("a")).lines().count(), 2);
        assert_eq!(table.render(&row("b")), "b   k     1  -\n");
    }

    #[test]
    fn a_later_page_never_cuts_a_cell_of_a_column_that_may_not_be_cut() {
        let mut table =
            Table::new(vec![Column::new("ID"), Column::new("CODE"), Column::new("KIND").cut(5)], Some(20), false);
        let row = |cells: [&str; 3]| vec![cells.map(|cell| Cell::from(cell.to_owned())).to_vec()];
        table.render(&row(["a", "TIMEOUT", "k"]));
        assert_eq!(table.render(&row(["job-12", "NETWORK_ERROR", "email.send"])), "job-12  NETWORK_ERROR  ema…\n");
    }

    #[test]
    fn names_that_differ_at_their_end_do_not_look_alike_when_they_are_cut() {
        let columns = [Column::new("QUEUE").cut_in_the_middle(9), Column::new("N")];
        let (text, _) =
            render(&columns, Some(14), &[&["email-transactional-eu", "1"], &["email-transactional-us", "2"]]);
        assert_eq!(text, "QUEUE        N\nemail…al-eu  1\nemail…al-us  2\n");
    }

    #[test]
    fn details_put_names_above_values_in_a_narrow_terminal() {
        let values = [("kind", Cell::from("email.send".to_owned())), ("max attempts", Cell::from("5".to_owned()))];
        assert_eq!(details("job a", &values, None, false), "job a\n  kind          email.send\n  max attempts  5\n");
        assert_eq!(details("job a", &values, Some(14), false), "job a\nkind\nemail.send\nmax attempts 5\n");
    }
}
