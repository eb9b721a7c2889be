//! A TCP proxy with a token bucket: a slow line to a fast server.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How much is passed on at a time, in bytes: at slow rates small, so that bytes flow evenly.
const CHUNK: usize = 16 << 10;
/// How much may flow at once after a silence, as time at the full rate.
const BURST: Duration = Duration::from_millis(20);

/// Passes connections on to a server. What the server sends flows at a bounded rate, shared by all connections; what it is
/// sent flows freely. Dropped, it cuts them all.
#[derive(Debug)]
pub struct Throttle {
    address: String,
    frozen: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Throttle {
    /// Begins to listen on a port of 127.0.0.1, in front of the server at `server`.
    pub async fn before(server: String, bytes_per_second: f64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (frozen, is_frozen) = watch::channel(false);
        let bucket = Arc::new(Bucket { bytes_per_second, free_from: tokio::sync::Mutex::new(Instant::now()) });
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, bucket, is_frozen) = (server.clone(), Arc::clone(&bucket), is_frozen.clone());
                connections.spawn(async move {
                    let Ok(server) = TcpStream::connect(&server).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        pass(from_client, to_server, None, is_frozen.clone()),
                        pass(from_server, to_client, Some(&bucket), is_frozen.clone())
                    );
                });
            }
        });
        Self { address, frozen, task }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on nothing flows in either direction, and nobody is told.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Bucket {
    bytes_per_second: f64,
    /// When all that was let through will have flowed.
    free_from: tokio::sync::Mutex<Instant>,
}

impl Bucket {
    #[expect(clippy::cast_precision_loss, reason = "chunks are small")]
    async fn take(&self, bytes: usize) {
        let until = {
            let mut free_from = self.free_from.lock().await;
            let begin = (*free_from).max(Instant::now().checked_sub(BURST).unwrap_or_else(Instant::now));
            *free_from = begin + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
            *free_from
        };
        sleep_until(until).await;
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    bucket: Option<&Bucket>,
    mut frozen: watch::Receiver<bool>,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match from.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        if let Some(bucket) = bucket {
            bucket.take(read).await;
        }
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&chunk[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends this many bytes to whoever connects.
    async fn sends(bytes: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                client.write_all(&vec![7; bytes]).await.unwrap();
                client.shutdown().await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn passes_all_bytes_and_no_faster_than_it_may() {
        let throttle = Throttle::before(sends(300_000).await, 1_000_000.0).await;
        let begun = Instant::now();
        let mut received = Vec::new();
        TcpStream::connect(throttle.address()).await.unwrap().read_to_end(&mut received).await.unwrap();
        assert_eq!(received, vec![7; 300_000]);
        assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn nothing_comes_through_a_frozen_one_and_the_connection_stays() {
        let throttle = Throttle::before(sends(1 << 20).await, 1e9).await;
        throttle.freeze();
        let mut client = TcpStream::connect(throttle.address()).await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(200), client.read(&mut [0; 16])).await;
        assert!(silence.is_err(), "{silence:?}");
    }
}
