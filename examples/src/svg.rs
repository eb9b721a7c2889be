//! A small chart of bars, written as SVG by hand.

use std::fmt::Write as _;

/// Groups of bars, in per cent.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Stands above.
    pub title: String,
    /// Name and colour of the bars of each group.
    pub series: Vec<(&'static str, &'static str)>,
    /// Name and bars of each group.
    pub groups: Vec<(String, Vec<f64>)>,
}

/// Sizes in pixels.
const LABELS: f64 = 190.0;
const BARS: f64 = 520.0;
const BAR: f64 = 11.0;
const GAP: f64 = 14.0;
const TOP: f64 = 66.0;
const MARGIN: f64 = 56.0;

impl Chart {
    /// The picture.
    pub fn to_svg(&self) -> String {
        let bars = self.groups.iter().flat_map(|(_, bars)| bars);
        // To the next 100 %.
        let most = bars.copied().filter(|bar| bar.is_finite()).fold(100.0, f64::max);
        let most = (most / 100.0).ceil() * 100.0;
        let height = self.groups.iter().map(|(_, bars)| group_height(bars)).sum::<f64>() + TOP + GAP;
        let width = LABELS + BARS + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut svg, LABELS, 20.0, "start", "font-size=\"16\"", &self.title);
        let mut left = LABELS;
        for (name, colour) in &self.series {
            rect(&mut svg, left, 32.0, BAR, colour);
            text(&mut svg, left + BAR + 4.0, 41.0, "start", "", name);
            left += 130.0;
        }
        let steps = 5;
        for step in 0..=steps {
            let share = f64::from(step) / f64::from(steps);
            let x = LABELS + BARS * share;
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
                height - GAP
            );
            text(&mut svg, x, TOP - 6.0, "middle", "fill=\"#666\"", &format!("{:.0} %", most * share));
        }
        let mut y = TOP + GAP / 2.0;
        for (name, bars) in &self.groups {
            text(&mut svg, LABELS - 8.0, y + group_height(bars) / 2.0 - 2.0, "end", "", name);
            for (bar, (_, colour)) in bars.iter().zip(&self.series) {
                let length = if bar.is_finite() { BARS * bar / most } else { 0.0 };
                rect(&mut svg, LABELS, y, length, colour);
                text(&mut svg, LABELS + length + 4.0, y + 9.0, "start", "fill=\"#444\"", &format!("{bar:.0}"));
                y += BAR;
            }
            y += GAP;
        }
        svg.push_str("</svg>\n");
        svg
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
fn group_height(bars: &[f64]) -> f64 {
    bars.len() as f64 * BAR + GAP
}

fn rect(svg: &mut String, x: f64, y: f64, width: f64, colour: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
        BAR - 1.0
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, more: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{text}</text>");
}
