//! The memory of a syncing node: bounded, and the same for a chain four times as long.

use crate::chains::Served;
use crate::options::Options;
use crate::report::{Report, Row, Target};
use crate::{speed, workloads};

/// The most that a syncing process may use, in MiB.
const MOST_MIB: f64 = 96.0;
/// How much two of them may differ.
const ALIKE: f64 = 1.10;
const LINK: &str = "tcp+postcard";

/// The rows of memory.
pub(crate) async fn measure(options: &Options, report: &mut Report) {
    if !options.wants("memory") {
        return;
    }
    let mut peaks = Vec::new();
    for blocks in workloads::lengths(options) {
        let chain = workloads::empty_blocks(blocks).await;
        peaks.push(add(report, &format!("memory, W1 of {blocks}"), &chain).await);
    }
    add(report, "memory, W3", &workloads::w3(options).await).await;
    let (least, most) = (peaks.iter().copied().fold(f64::MAX, f64::min), peaks.iter().copied().fold(0.0, f64::max));
    let what = format!("a longer chain's peak by a shorter one's: {most:.1} MiB and {least:.1} MiB");
    report.add(Row::new("memory, alike", LINK, &what, most / least, Target::AtMost(ALIKE)));
}

async fn add(report: &mut Report, name: &str, chain: &Served) -> f64 {
    let run = speed::over(chain, LINK).await;
    let what = "MiB at the peak of the syncing process";
    report.add(Row::new(name, LINK, what, run.peak_rss_mib, Target::AtMost(MOST_MIB)).of(&run, None));
    run.peak_rss_mib
}
