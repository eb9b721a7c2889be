use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::encoding::{self, BlockDecodeError};
use super::{Block, BlockLink, EncodedBlock, Hash32, Height, Transaction};

/// One message of the protocol (protocol.md section 1).
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Who a node is and where its chain ends; repeated, it is a tip update.
    Handshake(Handshake),
    /// A block that was just produced.
    NewBlock(WireBlock),
    /// A transaction for the pool.
    NewTx(Arc<Transaction>),
    /// Asks for the blocks `from ..= to`.
    GetBlocks {
        /// The first height asked for.
        from_height: Height,
        /// The last height asked for.
        to_height: Height,
    },
    /// Consecutive blocks, ascending; empty where there are none.
    BlocksResponse {
        /// The blocks, as far as they could be read.
        blocks: Vec<WireBlock>,
        /// Why the block after the last of `blocks` could not be read, if there was one. Never sent.
        malformed: Option<String>,
    },
    /// Names blocks and transactions that the sender has, so that who lacks them can ask for them. Only for peers that
    /// show [`ANNOUNCE`].
    NewHashes {
        /// The places of blocks: at most [`MAX_ANNOUNCED_BLOCKS`].
        blocks: Vec<BlockLink>,
        /// The hashes of transactions: at most [`MAX_ANNOUNCED_TXS`].
        txs: Vec<Hash32>,
    },
    /// Asks for what was named; each comes as a [`NewBlock`](Self::NewBlock) or [`NewTx`](Self::NewTx) of its own. Only
    /// for peers that show [`ANNOUNCE`].
    GetData {
        /// The hashes of blocks: at most [`MAX_ANNOUNCED_BLOCKS`].
        blocks: Vec<Hash32>,
        /// The hashes of transactions: at most [`MAX_ANNOUNCED_TXS`].
        txs: Vec<Hash32>,
    },
    /// Asks for the headers of the blocks `from ..= to`, at most [`MAX_HEADERS`]. Only within a [`Numbered`](Self::Numbered), and
    /// only for peers that show [`HEADER_CHAIN`].
    GetHeaderChain {
        /// The first height asked for.
        from_height: Height,
        /// The last height asked for: the answer ends there, and begins higher where not all of it fits.
        to_height: Height,
    },
    /// Consecutive headers, ascending, that end with the last one asked for; none where there is no such block. Only within a
    /// [`Numbered`](Self::Numbered).
    HeaderChain {
        /// What [`encoding::append_header`] makes of each, one behind the other. Not yet looked at if they come from a peer.
        headers: bytes::Bytes,
    },
    /// A request, or the answer to one, with a number by which they find together: a `get_blocks`, `blocks_response`,
    /// `get_header_chain` or `header_chain`. Only for peers that show [`REQUEST_ID`].
    Numbered {
        /// Chosen by whoever asks, and not used before on this connection.
        id: u64,
        /// The message.
        message: Box<Message>,
    },
}

/// The feature in a handshake that says that a node answers a numbered request with the same number, so that several may
/// be under way.
pub const REQUEST_ID: &str = "request-id-1";
/// The feature in a handshake that says that a node answers [`Message::GetHeaderChain`].
pub const HEADER_CHAIN: &str = "header-chain-1";
/// The most headers in one [`Message::HeaderChain`]: about 0.7 MiB.
pub const MAX_HEADERS: u64 = 4096;

/// The feature in a handshake that says that a node takes [`Message::NewHashes`] and [`Message::GetData`].
pub const ANNOUNCE: &str = "announce-1";
/// The most blocks in one [`Message::NewHashes`] or [`Message::GetData`]. Gossip is about the tip; the rest is sync.
pub const MAX_ANNOUNCED_BLOCKS: usize = 16;
/// The most transactions in one [`Message::NewHashes`] or [`Message::GetData`]: 68 KiB in JSON.
pub const MAX_ANNOUNCED_TXS: usize = 1024;

/// The message types: the five of the documented protocol, and those of our extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// [`Message::Handshake`]
    Handshake,
    /// [`Message::NewBlock`]
    NewBlock,
    /// [`Message::NewTx`]
    NewTx,
    /// [`Message::GetBlocks`]
    GetBlocks,
    /// [`Message::BlocksResponse`]
    BlocksResponse,
    /// [`Message::NewHashes`]
    NewHashes,
    /// [`Message::GetData`]
    GetData,
    /// [`Message::GetHeaderChain`]
    GetHeaderChain,
    /// [`Message::HeaderChain`]
    HeaderChain,
}

impl MessageKind {
    /// Every type.
    pub const ALL: [Self; 9] = [
        Self::Handshake,
        Self::NewBlock,
        Self::NewTx,
        Self::GetBlocks,
        Self::BlocksResponse,
        Self::NewHashes,
        Self::GetData,
        Self::GetHeaderChain,
        Self::HeaderChain,
    ];

    /// The name on the reference's wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::NewBlock => "new_block",
            Self::NewTx => "new_tx",
            Self::GetBlocks => "get_blocks",
            Self::BlocksResponse => "blocks_response",
            Self::NewHashes => "new_hashes",
            Self::GetData => "get_data",
            Self::GetHeaderChain => "get_header_chain",
            Self::HeaderChain => "header_chain",
        }
    }

    /// Whether a message of this type may have a number.
    pub fn may_be_numbered(self) -> bool {
        matches!(self, Self::GetBlocks | Self::BlocksResponse | Self::GetHeaderChain | Self::HeaderChain)
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Message {
    /// This message with a number, where it was asked for with one.
    #[must_use]
    pub fn with_id(self, id: Option<u64>) -> Self {
        match id {
            Some(id) => Self::Numbered { id, message: Box::new(self) },
            None => self,
        }
    }

    /// Which type this is; of a numbered message, its own.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Handshake(_) => MessageKind::Handshake,
            Self::NewBlock(_) => MessageKind::NewBlock,
            Self::NewTx(_) => MessageKind::NewTx,
            Self::GetBlocks { .. } => MessageKind::GetBlocks,
            Self::BlocksResponse { .. } => MessageKind::BlocksResponse,
            Self::NewHashes { .. } => MessageKind::NewHashes,
            Self::GetData { .. } => MessageKind::GetData,
            Self::GetHeaderChain { .. } => MessageKind::GetHeaderChain,
            Self::HeaderChain { .. } => MessageKind::HeaderChain,
            Self::Numbered { message, .. } => message.kind(),
        }
    }
}

/// Who a node is and where its chain ends. All of it is a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake {
    /// `host:port` with exactly one colon: the reference splits it. A label, never a key.
    pub node_id: String,
    /// Where the node listens.
    pub p2p_port: u16,
    /// 1; not checked by the reference.
    pub protocol_version: u32,
    /// Must be ours.
    pub network: String,
    /// The height of the tip; absent (-1 in JSON) on an empty chain.
    pub best_height: Option<Height>,
    /// The hash of the tip; absent (null or 64 zeros in JSON) on an empty chain.
    pub best_hash: Option<Hash32>,
    /// The hash of block 0, if there is one; must be ours where both have one.
    pub genesis_hash: Option<Hash32>,
    /// Extensions that this node speaks. A peer without this field is a legacy peer.
    pub features: Option<Vec<String>>,
    /// A random number of this node's run: who meets their own has dialled themselves.
    pub nonce: Option<u64>,
}

impl Handshake {
    /// Whether the sender shows no extension at all, as the nodes of the Python reference do.
    pub fn is_legacy(&self) -> bool {
        self.features.is_none()
    }

    /// Whether the sender shows this extension.
    pub fn has_feature(&self, name: &str) -> bool {
        self.features.iter().flatten().any(|feature| feature == name)
    }
}

/// A block in a message: decoded, or still in the framework's binary encoding, or both.
///
/// A codec yields whichever it has at hand, and takes either; what is missing is worked out where it is needed.
#[derive(Debug, Clone, PartialEq)]
pub enum WireBlock {
    /// Decoded.
    Decoded(Arc<Block>),
    /// The bytes of [`encoding::encode_block`], not yet looked at if they come from a peer.
    Encoded(bytes::Bytes),
    /// Both, from a node that has the block committed: each codec takes what suits it. No codec yields it.
    Both(Arc<Block>, bytes::Bytes),
}

impl WireBlock {
    /// The decoded block.
    ///
    /// # Errors
    /// The bytes encode no block.
    pub fn decode(&self) -> Result<Arc<Block>, BlockDecodeError> {
        match self {
            Self::Decoded(block) | Self::Both(block, _) => Ok(Arc::clone(block)),
            Self::Encoded(bytes) => encoding::decode_block(bytes).map(Arc::new),
        }
    }

    /// The block in the framework's binary encoding.
    pub fn encode(&self) -> bytes::Bytes {
        match self {
            Self::Decoded(block) => encoding::encode_block(block).into(),
            Self::Encoded(bytes) | Self::Both(_, bytes) => bytes.clone(),
        }
    }
}

impl From<Block> for WireBlock {
    fn from(block: Block) -> Self {
        Self::Decoded(Arc::new(block))
    }
}

impl From<&EncodedBlock> for WireBlock {
    fn from(block: &EncodedBlock) -> Self {
        Self::Encoded(block.bytes.clone())
    }
}
