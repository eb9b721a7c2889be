//! Processes on disks that are full or cannot be written to, and with little memory.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;

use super::{Call, Process};

impl Call {
    /// The same, started by another program that ends in it, such as `sh -c 'exec "$0" "$@"'`.
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        let rest = wrapper[1..].iter().map(OsString::from).chain([self.binary.into_os_string()]);
        self.args.splice(..0, rest);
        self.binary = wrapper[0].into();
        self
    }

    /// The same where no file can be written beyond `kib` KiB, as on a full disk: see [`Process::limit_files`].
    pub fn with_files_up_to(self, kib: u64) -> Self {
        // The shell counts in 512 bytes. The signal that comes with it the node must take for no more than a write that failed.
        let script = format!("ulimit -S -f {}; exec \"$0\" \"$@\"", kib * 2);
        self.through(&["sh", "-c", &script])
    }

    /// The same without the power of root to write where permissions forbid it.
    pub fn bound_by_permissions(self) -> Self {
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            return self;
        }
        self.through(&["setpriv", "--bounding-set=-dac_override,-dac_read_search"])
    }
}

impl Process {
    /// From now on no file can be written beyond `kib` KiB, or without a limit. Of a process that was started
    /// [with such a limit](Call::with_files_up_to).
    pub fn limit_files(&self, kib: Option<u64>) {
        let limit = kib.map_or_else(|| "unlimited".to_owned(), |kib| (kib * 1024).to_string());
        self.limit(&format!("--fsize={limit}:"));
    }

    /// Memory that it has reserved, used or not, in KiB.
    pub fn reserved_kib(&self) -> u64 {
        self.status_field("VmData:").expect("it runs")
    }

    /// From now on it may reserve `kib` KiB of memory more than it has, used or not; asking for more ends it.
    pub fn limit_memory_to(&self, kib: u64) {
        let most = (self.reserved_kib() + kib) * 1024;
        self.limit(&format!("--data={most}:"));
    }

    fn limit(&self, limit: &str) {
        let args = ["--pid", &self.pid.to_string(), limit];
        let status = std::process::Command::new("prlimit").args(args).status().unwrap();
        assert!(status.success(), "prlimit {limit} of {}", self.pid);
    }
}
