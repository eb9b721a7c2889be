//! Rows as a table, as JSON and as a chart.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::limit::Limit;
use crate::run::Run;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) workload: String,
    /// Over what; empty where no link has a part in it.
    pub(crate) link: String,
    pub(crate) blocks_per_second: Option<f64>,
    pub(crate) sigs_per_second: Option<f64>,
    /// What it is compared with, in the unit of the ratio's numerator.
    pub(crate) limit: Option<f64>,
    /// The figure that the target is about.
    pub(crate) ratio: f64,
    /// Where it has to be.
    pub(crate) target: String,
    pub(crate) pass: bool,
    pub(crate) peak_rss_mib: Option<f64>,
    pub(crate) cpu_seconds: CpuSeconds,
    /// How long it ran.
    pub(crate) seconds: Option<f64>,
    /// What the ratio is, in words.
    pub(crate) what: String,
}

/// Processor time of both sides.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct CpuSeconds {
    pub(crate) client: Option<f64>,
    pub(crate) server: Option<f64>,
}

/// Where a ratio has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    /// A row about a ratio alone.
    pub(crate) fn new(workload: &str, link: &str, what: &str, ratio: f64, target: Target) -> Self {
        let (target, pass) = match target {
            Target::AtLeast(least) => (format!(">= {least}"), ratio >= least),
            Target::AtMost(most) => (format!("<= {most}"), ratio <= most),
        };
        Self {
            workload: workload.to_owned(),
            link: link.to_owned(),
            blocks_per_second: None,
            sigs_per_second: None,
            limit: None,
            ratio,
            target,
            pass,
            peak_rss_mib: None,
            cpu_seconds: CpuSeconds::default(),
            seconds: None,
            what: what.to_owned(),
        }
    }

    /// With the figures of a sync.
    pub(crate) fn of(mut self, run: &Run, limit: Option<f64>) -> Self {
        self.blocks_per_second = Some(run.blocks_per_second);
        self.sigs_per_second = Some(run.sigs_per_second);
        self.peak_rss_mib = Some(run.peak_rss_mib);
        self.cpu_seconds = CpuSeconds { client: Some(run.client_cpu), server: Some(run.server_cpu) };
        self.seconds = Some(run.seconds);
        self.limit = limit;
        self
    }
}

/// All rows so far. Each is shown as soon as it is there.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Shows and keeps a row.
    pub(crate) fn add(&mut self, row: Row) {
        if self.rows.is_empty() {
            println!(
                "{:<26} {:<14} {:>9} {:>9} {:>9} {:>7} {:>8} {:>4} {:>6} {:>7} {:>7} {:>6}  what",
                "workload", "link", "blocks/s", "sigs/s", "limit", "ratio", "target", "ok", "MiB", "cpu", "server", "s"
            );
        }
        let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        println!(
            "{:<26} {:<14} {:>9} {:>9} {:>9} {:>7.3} {:>8} {:>4} {:>6} {:>7} {:>7} {:>6}  {}",
            row.workload,
            row.link,
            number(row.blocks_per_second, 0),
            number(row.sigs_per_second, 0),
            number(row.limit, 0),
            row.ratio,
            row.target,
            if row.pass { "yes" } else { "NO" },
            number(row.peak_rss_mib, 1),
            number(row.cpu_seconds.client, 2),
            number(row.cpu_seconds.server, 2),
            number(row.seconds, 1),
            row.what,
        );
        self.rows.push(row);
    }

    /// Writes `sync.json` and `sync.svg`, and says where.
    pub(crate) fn write(&self, folder: &Path, limit: &Limit, quick: bool) {
        fs::create_dir_all(folder).unwrap();
        let json = serde_json::json!({
            "limit": {
                "sigs_per_second": limit.sigs_per_second,
                "batch": limit.batch,
                "one_by_one": limit.one_by_one,
                "cores": limit.cores,
            },
            "quick": quick,
            "rows": self.rows,
        });
        let (table, chart) = (folder.join("sync.json"), folder.join("sync.svg"));
        fs::write(&table, serde_json::to_string_pretty(&json).unwrap()).unwrap();
        fs::write(&chart, self.chart()).unwrap();
        let missed = self.rows.iter().filter(|row| !row.pass).count();
        println!("{} of {} targets missed; {} and {}", missed, self.rows.len(), table.display(), chart.display());
    }

    /// How far each row is from its target: a bar that reaches the line is a target held.
    fn chart(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LABELS}\" y=\"24\" font-size=\"16\">Sync: figures against their targets (the line)</text>\n",
            TOP + LINE * self.rows.len() + LINE,
        );
        for (at, row) in self.rows.iter().enumerate() {
            let (y, colour) = (TOP + LINE * at, if row.pass { "#228833" } else { "#ee6677" });
            let text = format!("{} {}", row.workload, row.link);
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{text}</text>\
                 <rect x=\"{LABELS}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" fill=\"#444\">{:.2} ({})</text>",
                LABELS - 8,
                y + 11,
                TARGET * row.reached(),
                LINE - 4,
                6.0 + f64::from(u32::try_from(LABELS).unwrap()) + TARGET * row.reached(),
                y + 11,
                row.ratio,
                row.target.replace('<', "&lt;").replace('>', "&gt;"),
            );
        }
        let (x, bottom) = (f64::from(u32::try_from(LABELS).unwrap()) + TARGET, TOP + LINE * self.rows.len());
        let _ = writeln!(svg, "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"black\"/>", TOP - 6);
        svg.push_str("</svg>\n");
        svg
    }
}

/// Sizes of the chart, in pixels: all of it, the labels at its left, a line of it, what is above, and a target held.
const WIDTH: usize = 900;
const LABELS: usize = 300;
const LINE: usize = 18;
const TOP: usize = 50;
const TARGET: f64 = 260.0;
/// No bar is longer than so many targets.
const LONGEST: f64 = 1.7;

impl Row {
    /// The part of the target that is reached.
    fn reached(&self) -> f64 {
        let target: f64 = self.target.trim_start_matches(['<', '>', '=', ' ']).parse().unwrap();
        let part = if self.target.starts_with('>') { self.ratio / target } else { target / self.ratio };
        part.clamp(0.0, LONGEST)
    }
}
