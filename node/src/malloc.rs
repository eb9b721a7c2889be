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
/// [`run_cli`](crate::run_cli) does this first; a program that starts threads before it calls this before them. Does nothing where there are other threads already, elsewhere than on Linux with glibc, nor what `MALLOC_ARENA_MAX` or
/// `MALLOC_MMAP_THRESHOLD_` say otherwise.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if is_only_thread() {
        if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            set(libc::M_ARENA_MAX, i32::try_from(cores.max(2)).unwrap_or(i32::MAX));
        }
        if std::env::var_os("MALLOC_MMAP_THRESHOLD_").is_none() {
            set(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        }
    }
}

/// Whether the process has no other thread than this one, which alone could start one then. Where that cannot be told, it may have.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn is_only_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// Call it only where [`is_only_thread`] says so.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no crate wraps this call")]
fn set(what: i32, value: i32) {
    // SAFETY: mallopt has no precondition but that no other thread uses the allocator meanwhile, and there is no other thread:
    // `settle`, the only caller, has looked. Where it fails, nothing changes.
    let _ = unsafe { libc::mallopt(what, value) };
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_beside_another_is_not_the_only_one() {
        let (end, ended) = std::sync::mpsc::sync_channel::<()>(0);
        let other = std::thread::spawn(move || ended.recv());
        assert!(!is_only_thread());
        drop(end);
        assert!(other.join().unwrap().is_err());
    }
}
