//! Requests to a node's RPC.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use cpc_framework::types::{Address, Hash32, Height, Transaction};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::args::NodeUrl;
use crate::CliError;

/// Time for one request and its answer. A reference node answers nothing while it applies a batch of blocks, half a
/// minute at most (protocol.md section 2).
const REQUEST_TIME: Duration = Duration::from_secs(40);

/// The largest answer that is read: a block of the largest network is some MiB.
const ANSWER_BYTES: usize = 64 << 20;

/// What a node says to a path that it does not know.
const NO_SUCH_ROUTE: &str = "Not Found";

/// Asks one node. Each request has a connection of its own.
#[derive(Debug)]
pub(super) struct Client {
    url: NodeUrl,
}

/// An answer of a node.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Box<RawValue>,
}

/// `GET /status`
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    /// -1 on an empty chain.
    pub(super) height: i64,
    pub(super) last_hash: String,
    pub(super) network: String,
    pub(super) mempool_size: u64,
    pub(super) epoch: u64,
}

/// `GET /balance/{address}`
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    pub(super) address: String,
    balance: String,
    pub(super) nonce: u64,
}

impl Account {
    /// In units.
    pub(super) fn units(&self) -> Result<u128, CliError> {
        let wrong =
            |_| CliError::failed(format!("the node says that the balance is {:?}, which is none", self.balance));
        self.balance.parse().map_err(wrong)
    }
}

/// `POST /tx/send`
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    pub(super) status: String,
    pub(super) error: Option<String>,
}

/// `GET /tx/{hash}`
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    height: Option<Height>,
    block_hash: Option<Hash32>,
    tx: Option<Nonce>,
    /// Others with the same hash, as the rules of v1 allow.
    #[serde(default)]
    others: Vec<Place>,
}

/// One transaction of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    /// None while it waits.
    pub(super) height: Option<Height>,
    pub(super) block_hash: Option<Hash32>,
    tx: Option<Nonce>,
}

#[derive(Debug, Deserialize)]
struct Nonce {
    nonce: u64,
}

impl Found {
    /// The transaction with this nonce; the only one where the node does not show it.
    pub(super) fn with_nonce(self, nonce: u64) -> Option<Place> {
        // Not by serde's `flatten`, which cannot carry amounts above 64 bits.
        let newest = Place { height: self.height, block_hash: self.block_hash, tx: self.tx };
        let mut all = std::iter::once(newest).chain(self.others);
        all.find(|place| place.tx.as_ref().is_none_or(|tx| tx.nonce == nonce))
    }
}

/// What is known of a transaction.
#[derive(Debug)]
pub(super) enum Whereabouts {
    /// It waits, or stands in a block.
    Found(Found),
    /// The node does not know it.
    Unknown,
    /// The node cannot be asked for transactions, as the reference's.
    CannotSay,
}

impl Client {
    pub(super) fn new(url: NodeUrl) -> Self {
        Self { url }
    }

    pub(super) fn url(&self) -> &NodeUrl {
        &self.url
    }

    pub(super) async fn status(&self) -> Result<Status, CliError> {
        self.read(&self.get("/status").await?.ok()?)
    }

    pub(super) fn balance_path(address: &str) -> String {
        format!("/balance/{}", escaped(address))
    }

    pub(super) async fn balance(&self, address: &str) -> Result<Account, CliError> {
        self.read(&self.get(&Self::balance_path(address)).await?.ok()?)
    }

    pub(super) async fn send(&self, tx: &Transaction) -> Result<Sent, CliError> {
        let body = serde_json::to_vec(tx).map_err(|error| CliError::caused("cannot write JSON", &error))?;
        self.read(&self.request(Method::POST, "/tx/send", body).await?.ok()?)
    }

    pub(super) async fn find(&self, hash: &Hash32) -> Result<Whereabouts, CliError> {
        let answer = self.get(&format!("/tx/{hash}")).await?;
        if answer.is_missing() {
            return Ok(if answer.is_no_route() { Whereabouts::CannotSay } else { Whereabouts::Unknown });
        }
        self.read(&answer.ok()?).map(Whereabouts::Found)
    }

    /// The nonces of a sender's transactions in the pool; none where the node cannot be asked.
    pub(super) async fn pooled_nonces(&self, sender: &Address) -> Result<Vec<u64>, CliError> {
        #[derive(Deserialize)]
        struct Pool {
            txs: Vec<Pooled>,
        }
        #[derive(Deserialize)]
        struct Pooled {
            tx: Nonce,
        }
        let answer = self.get(&format!("/mempool?limit=1000&sender={}", escaped(sender.as_str()))).await?;
        if answer.is_missing() {
            return Ok(Vec::new());
        }
        let pool: Pool = self.read(&answer.ok()?)?;
        Ok(pool.txs.into_iter().map(|pooled| pooled.tx.nonce).collect())
    }

    /// Asks for a path; the answer may have any status.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, CliError> {
        self.request(Method::GET, path, Vec::new()).await
    }

    /// Reads an answer as what it should be.
    pub(super) fn read<T: DeserializeOwned>(&self, body: &RawValue) -> Result<T, CliError> {
        serde_json::from_str(body.get()).map_err(|error| self.nonsense(&error.to_string()))
    }

    async fn request(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, CliError> {
        let answer = timeout(REQUEST_TIME, self.exchange(method, path, body)).await;
        answer.unwrap_or_else(|_| {
            let seconds = REQUEST_TIME.as_secs();
            Err(CliError::failed(format!("the node at {} did not answer within {seconds} s", self.url)))
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, CliError> {
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await.map_err(|error| {
            let advice = "start one with 'cpc-node run', or name another with --node";
            CliError::failed(format!("no node can be reached at {}: {error}: {advice}", self.url))
        })?;
        let broken = |error: hyper::Error| {
            CliError::caused(format_args!("the connection to the node at {} broke", self.url), &error)
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the sender; what goes wrong there shows in the answer.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.url.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| CliError::caused(format_args!("cannot ask for {path}"), &error))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let bytes = to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await.map_err(|error| {
            CliError::caused(format_args!("the answer of the node at {} cannot be read", self.url), &error)
        })?;
        let body =
            serde_json::from_slice(&bytes).map_err(|error| self.nonsense(&format!("status {status}, {error}")))?;
        Ok(Answer { status, body })
    }

    fn nonsense(&self, why: &str) -> CliError {
        CliError::failed(format!("what answers at {} is no ComputeChain node: {why}", self.url))
    }
}

impl Answer {
    /// The body, unless the node says that it cannot answer.
    pub(super) fn ok(self) -> Result<Box<RawValue>, CliError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let detail = self.detail().unwrap_or_else(|| self.body.get().to_owned());
        let shown: String = detail.chars().take(500).collect();
        Err(CliError::failed(format!("the node says: {shown} (status {})", self.status.as_u16())))
    }

    /// Whether there is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The body, whatever the status.
    pub(super) fn body(&self) -> &RawValue {
        &self.body
    }

    fn is_no_route(&self) -> bool {
        self.detail().as_deref() == Some(NO_SUCH_ROUTE)
    }

    fn detail(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Error {
            detail: String,
        }
        serde_json::from_str::<Error>(self.body.get()).ok().map(|error| error.detail)
    }
}

/// Text as a part of a path or query (RFC 3986 section 2).
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_kind_becomes_a_part_of_a_path() {
        assert_eq!(escaped("cpc1q-._~"), "cpc1q-._~");
        assert_eq!(escaped("a/b?c#d e%ж"), "a%2Fb%3Fc%23d%20e%25%D0%B6");
    }
}
