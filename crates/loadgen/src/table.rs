//! Many reports as one Markdown table: a row for each measure of a scenario, a column for each server, and one for what
//! the first server is compared with. Several reports of one scenario and server become their median, faults excepted.

use std::fmt::Write;

use crate::measure::{Kind, Measure};
use crate::report::Report;

/// The column of measures that are yardsticks, and the label of servers that are nothing else.
const YARDSTICK: &str = "yardstick";

/// All values of one cell.
struct Cell {
    label: String,
    values: Vec<f64>,
}

/// One measure of one scenario.
struct Row {
    title: String,
    name: &'static str,
    decimals: usize,
    kind: Kind,
    cells: Vec<Cell>,
}

/// The table, with a line for each fault below it.
pub(crate) fn markdown(reports: &[Report]) -> String {
    let (mut columns, mut rows, mut faults) = (Vec::<String>::new(), Vec::<Row>::new(), String::new());
    for report in reports {
        let (title, label) = report.names();
        for measure in report.measures() {
            let label = if measure.is_yardstick { YARDSTICK } else { label };
            if !columns.iter().any(|column| column == label) {
                columns.push(label.to_owned());
            }
            add(&mut rows, title, label, &measure);
        }
        for note in report.notes() {
            let _ = write!(faults, "\n- {note}");
        }
        for fault in report.faults() {
            // A String takes every write.
            let _ = writeln!(faults, "\nFAULT: {title} [{label}]: {fault}");
        }
    }
    columns.sort_by_key(|column| column == YARDSTICK);
    let first = columns.first().cloned().unwrap_or_default();
    let mut text = format!("| scenario | measure | {} | {first} ÷ best other |\n", columns.join(" | "));
    text += &format!("| --- | --- |{}\n", " ---: |".repeat(columns.len() + 1));
    let mut last_title = "";
    for row in &rows {
        let title = if row.title == last_title { "" } else { row.title.as_str() };
        last_title = &row.title;
        let cells = columns.iter().map(|column| row.cell(column)).collect::<Vec<_>>();
        text += &format!("| {title} | {} | {} | {} |\n", row.name, cells.join(" | "), row.ratio(&first));
    }
    text + &faults
}

fn add(rows: &mut Vec<Row>, title: &str, label: &str, measure: &Measure) {
    let found = rows.iter().position(|row| row.title == title && row.name == measure.name);
    let at = found.unwrap_or_else(|| {
        let row = Row {
            title: title.to_owned(),
            name: measure.name,
            decimals: measure.decimals,
            kind: measure.kind,
            cells: Vec::new(),
        };
        // Rows of one scenario stay together, whatever the order of the reports.
        let end = rows.iter().rposition(|row| row.title == title).map_or(rows.len(), |last| last + 1);
        rows.insert(end, row);
        end
    });
    let cells = &mut rows[at].cells;
    match cells.iter_mut().find(|cell| cell.label == label) {
        Some(cell) => cell.values.push(measure.value),
        None => cells.push(Cell { label: label.to_owned(), values: vec![measure.value] }),
    }
}

impl Row {
    fn cell(&self, column: &str) -> String {
        let Some(cell) = self.cells.iter().find(|cell| cell.label == column) else { return String::new() };
        format!("{:.*}", self.decimals, self.value(cell))
    }

    fn value(&self, cell: &Cell) -> f64 {
        match self.kind {
            Kind::Fault => cell.values.iter().copied().fold(f64::MIN, f64::max),
            Kind::Cost | Kind::Yield | Kind::Note => median(&cell.values),
        }
    }

    /// The first server's value as a part of the best other one's.
    fn ratio(&self, first: &str) -> String {
        let (own, others): (Vec<&Cell>, Vec<&Cell>) = self.cells.iter().partition(|cell| cell.label == first);
        let others = others.into_iter().map(|cell| self.value(cell));
        let best = match self.kind {
            Kind::Cost => others.min_by(f64::total_cmp),
            Kind::Yield => others.max_by(f64::total_cmp),
            Kind::Note | Kind::Fault => None,
        };
        match (own.first(), best) {
            (Some(own), Some(best)) if best > 0.0 => format!("{:.2}", self.value(own) / best),
            _ => String::new(),
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::markdown;
    use crate::report::{PollReport, Report};

    fn poll(label: &str, requests_per_second: f64, failed: u64) -> Report {
        Report::Poll(PollReport {
            title: "polls".to_owned(),
            label: label.to_owned(),
            connections: 1,
            rate: 0.0,
            requests: 1,
            requests_per_second,
            failed,
            first_failure: None,
            p50_us: 1500,
            p99_us: 2500,
            server_cpu_us_per_request: None,
        })
    }

    #[test]
    fn rounds_become_their_median_and_the_yardstick_comes_last() {
        let reports = [poll("yardstick", 8.0, 0), poll("slotcast", 3.0, 0), poll("slotcast", 5.0, 0)];
        let table = markdown(&reports);
        assert!(table.starts_with("| scenario | measure | slotcast | yardstick | slotcast ÷ best other |\n"));
        assert!(table.contains(
            "| polls | requests a second | 4 | 8 | 0.50 |\n|  | answer p50, ms | 1.50 | 1.50 | 1.00 |"
        ));
        assert!(!table.contains("FAULT"));
    }

    #[test]
    fn a_fault_is_told_below_the_table() {
        assert!(markdown(&[poll("slotcast", 3.0, 2)]).contains("FAULT: polls [slotcast]: 2 requests failed"));
    }
}
