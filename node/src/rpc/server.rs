use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cpc_framework::node::NodeHandle;
use cpc_framework::tx_index::TxIndex;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::RpcLimits;
use super::routes::{self, App};
use super::taken::Taken;
use crate::CliError;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 128;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address that the RPC will have. Nobody is answered on it yet, and nobody else can take it.
#[derive(Debug)]
pub(crate) struct RpcSocket {
    socket: TcpSocket,
    host: IpAddr,
    port: u16,
}

impl RpcSocket {
    /// Takes the address. Port 0 is any free one.
    ///
    /// # Errors
    /// It is taken already, or is none of this machine's.
    pub(crate) fn bind(host: IpAddr, port: u16) -> Result<Self, CliError> {
        let bound = match host {
            IpAddr::V4(_) => TcpSocket::new_v4(),
            IpAddr::V6(_) => TcpSocket::new_v6(),
        }
        .and_then(|socket| {
            // Elsewhere than on Unix this would let two programs share a port.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(host, port))?;
            Ok(socket)
        });
        bound.map(|socket| Self { socket, host, port }).map_err(|error| cannot_listen(host, port, &error))
    }

    /// Begins to answer for a node, and to keep the index of its transactions up to date. Needs a runtime.
    ///
    /// # Errors
    /// Somebody took the address after all.
    pub(crate) fn serve(self, node: NodeHandle, index: TxIndex, limits: RpcLimits) -> Result<Rpc, CliError> {
        let Self { socket, host, port } = self;
        let failed = |error: std::io::Error| cannot_listen(host, port, &error);
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !host.is_loopback() {
            tracing::warn!("the RPC is open to whoever reaches {address}: it asks nobody who they are");
        }
        let limits = Arc::new(limits);
        let follower = tokio::spawn(index.clone().follow(node.watch()));
        let router = routes::router(App::new(node, index, Arc::clone(&limits), host.is_loopback()));
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(accept(listener, router, limits, stopping));
        tracing::info!("RPC on http://{address}");
        Ok(Rpc { address, stop, task, follower })
    }
}

fn cannot_listen(host: IpAddr, port: u16, error: &std::io::Error) -> CliError {
    let at = SocketAddr::new(host, port);
    let what_to_do = match error.kind() {
        std::io::ErrorKind::AddrInUse => ": take another port with --port, or stop who listens there",
        std::io::ErrorKind::AddrNotAvailable => ": --host must be an address of this machine",
        _ => "",
    };
    CliError::failed(format!("cannot listen on {at} for the RPC: {error}{what_to_do}"))
}

/// A running RPC. Dropped, it answers nobody any more.
#[derive(Debug)]
pub(crate) struct Rpc {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Keeps the index up to date.
    follower: JoinHandle<()>,
}

impl Rpc {
    /// Where it listens, with the real port.
    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and lets those under way be answered, for a short while.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        if (&mut self.task).await.is_err() {
            tracing::error!("the RPC on {} ended in a panic", self.address);
        }
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.task.abort();
        self.follower.abort();
    }
}

async fn accept(listener: TcpListener, router: Router, limits: Arc<RpcLimits>, stopping: watch::Receiver<bool>) {
    let mut stop = pin!(stop_wanted(stopping.clone()));
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = &mut stop => break,
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, router.clone(), Arc::clone(&limits), stopping.clone());
                    connections.spawn(async move {
                        let _place = place;
                        connection.await;
                    });
                }
                Err(error) => {
                    tracing::debug!("rpc: cannot accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // What is not done by then ends here, with the set.
    let _ = timeout(limits.farewell, async { while connections.join_next().await.is_some() {} }).await;
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, router: Router, limits: Arc<RpcLimits>, stopping: watch::Receiver<bool>) {
    // Answers are written whole: waiting for more gains nothing.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Taken::new(stream, limits.take_time)), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return said(ended),
        () = stop_wanted(stopping) => {}
        () = sleep(limits.connection_age) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout(limits.body_time + limits.answer_time, connection).await {
        said(ended);
    }
}

async fn stop_wanted(mut stopping: watch::Receiver<bool>) {
    // Where nobody can say so any more, it is time too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn said(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!("rpc: a connection ended: {error}");
    }
}

#[cfg(test)]
mod tests;
