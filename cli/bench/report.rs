//! The table of results: per metric the median of all rounds on each side, and the spread of ReTraced's rounds.

use super::figures::Record;
use super::side::Side;

/// The figures of all rounds.
#[derive(Default)]
pub(super) struct Report(Vec<Line>);

/// One metric of one measurement.
#[derive(Debug)]
struct Line {
    /// The index of its measurement, by which lines are sorted.
    measurement: usize,
    metric: String,
    unit: String,
    jobs: u64,
    /// The concurrency on ReTraced's side.
    concurrency: u64,
    /// One value per round.
    retraced: Vec<f64>,
    floor: Vec<f64>,
}

/// A line with the medians of its rounds, as it is printed.
#[derive(Debug, PartialEq, serde::Serialize)]
pub(super) struct Row {
    pub(super) metric: String,
    pub(super) unit: String,
    pub(super) jobs: u64,
    pub(super) concurrency: u64,
    /// The median.
    pub(super) retraced: f64,
    /// The distance between ReTraced's lowest and highest round, in percent of the median.
    pub(super) spread: f64,
    pub(super) floor: Option<f64>,
    /// ReTraced ÷ floor.
    pub(super) ratio: Option<f64>,
}

impl Report {
    pub(super) fn add(&mut self, measurement: usize, side: Side, record: &Record) {
        let same = |line: &Line| line.measurement == measurement && line.metric == record.metric;
        let at = self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(Line {
                measurement,
                metric: record.metric.clone(),
                unit: record.unit.clone(),
                jobs: record.jobs,
                concurrency: 0,
                retraced: Vec::new(),
                floor: Vec::new(),
            });
            self.0.len() - 1
        });
        let Some(line) = self.0.get_mut(at) else { return };
        match side {
            Side::Retraced => {
                line.concurrency = record.concurrency;
                line.retraced.push(record.value);
            }
            Side::Floor => line.floor.push(record.value),
        }
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let mut lines: Vec<&Line> = self.0.iter().collect();
        lines.sort_by_key(|line| line.measurement);
        lines.into_iter().filter_map(Line::row).collect()
    }
}

impl Line {
    fn row(&self) -> Option<Row> {
        let retraced = median(&self.retraced)?;
        let floor = median(&self.floor);
        let (least, most) =
            self.retraced.iter().fold((f64::MAX, f64::MIN), |(least, most), v| (least.min(*v), most.max(*v)));
        Some(Row {
            metric: self.metric.clone(),
            unit: self.unit.clone(),
            jobs: self.jobs,
            concurrency: self.concurrency,
            retraced,
            spread: if retraced > 0.0 { (most - least) / retraced * 100.0 } else { 0.0 },
            floor,
            ratio: floor.filter(|floor| *floor > 0.0).map(|floor| retraced / floor),
        })
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => None,
        0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

impl Row {
    /// The headings of the cells.
    pub(super) fn headings(with_floor: bool) -> Vec<&'static str> {
        let mut headings = vec!["METRIC", "CONCURRENCY", "JOBS", "RETRACED", "SPREAD %"];
        if with_floor {
            headings.extend(["FLOOR", "RATIO"]);
        }
        headings.push("UNIT");
        headings
    }

    pub(super) fn cells(&self, with_floor: bool) -> Vec<String> {
        let mut cells = vec![
            self.metric.clone(),
            self.concurrency.to_string(),
            self.jobs.to_string(),
            shown(self.retraced),
            format!("{:.0}", self.spread),
        ];
        if with_floor {
            cells.push(self.floor.map_or_else(|| "-".into(), shown));
            cells.push(self.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")));
        }
        cells.push(self.unit.clone());
        cells
    }
}

/// With two decimals below 10, one below 100, and none above.
fn shown(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A Markdown table with numbers aligned to the right.
pub(super) fn markdown(rows: &[Row], with_floor: bool) -> String {
    let headings = Row::headings(with_floor);
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = headings.iter().map(|heading| if matches!(*heading, "METRIC" | "UNIT") { "---" } else { "--:" });
    let mut text = line(headings.iter().map(|heading| heading.to_lowercase()).collect());
    text += &format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    rows.iter().for_each(|row| {
        let mut cells = row.cells(with_floor);
        cells.iter_mut().take(1).for_each(|metric| *metric = format!("`{metric}`"));
        text += &line(cells);
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(metric: &str, value: f64, concurrency: u64) -> Record {
        Record { peer: String::new(), metric: metric.into(), value, unit: "jobs/s".into(), jobs: 500, concurrency }
    }

    fn report() -> Report {
        let mut report = Report::default();
        for (retraced, floor) in [(90_000.0, 200_000.0), (100_000.0, 190_000.0), (110_000.0, 230_000.0)] {
            report.add(1, Side::Floor, &record("drain", floor, 4));
            report.add(1, Side::Retraced, &record("drain", retraced, 100));
        }
        report.add(0, Side::Retraced, &record("drain", 7.126, 1));
        report
    }

    #[test]
    fn a_row_has_the_medians_of_both_sides_in_one_measurement() {
        let rows = report().rows();
        let lines: Vec<_> = rows.iter().map(|row| row.cells(true).join(" ")).collect();
        assert_eq!(lines, ["drain 1 500 7.13 0 - - jobs/s", "drain 100 500 100000 20 200000 0.50 jobs/s"]);
    }

    #[test]
    fn the_markdown_table_has_numbers_aligned_to_the_right() {
        let text = markdown(&report().rows(), false);
        let expected = "\
            | metric | concurrency | jobs | retraced | spread % | unit |\n\
            |---|--:|--:|--:|--:|---|\n\
            | `drain` | 1 | 500 | 7.13 | 0 | jobs/s |\n\
            | `drain` | 100 | 500 | 100000 | 20 | jobs/s |\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
