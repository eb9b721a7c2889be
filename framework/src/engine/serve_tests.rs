//! What becomes of stored blocks that no frame can give.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::serve::{AnswerSizes, blocks_frame};
use super::unchecked::Unchecked;
use crate::chain::KeyBook;
use crate::codec::{Codec, DecodeError, Decoder, EncodeError, Sniff};
use crate::env::ComputePool;
use crate::limits::Limits;
use crate::rules::Verifier;
use crate::testkit::chains::{Shape, ShapedChain};
use crate::types::{BlockLink, EncodedBlock, Hash32, HashRules, Message, WireBlock};

/// Writes of each block its length, and twice its bytes: as text does.
#[derive(Debug)]
struct Text;

impl Codec for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn encode(&self, message: &Message, cap: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        let Message::BlocksResponse { blocks, .. } = message else { panic!("{:?}", message.kind()) };
        for block in blocks {
            let WireBlock::Encoded(bytes) = block else { panic!("a stored block comes encoded") };
            out.extend_from_slice(&[u8::try_from(bytes.len() / 10).unwrap()]);
            out.extend_from_slice(&vec![0; 2 * bytes.len() - 1]);
        }
        let too_large = EncodeError::TooLarge { kind: message.kind(), cap };
        if out.len() > cap { Err(too_large) } else { Ok(()) }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        #[derive(Debug)]
        struct Nothing;
        impl Decoder for Nothing {
            fn decode(&mut self, _: &mut BytesMut, _: usize) -> Result<Option<Message>, DecodeError> {
                Ok(None)
            }
        }
        Box::new(Nothing)
    }

    fn sniff(&self, _: &[u8]) -> Sniff {
        Sniff::NeedMore
    }
}

#[test]
fn a_stored_block_that_no_node_would_read_is_answered_with_those_before_it_or_with_none() {
    let shape = Shape { rules: HashRules::Canonical, txs: 0, accounts: 1, new_accounts: 0.0 };
    let chain = ShapedChain::new(shape, ComputePool::Inline).unwrap();
    let verifier = Verifier::new(Arc::clone(chain.genesis()));
    let unchecked = Unchecked::new(None, verifier, KeyBook::default(), ComputePool::Inline);
    let limits = Limits { frame_response_max: 1000, get_blocks_bytes: 900, ..Limits::default() };
    let answer = |sizes: &[usize]| {
        let block = |(height, size): (u64, &usize)| EncodedBlock {
            link: BlockLink { height, hash: Hash32::ZERO, prev_hash: Hash32::ZERO },
            bytes: Bytes::from(vec![0; *size]),
        };
        let blocks: Vec<EncodedBlock> = (0..).zip(sizes).map(block).collect();
        blocks_frame(&Text, &AnswerSizes::default(), &unchecked, &blocks, None, &limits).unwrap().len()
    };
    assert_eq!(answer(&[100, 100]), 400);
    assert_eq!(answer(&[500]), 1000, "one block may be above what an answer aims at");
    assert_eq!(answer(&[510]), 0);
    assert_eq!(answer(&[510]), 0, "again, and it is not said again");
    assert_eq!(answer(&[100, 410]), 200, "the second one is for the next answer, which may be as long");
    assert_eq!(answer(&[]), 0);
}
