//! Messages to lines, written straight into the output: compact, with the fields in the order of protocol.md.

use std::fmt::{Display, Write};

use bytes::{BufMut, BytesMut};
use cpc_framework::codec::EncodeError;
use cpc_framework::types::{Block, Handshake, Hash32, Header, HexText, Message, Transaction, WireBlock};

/// Appends the line of `message`, unless it is longer than `cap`; what an error leaves behind in `out` is for the caller to cut.
pub(super) fn write_line(message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    let kind = message.kind();
    let mut line = Line { start: out.len(), out };
    line.raw("{\"type\":\"");
    line.raw(kind.name());
    line.raw("\",\"payload\":{");
    let message = match message {
        Message::Numbered { id, message } => {
            // First, so that it is known even where a block cannot be read.
            line.number("\"request_id\":", id);
            line.raw(",");
            message
        }
        message => message,
    };
    match message {
        Message::Handshake(handshake) => line.handshake(handshake),
        Message::NewBlock(block) => {
            line.raw("\"block\":");
            line.wire_block(block).map_err(|source| EncodeError::Block { kind, source })?;
        }
        Message::NewTx(tx) => {
            line.raw("\"tx\":");
            line.transaction(tx);
        }
        Message::GetBlocks { from_height, to_height } | Message::GetHeaderChain { from_height, to_height } => {
            line.number("\"from_height\":", from_height);
            line.number(",\"to_height\":", to_height);
        }
        Message::BlocksResponse { blocks, .. } => {
            line.raw("\"blocks\":[");
            for (index, block) in blocks.iter().enumerate() {
                line.raw(if index == 0 { "" } else { "," });
                line.wire_block(block).map_err(|source| EncodeError::Block { kind, source })?;
                if line.len() > cap {
                    // The blocks that follow would only cost memory.
                    return Err(EncodeError::TooLarge { kind, cap });
                }
            }
            line.raw("]");
        }
        Message::NewHashes { blocks, txs } => {
            line.raw("\"blocks\":[");
            for (index, link) in blocks.iter().enumerate() {
                line.number(if index == 0 { "{\"height\":" } else { ",{\"height\":" }, link.height);
                line.hash(",\"hash\":", &link.hash);
                line.hash(",\"prev_hash\":", &link.prev_hash);
                line.raw("}");
            }
            line.hashes("],\"txs\":[", txs);
        }
        Message::GetData { blocks, txs } => {
            line.hashes("\"blocks\":[", blocks);
            line.hashes(",\"txs\":[", txs);
        }
        Message::HeaderChain { headers } => {
            line.raw("\"headers\":");
            line.digits(headers);
        }
        // Nobody counts a number's number.
        Message::Numbered { .. } => debug_assert!(false, "a numbered message in a numbered one"),
    }
    line.raw("}}\n");
    if line.len() > cap { Err(EncodeError::TooLarge { kind, cap }) } else { Ok(()) }
}

/// A line in the making.
struct Line<'a> {
    start: usize,
    out: &'a mut BytesMut,
}

impl Line<'_> {
    fn len(&self) -> usize {
        self.out.len() - self.start
    }

    fn handshake(&mut self, handshake: &Handshake) {
        self.text("\"node_id\":", &handshake.node_id);
        self.number(",\"p2p_port\":", handshake.p2p_port);
        self.number(",\"protocol_version\":", handshake.protocol_version);
        self.text(",\"network\":", &handshake.network);
        match handshake.best_height {
            Some(height) => self.number(",\"best_height\":", height),
            None => self.raw(",\"best_height\":-1"),
        }
        match (&handshake.best_hash, handshake.best_height) {
            (Some(hash), _) => self.hash(",\"best_hash\":", hash),
            // What the reference sends where it has no block.
            (None, None) => self.hash(",\"best_hash\":", &Hash32::ZERO),
            (None, Some(_)) => self.raw(",\"best_hash\":null"),
        }
        match &handshake.genesis_hash {
            Some(hash) => self.hash(",\"genesis_hash\":", hash),
            None => self.raw(",\"genesis_hash\":null"),
        }
        if let Some(features) = &handshake.features {
            self.raw(",\"features\":[");
            for (index, feature) in features.iter().enumerate() {
                self.text(if index == 0 { "" } else { "," }, feature);
            }
            self.raw("]");
        }
        if let Some(nonce) = handshake.nonce {
            self.number(",\"nonce\":", nonce);
        }
    }

    fn wire_block(&mut self, block: &WireBlock) -> Result<(), cpc_framework::types::encoding::BlockDecodeError> {
        match block {
            WireBlock::Decoded(block) | WireBlock::Both(block, _) => self.block(block),
            WireBlock::Encoded(_) => self.block(&*block.decode()?),
        }
        Ok(())
    }

    fn block(&mut self, block: &Block) {
        self.raw("{\"header\":{");
        self.header(&block.header);
        self.raw("},\"txs\":[");
        for (index, tx) in block.txs.iter().enumerate() {
            self.raw(if index == 0 { "" } else { "," });
            self.transaction(tx);
        }
        self.raw("]");
        self.hex(",\"pq_signature\":", &block.pq_signature);
        self.number(",\"pq_sig_scheme_id\":", block.pq_sig_scheme_id);
        self.raw("}");
    }

    fn header(&mut self, header: &Header) {
        self.number("\"height\":", header.height);
        self.hash(",\"prev_hash\":", &header.prev_hash);
        self.number(",\"timestamp\":", header.timestamp);
        self.text(",\"chain_id\":", &header.chain_id);
        self.text(",\"proposer_address\":", header.proposer_address.as_str());
        self.hash(",\"tx_root\":", &header.tx_root);
        self.hash(",\"state_root\":", &header.state_root);
        match &header.compute_root {
            Some(root) => self.hash(",\"compute_root\":", root),
            None => self.raw(",\"compute_root\":\"\""),
        }
        self.number(",\"gas_used\":", header.gas_used);
        self.number(",\"gas_limit\":", header.gas_limit);
        self.text_or_null(",\"zk_state_proof_hash\":", header.zk_state_proof_hash.as_deref());
        self.text_or_null(",\"zk_compute_proof_hash\":", header.zk_compute_proof_hash.as_deref());
    }

    fn transaction(&mut self, tx: &Transaction) {
        self.raw("{\"tx_type\":\"");
        self.raw(tx.tx_type.name());
        self.text("\",\"from_address\":", tx.from_address.as_str());
        self.text_or_null(",\"to_address\":", tx.to_address.as_ref().map(AsRef::as_ref));
        self.number(",\"amount\":", tx.amount);
        self.number(",\"fee\":", &tx.fee);
        self.number(",\"nonce\":", tx.nonce);
        self.hex(",\"signature\":", &tx.signature);
        self.hex(",\"pub_key\":", &tx.pub_key);
        self.raw(",\"payload\":");
        self.raw(tx.payload.as_str());
        self.number(",\"gas_price\":", tx.gas_price);
        self.number(",\"gas_limit\":", &tx.gas_limit);
        self.raw("}");
    }

    fn raw(&mut self, json: &str) {
        self.out.extend_from_slice(json.as_bytes());
    }

    fn number(&mut self, key: &str, number: impl Display) {
        self.raw(key);
        // BytesMut grows as needed, and our numbers' Display has no error of its own.
        let written = write!(self.out, "{number}");
        debug_assert!(written.is_ok());
    }

    fn hash(&mut self, key: &str, hash: &Hash32) {
        self.raw(key);
        self.digits(&hash.0);
    }

    fn hashes(&mut self, key: &str, hashes: &[Hash32]) {
        self.raw(key);
        for (index, hash) in hashes.iter().enumerate() {
            self.hash(if index == 0 { "" } else { "," }, hash);
        }
        self.raw("]");
    }

    fn hex(&mut self, key: &str, hex: &HexText) {
        match hex.canonical_bytes() {
            Some(bytes) => {
                self.raw(key);
                self.digits(bytes);
            }
            None => self.text(key, &hex.text()),
        }
    }

    fn digits(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.out.reserve(2 * bytes.len() + 2);
        self.out.put_u8(b'"');
        for byte in bytes {
            self.out.put_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        self.out.put_u8(b'"');
    }

    fn text_or_null(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        } else {
            self.raw(key);
            self.raw("null");
        }
    }

    fn text(&mut self, key: &str, text: &str) {
        self.raw(key);
        self.raw("\"");
        let mut rest = text;
        while let Some(at) = rest.bytes().position(must_be_escaped) {
            self.raw(&rest[..at]);
            match rest.as_bytes()[at] {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                b'\r' => self.raw("\\r"),
                b'\t' => self.raw("\\t"),
                0x08 => self.raw("\\b"),
                0x0c => self.raw("\\f"),
                control => self.number("\\u", format_args!("{control:04x}")),
            }
            rest = &rest[at + 1..];
        }
        self.raw(rest);
        self.raw("\"");
    }
}

/// RFC 8259 section 7.
fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}
