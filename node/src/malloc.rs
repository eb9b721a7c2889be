//! How the C library manages memory.

/// Limits the arenas of glibc's allocator to one for each core, at least two.
///
/// Memory is taken by one thread and given back by another here, blocks above all. An arena keeps what was once taken from it, so that
/// with glibc's eight for each core a node of 15 MiB of live memory holds 100 (W1 and W3 of `tests/benches/README.md`). Must run
/// before there are threads; does nothing elsewhere than on Linux with glibc, or where `MALLOC_ARENA_MAX` is set.
pub(crate) fn limit_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        set_arenas(i32::try_from(cores.max(2)).unwrap_or(i32::MAX));
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no crate wraps this call")]
fn set_arenas(count: i32) {
    // SAFETY: mallopt has no precondition but that no other thread runs it, and there is no other thread yet. Where it
    // fails, nothing changes.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, count) };
}
