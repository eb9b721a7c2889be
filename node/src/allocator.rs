//! How the system's allocator is asked to behave.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// The variable that glibc reads before `main`: see mallopt(3), `M_MMAP_THRESHOLD`.
    const VARIABLE: &str = "MALLOC_MMAP_THRESHOLD_";
    /// Bytes from which an allocation is a mapping of its own: above most messages, so that the frequent ones stay cheap, and below all
    /// that attackers fill the budget with.
    const THRESHOLD: usize = 256 << 10;

    pub(super) fn give_large_memory_back() {
        if env::var_os(VARIABLE).is_some() {
            return;
        }
        let mut args = env::args_os();
        let (Ok(program), Some(name)) = (env::current_exe(), args.next()) else { return };
        // It comes back only where it fails; then the program goes on as it is.
        let _ = Command::new(program).arg0(name).args(args).env(VARIABLE, THRESHOLD.to_string()).exec();
    }
}

/// Sees to it that the memory of large buffers goes back to the system once they are free. To be called first of all in `main`, before there
/// are threads; the process keeps its id, its arguments and its files.
///
/// glibc raises the size from which it gives memory back with each large buffer that is freed, up to 32 MiB: after the first long frame of a
/// peer it keeps whatever attacks ever made it hold, some 25 MiB more for each of them. It can be told not to only by the environment that a
/// program is started in, so that the program starts itself anew, once. Where `MALLOC_MMAP_THRESHOLD_` is set already, and with other
/// allocators, nothing happens.
pub fn give_large_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::give_large_memory_back();
}
