use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use cpc_framework::executor::accounts::state;
use cpc_framework::store::ByteBudget;
use cpc_framework::types::{Address, Block, EncodedBlock, Hash32, Height, HexText, encoding};
use serde::{Deserialize, Serialize};

use super::{App, blocking};
use crate::rpc::error::{ApiError, json};

#[derive(Serialize)]
struct Status<'a> {
    /// -1 on an empty chain.
    height: i64,
    /// 64 zeros on an empty chain.
    last_hash: Hash32,
    network: &'a str,
    mempool_size: usize,
    epoch: u64,
}

/// `GET /status`
pub(super) async fn status(State(app): State<App>) -> Result<Response, ApiError> {
    let status = app.node.status();
    let genesis = app.node.genesis();
    let blocks = status.tip.map_or(0, |tip| tip.height.saturating_add(1));
    json(&Status {
        height: status.tip.map_or(-1, |tip| i64::try_from(tip.height).unwrap_or(i64::MAX)),
        last_hash: status.tip.map_or(Hash32::ZERO, |tip| tip.hash),
        network: &genesis.network,
        mempool_size: status.pool,
        // As many as have ended with the tip (protocol.md section 4, block validity 6). The state says so too, but perhaps of
        // another tip by now.
        epoch: blocks / genesis.params.epoch_length.max(1),
    })
}

/// `GET /block/{height}`
pub(super) async fn block(
    State(app): State<App>,
    height: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(text) = height.map_err(|error| ApiError::unusable(error.body_text()))?;
    let missing = || ApiError::not_found(format!("there is no block {text}"));
    let height = read_height(&text)?.ok_or_else(missing)?;
    let none = missing();
    app.blocks(height..=height, move |mut blocks| blocks.pop().map_or(Err(none), |block| json(&block))).await
}

#[derive(Deserialize)]
pub(super) struct Range {
    from: Option<Height>,
    to: Option<Height>,
}

/// `GET /blocks?from=&to=`
pub(super) async fn blocks(
    State(app): State<App>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Blocks {
        blocks: Vec<Block>,
    }
    let Query(range) = range.map_err(|error| ApiError::unusable(error.body_text()))?;
    let from = range.from.unwrap_or(0);
    let to = range.to.unwrap_or(Height::MAX);
    if to < from {
        return Err(ApiError::unusable(format!("to is {to}, which is below from, {from}")));
    }
    let to = to.min(from.saturating_add(app.limits.blocks - 1));
    app.blocks(from..=to, |blocks| json(&Blocks { blocks })).await
}

/// `GET /balance/{address}`
pub(super) async fn balance(
    State(app): State<App>,
    address: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Account {
        address: Address,
        /// Decimal text: it may exceed 64 bits.
        balance: String,
        nonce: u64,
    }
    let Path(address) = address.map_err(|error| ApiError::unusable(error.body_text()))?;
    let address = Address::from(address);
    let asked = address.clone();
    let account = app.state(move |view| state::account(view, &asked)).await?.unwrap_or_default();
    json(&Account { address, balance: account.balance.to_string(), nonce: account.nonce })
}

#[derive(Serialize)]
struct Validator {
    address: Address,
    pq_pub_key: HexText,
    power: u128,
    is_active: bool,
    reward_address: Option<Address>,
}

/// `GET /validators`
pub(super) async fn validators(State(app): State<App>) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Validators {
        epoch: u64,
        validators: Vec<Validator>,
    }
    let store = Arc::clone(app.node.store());
    app.blocking(move || {
        let view = store.state()?;
        let validators = state::validators(view.as_ref())?.into_iter().map(|validator| Validator {
            address: validator.address,
            pq_pub_key: validator.pub_key,
            power: validator.power,
            is_active: validator.is_active,
            reward_address: validator.reward_address,
        });
        json(&Validators { epoch: state::epoch(view.as_ref())?.unwrap_or(0), validators: validators.collect() })
    })
    .await
}

impl App {
    /// What is made of the blocks of a range, as many as fit an answer.
    async fn blocks(
        &self,
        heights: RangeInclusive<Height>,
        answer: impl FnOnce(Vec<Block>) -> Result<Response, ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let place = self.reader().await;
        let blocks = self.node.store().blocks(heights, ByteBudget(self.limits.blocks_bytes)).await?;
        blocking(place, move || answer(blocks.iter().map(decode).collect::<Result<_, _>>()?)).await
    }
}

fn decode(block: &EncodedBlock) -> Result<Block, ApiError> {
    encoding::decode_block(&block.bytes)
        .map_err(|error| ApiError::internal(format!("block {} cannot be read: {error}", block.link.height)))
}

/// A height; `None` for an integer that is the height of no block.
fn read_height(text: &str) -> Result<Option<Height>, ApiError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let shown: String = text.chars().take(40).collect();
        return Err(ApiError::unusable(format!("{shown:?} is no height: expected an integer")));
    }
    Ok(text.parse().ok())
}
