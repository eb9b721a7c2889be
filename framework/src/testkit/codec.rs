//! The conformance suite of [`Codec`]: run it over a codec by [`codec_suite!`](crate::codec_suite).

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::messages::Messages;
use crate::codec::{Codec, DecodeError, EncodeError, Sniff};
use crate::types::{Message, MessageKind, WireBlock};

/// A codec, and the bad frames of it that the suite cannot make up.
pub struct CodecFixture {
    /// What is tested.
    pub codec: Box<dyn Codec>,
    /// Whole frames that are no message.
    pub malformed: Vec<Vec<u8>>,
    /// Whole frames of a type that nobody knows.
    pub unknown: Vec<Vec<u8>>,
    /// The frame of a `blocks_response` with these blocks and then one that cannot be read.
    pub broken_response: fn(&[WireBlock]) -> Vec<u8>,
}

impl fmt::Debug for CodecFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecFixture").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// Makes a module with one test for each sentence of the [`Codec`](crate::codec::Codec) contract.
///
/// `codec_suite!(my_codec, fixture())` makes the module `my_codec`; the expression gives a
/// [`CodecFixture`](crate::testkit::codec::CodecFixture), once for each test.
///
/// ```
/// # mod example {
/// use bytes::BytesMut;
/// use cpc_codecs::PostcardCodec;
/// use cpc_framework::codec::Codec;
/// use cpc_framework::testkit::codec::CodecFixture;
/// use cpc_framework::types::{Message, WireBlock};
///
/// fn fixture() -> CodecFixture {
///     CodecFixture {
///         codec: Box::new(PostcardCodec),
///         malformed: vec![frame(b""), frame(b"\x03\x01")],
///         unknown: vec![frame(b"\xff")],
///         broken_response,
///     }
/// }
///
/// fn frame(body: &[u8]) -> Vec<u8> {
///     [b"\xc7cpc\x01", &(body.len() as u32).to_be_bytes()[..], body].concat()
/// }
///
/// /// One block more is announced than there are.
/// fn broken_response(blocks: &[WireBlock]) -> Vec<u8> {
///     let message = Message::BlocksResponse { blocks: blocks.to_vec(), malformed: None };
///     let mut out = BytesMut::new();
///     PostcardCodec.encode(&message, usize::MAX, &mut out).unwrap();
///     let mut body = out[9..].to_vec();
///     body[1] += 1;
///     frame(&body)
/// }
///
/// cpc_framework::codec_suite!(postcard, fixture());
/// # }
/// ```
#[macro_export]
macro_rules! codec_suite {
    ($module:ident, $fixture:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $crate::codec_suite! { @tests $fixture;
                decoding_what_was_encoded_gives_an_equal_message_however_it_is_cut
                several_messages_in_one_piece_come_out_one_by_one_in_order
                a_frame_above_the_cap_is_refused_at_the_byte_after_the_cap
                a_frame_of_exactly_the_cap_is_read
                encoding_above_the_cap_fails_and_leaves_the_output_as_it_was
                no_byte_is_scanned_twice
                nothing_is_reserved_beyond_what_has_arrived
                damaged_frames_neither_panic_nor_exhaust_memory
                a_message_that_cannot_be_read_is_an_error_and_the_next_is_read
                a_message_of_an_unknown_type_is_an_error_and_the_next_is_read
                a_response_with_a_block_that_cannot_be_read_gives_the_blocks_before_it
                sniff_claims_its_own_streams_within_16_bytes
                sniff_never_claims_the_bytes_of_another_codec
            }
        }
    };
    (@tests $fixture:expr; $($case:ident)*) => {
        $(#[test] fn $case() { $crate::testkit::codec::$case(&$fixture); })*
    };
}

/// Large enough for every message of the suite.
const CAP: usize = 16 * 1024 * 1024;
/// How many times each random case is repeated.
const ROUNDS: usize = 30;

/// Decoding what was encoded gives an equal message, however the bytes are cut into pieces.
pub fn decoding_what_was_encoded_gives_an_equal_message_however_it_is_cut(fixture: &CodecFixture) {
    let mut random = Messages::from_printed_seed();
    for message in (0..ROUNDS).flat_map(|_| random.one_of_each()).collect::<Vec<_>>() {
        let frame = encoded(fixture, &message);
        for longest in [1, 7, 1000, frame.len()] {
            let mut decoder = fixture.codec.decoder();
            let mut buffer = BytesMut::new();
            let mut sent = 0;
            while sent < frame.len() {
                let piece = (1 + random.below(longest)).min(frame.len() - sent);
                buffer.extend_from_slice(&frame[sent..sent + piece]);
                sent += piece;
                match decoder.decode(&mut buffer, CAP) {
                    Ok(None) => assert!(sent < frame.len(), "a whole frame gives no message: {message:?}"),
                    Ok(Some(decoded)) => {
                        assert_eq!(sent, frame.len(), "a message came before its frame was whole");
                        assert_eq!(plain(decoded), plain(message.clone()));
                    }
                    Err(error) => panic!("{error} at {message:?}"),
                }
            }
            assert!(buffer.is_empty(), "{} bytes are left over", buffer.len());
        }
    }
}

/// Several messages in one piece come out one by one, in order.
pub fn several_messages_in_one_piece_come_out_one_by_one_in_order(fixture: &CodecFixture) {
    let mut random = Messages::from_printed_seed();
    let messages: Vec<_> = (0..ROUNDS).flat_map(|_| random.one_of_each()).collect();
    let mut buffer = BytesMut::new();
    for message in &messages {
        fixture.codec.encode(message, CAP, &mut buffer).expect("the messages are below the cap");
    }
    let decoded = drain(fixture, &mut buffer);
    assert_eq!(decoded, messages.into_iter().map(|message| Ok(plain(message))).collect::<Vec<_>>());
}

/// A frame above the cap is refused at the byte after the cap, before its end has come.
pub fn a_frame_above_the_cap_is_refused_at_the_byte_after_the_cap(fixture: &CodecFixture) {
    let frame = encoded(fixture, &Messages::from_printed_seed().response(20));
    for cap in [0, 1, 100, frame.len() / 2, frame.len() - 1] {
        let mut decoder = fixture.codec.decoder();
        let mut buffer = BytesMut::new();
        let refused = frame.iter().take(cap + 1).find_map(|byte| {
            buffer.extend_from_slice(&[*byte]);
            decoder.decode(&mut buffer, cap).transpose()
        });
        let refused = refused.unwrap_or_else(|| panic!("{} bytes were taken under a cap of {cap}", cap + 1));
        assert_eq!(refused.map(plain), Err(DecodeError::TooLarge { cap }));
        assert!(DecodeError::TooLarge { cap }.is_fatal());
    }
}

/// A frame of exactly the cap is read, one byte less is too little.
pub fn a_frame_of_exactly_the_cap_is_read(fixture: &CodecFixture) {
    for message in Messages::from_printed_seed().one_of_each() {
        let frame = encoded(fixture, &message);
        let decoded = fixture.codec.decoder().decode(&mut frame.clone(), frame.len());
        assert_eq!(decoded.map(|decoded| decoded.map(plain)), Ok(Some(plain(message))));
    }
}

/// Encoding a frame above the cap fails and leaves the output as it was; a frame of exactly the cap is written.
pub fn encoding_above_the_cap_fails_and_leaves_the_output_as_it_was(fixture: &CodecFixture) {
    for message in Messages::from_printed_seed().one_of_each() {
        let frame = encoded(fixture, &message);
        let mut out = BytesMut::from(&b"before"[..]);
        let cap = frame.len() - 1;
        let refused = fixture.codec.encode(&message, cap, &mut out);
        assert_eq!(refused, Err(EncodeError::TooLarge { kind: message.kind(), cap }));
        assert_eq!(out, b"before"[..]);
        fixture.codec.encode(&message, cap + 1, &mut out).expect("a frame of exactly the cap is written");
        assert_eq!(out[6..], frame);
    }
}

/// Cutting a frame into single bytes costs time linear in its length.
pub fn no_byte_is_scanned_twice(fixture: &CodecFixture) {
    let mut random = Messages::from_printed_seed();
    let small = frame_of_at_least(fixture, &mut random, 64 * 1024);
    let large = frame_of_at_least(fixture, &mut random, 8 * small.len());
    let time = |frame: &BytesMut| {
        let mut decoder = fixture.codec.decoder();
        let mut buffer = BytesMut::with_capacity(frame.len());
        let start = Instant::now();
        // All but the last byte: what a whole frame costs is another matter.
        for byte in &frame[..frame.len() - 1] {
            buffer.extend_from_slice(&[*byte]);
            assert_eq!(decoder.decode(&mut buffer, CAP), Ok(None));
        }
        start.elapsed()
    };
    // Linear time is 8 to 1 and quadratic 64 to 1; a busy machine may disturb some of the attempts.
    let linear = (0..5).any(|_| time(&large) < 24 * time(&small).max(Duration::from_micros(100)));
    assert!(linear, "{} bytes took more than 24 times as long as {} bytes", large.len(), small.len());
}

/// Nothing is reserved beyond what has arrived: memory never exceeds a small multiple of it.
pub fn nothing_is_reserved_beyond_what_has_arrived(fixture: &CodecFixture) {
    let frame = frame_of_at_least(fixture, &mut Messages::from_printed_seed(), 1024 * 1024);
    for arrived in [1, 16, 1000, 100_000] {
        let mut buffer = BytesMut::from(&frame[..arrived]);
        assert_eq!(fixture.codec.decoder().decode(&mut buffer, CAP), Ok(None));
        let bound = 4 * arrived.max(1024);
        assert!(buffer.capacity() <= bound, "{} bytes reserved for {arrived}", buffer.capacity());
    }
}

/// Whatever a frame is changed into, it is read or refused, and never costs more than it should.
pub fn damaged_frames_neither_panic_nor_exhaust_memory(fixture: &CodecFixture) {
    let mut random = Messages::from_printed_seed();
    for frame in
        (0..ROUNDS).flat_map(|_| random.one_of_each()).map(|message| encoded(fixture, &message)).collect::<Vec<_>>()
    {
        for _ in 0..10 {
            let mut damaged = frame.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(damaged.len());
                damaged[at] = [0, 0x7f, 0xff, random.bytes(1)[0]][random.below(4)];
            }
            drain(fixture, &mut damaged);
        }
        let cut: Range<usize> = 0..random.below(frame.len());
        drain(fixture, &mut BytesMut::from(&frame[cut]));
    }
}

/// A message that cannot be read is an error that is not fatal; the next one is read.
pub fn a_message_that_cannot_be_read_is_an_error_and_the_next_is_read(fixture: &CodecFixture) {
    assert!(!fixture.malformed.is_empty(), "the fixture gives no malformed frame");
    next_is_read_after(fixture, &fixture.malformed, |error| matches!(error, DecodeError::Malformed(_)));
}

/// A message whose type is not known is an error that is not fatal; the next one is read.
pub fn a_message_of_an_unknown_type_is_an_error_and_the_next_is_read(fixture: &CodecFixture) {
    assert!(!fixture.unknown.is_empty(), "the fixture gives no frame of an unknown type");
    next_is_read_after(fixture, &fixture.unknown, |error| matches!(error, DecodeError::UnknownType(_)));
}

/// A response with a block that cannot be read comes out with the blocks before it, and says why.
pub fn a_response_with_a_block_that_cannot_be_read_gives_the_blocks_before_it(fixture: &CodecFixture) {
    let mut random = Messages::from_printed_seed();
    for count in [0, 1, 5] {
        let whole: Vec<_> = (0..count).map(|_| WireBlock::from(random.block())).collect();
        let mut buffer = BytesMut::from(&(fixture.broken_response)(&whole)[..]);
        let decoded = fixture.codec.decoder().decode(&mut buffer, CAP).expect("the response is no error");
        let Some(Message::BlocksResponse { blocks, malformed }) = decoded else { panic!("{decoded:?} is no response") };
        let readable: Vec<_> =
            blocks.into_iter().map_while(|block| block.decode().ok().map(WireBlock::Decoded)).collect();
        assert_eq!(readable, whole);
        assert!(malformed.is_some_and(|why| !why.is_empty()), "the response does not say why it ends");
    }
}

/// `sniff` decides within 16 bytes, and claims each stream of its own codec.
pub fn sniff_claims_its_own_streams_within_16_bytes(fixture: &CodecFixture) {
    for message in Messages::from_printed_seed().one_of_each() {
        let frame = encoded(fixture, &message);
        assert_eq!(fixture.codec.sniff(&frame[..frame.len().min(16)]), Sniff::Mine, "{message:?}");
        for length in 0..frame.len().min(16) {
            assert_ne!(fixture.codec.sniff(&frame[..length]), Sniff::NotMine, "after {length} bytes of {message:?}");
        }
    }
}

/// `sniff` never claims the bytes of another codec.
pub fn sniff_never_claims_the_bytes_of_another_codec(fixture: &CodecFixture) {
    const STREAMS: [(&str, &[u8]); 5] = [
        ("json", b"{\"type\":\"handshake\",\"payload\":{\"node_id\":\"a:1\"}}\n"),
        ("postcard", b"\xc7cpc\x01\x00\x00\x00\x20\x00\x01\x02\x03\x04\x05\x06\x07"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("zeros", &[0; 16]),
    ];
    for (name, stream) in STREAMS.into_iter().filter(|(name, _)| *name != fixture.codec.name()) {
        assert_eq!(fixture.codec.sniff(&stream[..16]), Sniff::NotMine, "the bytes of {name}");
        for length in 0..16 {
            assert_ne!(fixture.codec.sniff(&stream[..length]), Sniff::Mine, "{length} bytes of {name}");
        }
    }
}

/// The frame of a message.
fn encoded(fixture: &CodecFixture, message: &Message) -> BytesMut {
    let mut frame = BytesMut::new();
    fixture.codec.encode(message, CAP, &mut frame).unwrap_or_else(|error| panic!("{error}: {message:?}"));
    frame
}

fn frame_of_at_least(fixture: &CodecFixture, random: &mut Messages, bytes: usize) -> BytesMut {
    let block = encoded(fixture, &random.response(100)).len() / 100;
    let message = random.response(bytes / block * 3 / 2 + 1);
    encoded(fixture, &message)
}

/// Everything that is in `buffer`, with blocks decoded, up to the first fatal error.
fn drain(fixture: &CodecFixture, buffer: &mut BytesMut) -> Vec<Result<Message, DecodeError>> {
    let mut decoder = fixture.codec.decoder();
    let mut all = Vec::new();
    while let Some(next) = decoder.decode(buffer, CAP).transpose() {
        let fatal = next.as_ref().is_err_and(DecodeError::is_fatal);
        all.push(next.map(plain));
        if fatal {
            break;
        }
    }
    all
}

fn next_is_read_after(fixture: &CodecFixture, frames: &[Vec<u8>], expected: fn(&DecodeError) -> bool) {
    let mut random = Messages::from_printed_seed();
    for frame in frames {
        let next = random.message(MessageKind::NewBlock);
        let mut buffer = BytesMut::from(&frame[..]);
        fixture.codec.encode(&next, CAP, &mut buffer).expect("the message is below the cap");
        let mut all = drain(fixture, &mut buffer);
        assert_eq!(all.pop(), Some(Ok(plain(next))), "after {}", String::from_utf8_lossy(frame));
        match &all[..] {
            [Err(error)] => assert!(expected(error) && !error.is_fatal(), "{error:?}"),
            other => panic!("{other:?} from {}", String::from_utf8_lossy(frame)),
        }
    }
}

/// The message with its blocks decoded, where they can be, so that two can be compared.
pub(super) fn plain(mut message: Message) -> Message {
    if let Message::Numbered { id, message } = message {
        return Message::Numbered { id, message: Box::new(plain(*message)) };
    }
    let blocks = match &mut message {
        Message::NewBlock(block) => std::slice::from_mut(block),
        Message::BlocksResponse { blocks, .. } => blocks,
        _ => &mut [],
    };
    for block in blocks {
        if let Ok(decoded) = block.decode() {
            *block = WireBlock::Decoded(decoded);
        }
    }
    message
}
