use crate::types::Transaction;

/// What a transaction pays for its gas.
pub(super) fn gas_cost(tx: &Transaction) -> Option<u128> {
    tx.gas_price.checked_mul(tx.tx_type.base_gas()?.into())
}

/// What a transaction takes from its sender; where that is more than any account can hold, the most there is.
pub(super) fn cost(tx: &Transaction) -> u128 {
    gas_cost(tx).unwrap_or(u128::MAX).saturating_add(tx.amount)
}

/// What an entry takes besides the texts of its transaction: the transaction itself, the entries of four maps.
const BOOKKEEPING: usize = 768;

/// What a transaction takes in memory, with its place in the pool.
pub(crate) fn tx_bytes(tx: &Transaction) -> usize {
    let addresses = tx.from_address.as_bytes().len() + tx.to_address.as_ref().map_or(0, |to| to.as_bytes().len());
    let numbers = tx.fee.heap() + tx.gas_limit.heap();
    BOOKKEEPING + addresses + tx.signature.size() + tx.pub_key.size() + numbers + tx.payload.as_str().len()
}
