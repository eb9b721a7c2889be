//! Whole messages: what one codec reads, it and the other one can write.

use bytes::BytesMut;

use super::CAP;
use crate::codec::{Codec, EncodeError};
use crate::testkit::codec::plain;
use crate::types::{Message, WireBlock, encoding};

/// The longest reason that an error may give, in bytes: it goes to a log, and may quote a peer.
const MAX_REASON: usize = 2048;

/// Reads `stream` in this codec. Whatever is read is written and read again: the same message, and then the same bytes.
///
/// # Panics
/// The codec does, or it says two things about one message.
pub fn decodes(codec: &dyn Codec, stream: &[u8]) {
    each_message(codec, stream, |message| {
        let Some(frame) = written(codec, &message) else { return };
        let again = reread(codec, &frame);
        assert_eq!(plain(again.clone()), plain(message), "another message after being written and read");
        assert_eq!(written(codec, &again), Some(frame), "another frame of the same message");
    });
}

/// Reads `stream` in one codec. Whatever is read is written in the other, read there, written in the first and read again: the
/// same message each time.
///
/// # Panics
/// The codecs differ about a message.
pub fn agree(codec: &dyn Codec, other: &dyn Codec, stream: &[u8]) {
    each_message(codec, stream, |message| {
        let Some(frame) = written(other, &message) else { return };
        let there = plain(reread(other, &frame));
        assert_eq!(there, plain(message.clone()), "{} says something else than {}", other.name(), codec.name());
        let frame = written(codec, &there).expect("its blocks can be read: they were written once");
        assert_eq!(plain(reread(codec, &frame)), there, "{} says something else on the way back", codec.name());
    });
}

/// The messages of a stream, whose blocks can all be read.
fn each_message(codec: &dyn Codec, stream: &[u8], mut found: impl FnMut(Message)) {
    let (mut decoder, mut buffer) = (codec.decoder(), BytesMut::from(stream));
    loop {
        let before = buffer.len();
        match decoder.decode(&mut buffer, CAP) {
            Ok(None) => return,
            Ok(Some(message)) => {
                look_into(&message);
                found(without_malformed(message));
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.len() <= MAX_REASON, "an error of {} bytes", said.len());
                if error.is_fatal() {
                    return;
                }
            }
        }
        assert!(buffer.len() < before, "a call that took nothing gave something");
    }
}

/// Does with encoded parts what a node does with them.
fn look_into(message: &Message) {
    match message {
        Message::HeaderChain { headers } => {
            for header in encoding::headers(headers).flatten() {
                let mut written = Vec::new();
                encoding::append_header(&header, &mut written);
                assert_eq!(encoding::headers(&written).next(), Some(Ok(header)));
            }
        }
        Message::NewBlock(WireBlock::Encoded(bytes)) => {
            if let Ok(block) = encoding::decode_block(bytes) {
                assert_eq!(encoding::encode_block(&block), bytes[..], "a block of two encodings");
                let header = encoding::header_of(bytes).expect("the block was read, and its header with it");
                assert_eq!(encoding::headers(header).next(), Some(Ok(block.header)));
            }
        }
        Message::Numbered { message, .. } => look_into(message),
        _ => {}
    }
}

/// What can be sent of a message.
fn without_malformed(message: Message) -> Message {
    match message {
        Message::BlocksResponse { blocks, .. } => Message::BlocksResponse { blocks, malformed: None },
        Message::Numbered { id, message } => without_malformed(*message).with_id(Some(id)),
        other => other,
    }
}

/// The frame of a message; `None` where this codec must look into a block for it and cannot, or where it is too long.
fn written(codec: &dyn Codec, message: &Message) -> Option<BytesMut> {
    let mut out = BytesMut::new();
    match codec.encode(message, CAP, &mut out) {
        Ok(()) => Some(out),
        Err(EncodeError::Block { .. }) => {
            assert!(!blocks_are_readable(message), "a readable block that cannot be written: {message:?}");
            None
        }
        Err(EncodeError::TooLarge { .. }) => None,
    }
}

fn blocks_are_readable(message: &Message) -> bool {
    match message {
        Message::NewBlock(block) => block.decode().is_ok(),
        Message::BlocksResponse { blocks, .. } => blocks.iter().all(|block| block.decode().is_ok()),
        Message::Numbered { message, .. } => blocks_are_readable(message),
        _ => true,
    }
}

fn reread(codec: &dyn Codec, frame: &BytesMut) -> Message {
    let (mut decoder, mut buffer) = (codec.decoder(), frame.clone());
    let message = decoder.decode(&mut buffer, CAP);
    assert!(buffer.is_empty(), "{} bytes of a frame are left over", buffer.len());
    match message {
        Ok(Some(message)) => message,
        other => panic!("{} cannot read what it wrote: {other:?} from {frame:?}", codec.name()),
    }
}
