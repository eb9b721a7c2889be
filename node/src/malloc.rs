//! How the C library manages memory.

/// From so many bytes on an allocation is a mapping of its own, which the system has back once it is freed: above what a sync takes for each
/// batch, since mappings cost it 4 % of its time, and below the large frames that attackers fill the memory with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: i32 = 1 << 20;

/// Limits the arenas of glibc's allocator to one for each core, at least two, and has it give large buffers back.
///
/// Memory is taken by one thread and given back by another here, blocks above all. An arena keeps what was once taken from it, so that
/// with glibc's eight for each core a node of 15 MiB of live memory holds 100 (W1 and W3 of `tests/benches/README.md`). And with each large
/// buffer that is freed glibc raises the size from which it gives memory back, up to 32 MiB: after the first long message of a peer a node
/// under attack keeps some 25 MiB more than it needs (`tests/tests/memory`).
///
/// Must run before there are threads; does nothing elsewhere than on Linux with glibc, nor what `MALLOC_ARENA_MAX` or
/// `MALLOC_MMAP_THRESHOLD_` say otherwise.
pub(crate) fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            set(libc::M_ARENA_MAX, i32::try_from(cores.max(2)).unwrap_or(i32::MAX));
        }
        if std::env::var_os("MALLOC_MMAP_THRESHOLD_").is_none() {
            set(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no crate wraps this call")]
fn set(what: i32, value: i32) {
    // SAFETY: mallopt has no precondition but that no other thread runs it, and there is no other thread yet. Where it
    // fails, nothing changes.
    let _ = unsafe { libc::mallopt(what, value) };
}
