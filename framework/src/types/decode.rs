//! Reads the binary encoding of [`super::encoding`] in one pass, and takes nothing but the one encoding of each value.
//!
//! What could be spelled in two ways is looked at where it is read: a number may have no superfluous zero group, an address
//! or a key that has a compact form must be in it. So nothing has to be encoded again to be compared, and a value costs
//! little more than the memory that it takes.

use super::encoding::BlockDecodeError;
use super::{Address, Block, Hash32, Header, HexText, MAX_BLOCK_TXS, Payload, Quantity, Transaction, TxType};

type Result<T> = std::result::Result<T, BlockDecodeError>;

/// Most transactions are longer, in bytes, for their signature and key alone: room is made at once for as many as the bytes
/// that are left may hold of this length, and more of it as they come.
const USUAL_TRANSACTION: usize = 128;
/// What a count reserves at once at most, in bytes, whatever has arrived (attacks.md row 4).
const RESERVED: usize = 1 << 20;

/// The bytes that are left.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn block(&mut self) -> Result<Block> {
        let header = self.header()?;
        let count = self.length()?;
        if count > MAX_BLOCK_TXS {
            return Err(malformed(format!("more than {MAX_BLOCK_TXS} transactions")));
        }
        let mut txs = Vec::with_capacity(transactions_reserved(count, self.left()));
        for _ in 0..count {
            txs.push(self.transaction()?);
        }
        Ok(Block {
            header,
            txs,
            pq_signature: self.hex_text()?,
            pq_sig_scheme_id: self
                .u64("pq_sig_scheme_id")?
                .try_into()
                .map_err(|_| malformed("pq_sig_scheme_id: above 32 bits"))?,
        })
    }

    /// The number of transactions, which stands behind the header.
    pub(super) fn count(&mut self) -> Result<u64> {
        self.u64("a length")
    }

    pub(super) fn transaction(&mut self) -> Result<Transaction> {
        Ok(Transaction {
            tx_type: self.tx_type()?,
            from_address: self.address()?,
            to_address: self.option(Self::address)?,
            amount: self.u128("amount")?,
            fee: self.quantity()?,
            nonce: self.u64("nonce")?,
            signature: self.hex_text()?,
            pub_key: self.hex_text()?,
            payload: self.payload()?,
            gas_price: self.u128("gas_price")?,
            gas_limit: self.quantity()?,
        })
    }

    pub(super) fn header(&mut self) -> Result<Header> {
        Ok(Header {
            height: self.u64("height")?,
            prev_hash: self.hash()?,
            timestamp: self.u64("timestamp")?,
            chain_id: self.text("chain_id")?.to_owned(),
            proposer_address: self.address()?,
            tx_root: self.hash()?,
            state_root: self.hash()?,
            compute_root: self.option(Self::hash)?,
            gas_used: self.u64("gas_used")?,
            gas_limit: self.u64("gas_limit")?,
            zk_state_proof_hash: self.option(|reader| reader.text("zk_state_proof_hash").map(str::to_owned))?,
            zk_compute_proof_hash: self.option(|reader| reader.text("zk_compute_proof_hash").map(str::to_owned))?,
        })
    }

    fn tx_type(&mut self) -> Result<TxType> {
        Ok(match self.byte()? {
            0 => TxType::Transfer,
            1 => TxType::Stake,
            2 => TxType::SubmitResult,
            3 => TxType::Unstake,
            4 => TxType::PocReward,
            _ => return Err(malformed("an unknown type of transaction")),
        })
    }

    fn address(&mut self) -> Result<Address> {
        Address::from_form(self.counted()?).map_err(malformed)
    }

    fn hex_text(&mut self) -> Result<HexText> {
        let form = self.byte()?;
        HexText::from_form(form, self.counted()?).map_err(malformed)
    }

    fn quantity(&mut self) -> Result<Quantity> {
        match self.byte()? {
            1 => self.u128("a quantity").map(Quantity::from),
            2 => Quantity::from_large_digits(self.text("a quantity")?).map_err(malformed),
            _ => Err(malformed("a number has an unknown form")),
        }
    }

    fn payload(&mut self) -> Result<Payload> {
        Payload::from_form(self.text("payload")?).map_err(malformed)
    }

    fn hash(&mut self) -> Result<Hash32> {
        let (hash, rest) = self.0.split_first_chunk().ok_or_else(ends)?;
        self.0 = rest;
        Ok(Hash32(*hash))
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(malformed("neither present nor absent")),
        }
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str> {
        std::str::from_utf8(self.counted()?).map_err(|_| BlockDecodeError::Malformed(format!("{what}: no UTF-8")))
    }

    /// Bytes with their number before them.
    fn counted(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(ends)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn length(&mut self) -> Result<usize> {
        // A length that does not fit cannot be in the bytes that are left.
        usize::try_from(self.u64("a length")?).map_err(|_| ends())
    }

    /// A number in groups of seven bits, the lowest first; all but the last have their top bit set.
    fn u64(&mut self, what: &'static str) -> Result<u64> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if shift > 63 || group << shift >> shift != group {
                return Err(BlockDecodeError::Malformed(format!("{what}: above 64 bits")));
            }
            value |= group << shift;
            if byte < 0x80 {
                return minimal(byte, shift).map(|()| value);
            }
            shift += 7;
        }
    }

    /// As [`u64`](Self::u64), of 128 bits. Most amounts need no more than 63, which nine groups hold.
    fn u128(&mut self, what: &'static str) -> Result<u128> {
        let mut small = 0u64;
        let mut shift = 0;
        while shift < 63 {
            let byte = self.byte()?;
            small |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return minimal(byte, shift).map(|()| small.into());
            }
            shift += 7;
        }
        let mut value = u128::from(small);
        loop {
            let byte = self.byte()?;
            let group = u128::from(byte & 0x7f);
            if shift > 127 || group << shift >> shift != group {
                return Err(BlockDecodeError::Malformed(format!("{what}: above 128 bits")));
            }
            value |= group << shift;
            if byte < 0x80 {
                return minimal(byte, shift).map(|()| value);
            }
            shift += 7;
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let (&byte, rest) = self.0.split_first().ok_or_else(ends)?;
        self.0 = rest;
        Ok(byte)
    }
}

/// Whether a number that ends in this group has no group too many.
fn minimal(last: u8, shift: u32) -> Result<()> {
    if last == 0 && shift > 0 { Err(BlockDecodeError::NotCanonical) } else { Ok(()) }
}

/// For how many transactions room is made before they are read.
fn transactions_reserved(count: usize, left: usize) -> usize {
    count.min(left / USUAL_TRANSACTION).min(RESERVED / size_of::<Transaction>())
}

fn malformed(why: impl Into<String>) -> BlockDecodeError {
    BlockDecodeError::Malformed(why.into())
}

fn ends() -> BlockDecodeError {
    malformed("the bytes end early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_reserves_at_most_a_mebibyte_and_less_where_less_has_come() {
        let bytes = |count, left| transactions_reserved(count, left) * size_of::<Transaction>();
        assert_eq!(transactions_reserved(7, 1 << 22), 7);
        assert_eq!(transactions_reserved(MAX_BLOCK_TXS, 1280), 10);
        assert!((1 << 19..=1 << 20).contains(&bytes(MAX_BLOCK_TXS, 1 << 25)));
    }
}
