//! A stretch of network between two nodes, for TCP: it can be cut, and made slow.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How it is between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing is in the way.
    Clear,
    /// Connections end, and new ones end at once.
    Cut,
    /// Each piece of at most 4 KiB comes later by this, and the next one only then.
    Slow(Duration),
}

/// How much is passed on at a time.
const PIECE: usize = 4096;

/// Passes on what comes to a port of its own. Dropped, it ends.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts it; connections go on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (weather, watched) = watch::channel(Weather::Clear);
        let task = tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                tokio::spawn(pass(inbound, target, watched.clone()));
            }
        });
        Self { port, weather, task }
    }

    /// Changes the weather, for connections that are there too.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.weather.send_replace(Weather::Cut);
    }
}

async fn pass(inbound: TcpStream, target: SocketAddr, weather: watch::Receiver<Weather>) {
    let mut cut = weather.clone();
    let both = async {
        let Ok(outbound) = TcpStream::connect(target).await else { return };
        let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
        let ((from_in, to_in), (from_out, to_out)) = (inbound.into_split(), outbound.into_split());
        tokio::select! {
            () = copy(from_in, to_out, weather.clone()) => {}
            () = copy(from_out, to_in, weather) => {}
        }
    };
    tokio::select! {
        () = both => {}
        _ = cut.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, weather: watch::Receiver<Weather>) {
    let mut piece = vec![0; PIECE];
    while let Ok(length) = from.read(&mut piece).await {
        let now = *weather.borrow();
        if let Weather::Slow(delay) = now {
            sleep(delay).await;
        }
        if length == 0 || to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
