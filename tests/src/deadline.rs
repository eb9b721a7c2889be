//! Waiting, never longer than said.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long to pause between two looks at something that sends no event (a socket table, a status of another process).
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What `future` yields, if it does within `limit`.
///
/// # Panics
/// It does not: the panic names `what` was awaited.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(limit, future).await;
    outcome.unwrap_or_else(|_| panic!("waited {limit:?} in vain for {what}"))
}

/// What `look` finds, looking again and again for at most `limit`.
///
/// # Panics
/// It finds nothing: the panic names `what` was awaited.
pub async fn until<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
