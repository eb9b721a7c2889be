//! Writes the binary encoding of [`super::encoding`]: what postcard makes of the types, without the way through serde.

use bytes::BufMut;

use super::{Address, Block, Hash32, Header, HexText, Quantity, Transaction, TxType};

/// The first byte of every encoding.
pub(super) const VERSION: u8 = 1;

/// A header with its texts and the block's signature is about so long, in bytes, and a transaction as most are: room for so
/// much is made at once.
pub(super) const USUAL_HEADER: usize = 320;
pub(super) const USUAL_TRANSACTION: usize = 192;

/// So many bytes are put together before they go to the output: a usual transaction. Most fields are a byte or two, and to
/// ask the output for room costs more than to write them.
const HELD: usize = 256;

/// The top bit of a group of seven: another one follows.
const MORE: u8 = 0x80;

/// The bits of eight groups of seven, which become eight bytes in one step.
const EIGHT_GROUPS: u32 = 56;

/// Appends a version byte and a block.
pub(super) fn block(block: &Block, out: &mut impl BufMut) {
    let mut pen = Pen::new(out);
    pen.header(&block.header);
    pen.length(block.txs.len());
    for tx in &block.txs {
        pen.transaction(tx);
    }
    pen.hex_text(&block.pq_signature);
    pen.number(block.pq_sig_scheme_id.into());
    pen.flush();
}

/// Appends a header, without a version byte.
pub(super) fn header(header: &Header, out: &mut impl BufMut) {
    let mut pen = Pen::new(out);
    pen.length = 0;
    pen.header(header);
    pen.flush();
}

/// Appends a version byte and a transaction.
pub(super) fn transaction(tx: &Transaction, out: &mut impl BufMut) {
    let mut pen = Pen::new(out);
    pen.transaction(tx);
    pen.flush();
}

/// Writes into an output, some bytes at a time.
struct Pen<'a, B> {
    out: &'a mut B,
    held: [u8; HELD],
    /// How many bytes are held.
    length: usize,
}

impl<'a, B: BufMut> Pen<'a, B> {
    /// Holds the version byte.
    fn new(out: &'a mut B) -> Self {
        let mut held = [0; HELD];
        held[0] = VERSION;
        Self { out, held, length: 1 }
    }

    fn flush(&mut self) {
        self.out.put_slice(&self.held[..self.length]);
        self.length = 0;
    }

    fn header(&mut self, header: &Header) {
        self.number(header.height);
        self.fixed(&header.prev_hash.0);
        self.number(header.timestamp);
        self.counted(header.chain_id.as_bytes());
        self.address(&header.proposer_address);
        self.fixed(&header.tx_root.0);
        self.fixed(&header.state_root.0);
        self.option(header.compute_root.as_ref(), |pen, Hash32(hash)| pen.fixed(hash));
        self.number(header.gas_used);
        self.number(header.gas_limit);
        self.option(header.zk_state_proof_hash.as_ref(), |pen, text| pen.counted(text.as_bytes()));
        self.option(header.zk_compute_proof_hash.as_ref(), |pen, text| pen.counted(text.as_bytes()));
    }

    fn transaction(&mut self, tx: &Transaction) {
        self.byte(match tx.tx_type {
            TxType::Transfer => 0,
            TxType::Stake => 1,
            TxType::SubmitResult => 2,
            TxType::Unstake => 3,
            TxType::PocReward => 4,
        });
        self.address(&tx.from_address);
        self.option(tx.to_address.as_ref(), Self::address);
        self.large(tx.amount);
        self.quantity(&tx.fee);
        self.number(tx.nonce);
        self.hex_text(&tx.signature);
        self.hex_text(&tx.pub_key);
        self.counted(tx.payload.form().as_bytes());
        self.large(tx.gas_price);
        self.quantity(&tx.gas_limit);
    }

    fn address(&mut self, address: &Address) {
        if let Some(compact) = address.compact() {
            self.fixed(compact);
        } else {
            self.length(1 + address.as_str().len());
            self.byte(0);
            self.bytes(address.as_str().as_bytes());
        }
    }

    fn hex_text(&mut self, text: &HexText) {
        let (form, bytes) = text.form();
        self.byte(form);
        self.counted(bytes);
    }

    fn quantity(&mut self, quantity: &Quantity) {
        if let Some(value) = quantity.to_u128() {
            self.byte(1);
            self.large(value);
        } else {
            self.byte(2);
            self.counted(quantity.to_string().as_bytes());
        }
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        match value {
            None => self.byte(0),
            Some(value) => {
                self.byte(1);
                write(self, value);
            }
        }
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes(bytes);
    }

    fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    fn large(&mut self, value: u128) {
        let mut left = value;
        loop {
            if let Ok(small) = u64::try_from(left) {
                return self.number(small);
            }
            self.byte(left.to_le_bytes()[0] | MORE);
            left >>= 7;
        }
    }

    /// In groups of seven bits, the lowest first; all but the last have their top bit set.
    #[inline]
    fn number(&mut self, value: u64) {
        let (groups, count) = groups(value);
        self.fixed(&groups.to_le_bytes());
        if value >> EIGHT_GROUPS == 0 {
            self.length -= size_of::<u64>() - count;
        } else {
            self.number(value >> EIGHT_GROUPS);
        }
    }

    fn byte(&mut self, byte: u8) {
        self.fixed(&[byte]);
    }

    /// Bytes whose number the compiler knows: no call to copy them.
    #[inline]
    fn fixed<const N: usize>(&mut self, bytes: &[u8; N]) {
        if self.length + N > HELD {
            self.flush();
        }
        self.held[self.length..self.length + N].copy_from_slice(bytes);
        self.length += N;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.length + bytes.len() > HELD {
            self.flush();
            if bytes.len() > HELD {
                return self.out.put_slice(bytes);
            }
        }
        self.held[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

/// The lowest 56 bits as groups of seven in a byte each, and how many of these bytes count. No branch depends on the value:
/// how long the next number is cannot be guessed.
#[inline]
fn groups(value: u64) -> (u64, usize) {
    const ALL_MORE: u64 = 0x8080_8080_8080_8080;
    let low = value & 0x00ff_ffff_ffff_ffff;
    // 56 bits into two halves of 28 in 32, these into quarters of 14 in 16, these into groups of 7 in 8.
    let halves = low & 0x0fff_ffff | (low & 0x00ff_ffff_f000_0000) << 4;
    let quarters = halves & 0x0000_3fff_0000_3fff | (halves & 0x0fff_c000_0fff_c000) << 2;
    let groups = quarters & 0x007f_007f_007f_007f | (quarters & 0x3f80_3f80_3f80_3f80) << 1;
    if value >> EIGHT_GROUPS != 0 {
        return (groups | ALL_MORE, 8);
    }
    let count = ((u64::BITS - (value | 1).leading_zeros()).div_ceil(7)) as usize;
    (groups | ALL_MORE & ((1 << (8 * (count - 1))) - 1), count)
}
