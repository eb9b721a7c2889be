//! The RPC of a running node: HTTP/1.1 with JSON.
//!
//! | route | answer |
//! |---|---|
//! | `GET /status` | height, tip hash, network, pool size, epoch |
//! | `GET /block/{height}` | the block |
//! | `GET /blocks?from=&to=` | consecutive blocks from the first height on; fewer where they are many or large |
//! | `GET /balance/{address}` | balance and nonce |
//! | `GET /validators` | epoch and validators |
//! | `POST /tx/send` | whether the pool takes a transaction |
//! | `GET /tx/{hash}` | a transaction, in the pool or in any block, and where it is |
//! | `GET /mempool?sender=&limit=` | what waits for a block |
//! | `GET /peers` | who is connected, with score and penalties; the bans that hold, the last penalties |
//! | `GET /health`, `GET /ready` | whether the node works; whether it is SYNCED |
//!
//! `/status`, `/block`, `/balance`, `/validators` and `/tx/send` are those of the reference (protocol.md section 6), field
//! for field. Every error is `{"detail": ...}` with the status that fits. Amounts are JSON integers of up to 128 bits, but
//! for balances, which are decimal text.

mod error;
mod gate;
mod held;
mod limits;
mod local;
mod routes;
mod server;
mod taken;

pub(crate) use limits::RpcLimits;
pub(crate) use server::RpcSocket;
