//! Questions to nodes of this machine, over connections that are kept.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use cpc_framework::types::{Hash32, Height, Transaction};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for one request: a node of this machine that needs longer is stuck or frozen.
const REQUEST_TIME: Duration = Duration::from_secs(2);

/// The largest answer that is read; those asked for here have some hundred bytes.
const ANSWER_BYTES: usize = 1 << 20;

/// Asks one node of this machine, over a connection that is kept: a load would use up all ports with one for each request.
#[derive(Debug)]
pub struct Client {
    port: u16,
    connection: Option<SendRequest<Body>>,
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// `SYNCING` or `SYNCED`.
    pub mode: String,
    /// The height that it syncs to.
    pub target: Option<Height>,
    /// `None` on an empty chain.
    pub height: Option<Height>,
    /// The hash of the last block; zeros on an empty chain.
    pub tip: Hash32,
    /// Peers whose handshake is done.
    pub peers: usize,
    /// Transactions in its pool.
    pub pool: usize,
}

/// What became of a transaction.
#[derive(Debug, Deserialize)]
pub struct Sent {
    /// `received`, or `rejected`.
    pub status: String,
    /// Why it was rejected.
    pub error: Option<String>,
}

impl Client {
    /// Asks the RPC on this port of 127.0.0.1; nothing is connected yet.
    pub fn new(port: u16) -> Self {
        Self { port, connection: None }
    }

    /// How the node stands; `None` where it does not say within two seconds. Not cancel-safe: a dropped call may leave an
    /// answer unread, which ends the connection.
    pub async fn look(&mut self) -> Option<Look> {
        #[derive(Deserialize)]
        struct Status {
            height: i64,
            last_hash: Hash32,
            mempool_size: usize,
        }
        #[derive(Deserialize)]
        struct Ready {
            mode: String,
            target: Option<Height>,
            peers: usize,
        }
        let ready: Ready = self.get("/ready").await?;
        let status: Status = self.get("/status").await?;
        Some(Look {
            mode: ready.mode,
            target: ready.target,
            height: Height::try_from(status.height).ok(),
            tip: status.last_hash,
            peers: ready.peers,
            pool: status.mempool_size,
        })
    }

    /// The next nonce of an account, by the node's chain.
    pub async fn nonce(&mut self, address: &str) -> Option<u64> {
        #[derive(Deserialize)]
        struct Account {
            nonce: u64,
        }
        self.get(&format!("/balance/{address}")).await.map(|account: Account| account.nonce)
    }

    /// Sends a transaction; `None` where the node does not answer.
    pub async fn send(&mut self, tx: &Transaction) -> Option<Sent> {
        let body = serde_json::to_vec(tx).ok()?;
        self.request(Method::POST, "/tx/send", body.into()).await
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// The answer, whatever its status: a node that is not ready says so with 503, and why.
    async fn request<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Bytes) -> Option<T> {
        // A kept connection may have ended meanwhile, by the node's own limit: that shows only now. Nothing is asked here
        // that may not be asked twice.
        for kept in [true, false] {
            if kept && self.connection.as_ref().is_none_or(SendRequest::is_closed) {
                continue;
            }
            let exchange = self.exchange(kept, method.clone(), path, body.clone());
            let answer = timeout(REQUEST_TIME, exchange).await;
            if let Ok(Some((status, bytes))) = answer {
                let read = serde_json::from_slice(&bytes).ok();
                return read.filter(|_| status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE);
            }
            self.connection = None;
            if answer.is_err() {
                return None;
            }
        }
        None
    }

    async fn exchange(&mut self, kept: bool, method: Method, path: &str, body: Bytes) -> Option<(StatusCode, Bytes)> {
        if !kept {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
            // Ends with the sender; what goes wrong there shows in the answer.
            tokio::spawn(connection);
            self.connection = Some(sender);
        }
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("127.0.0.1:{}", self.port))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .ok()?;
        let connection = self.connection.as_mut()?;
        connection.ready().await.ok()?;
        let response = connection.send_request(request).await.ok()?;
        let status = response.status();
        let bytes = to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await.ok()?;
        Some((status, bytes))
    }
}
