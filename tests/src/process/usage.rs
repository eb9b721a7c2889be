//! What a process takes of the machine, as Linux counts it.

use super::Process;

impl Process {
    /// Memory in use, in KiB; none once it ended.
    pub fn rss_kib(&self) -> Option<u64> {
        self.status_field("VmRSS:")
    }

    /// The most memory it ever used, in KiB; none once it ended.
    pub fn peak_rss_kib(&self) -> Option<u64> {
        self.status_field("VmHWM:")
    }

    /// Processor time used so far, in seconds, until it was waited for.
    pub fn cpu_seconds(&self) -> Option<f64> {
        /// Linux counts process times in hundredths of a second for user space, on every architecture.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let (user, system): (u32, u32) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
        Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
    }

    pub(super) fn status_field(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(field))?.trim().strip_suffix(" kB")?.parse().ok()
    }
}
