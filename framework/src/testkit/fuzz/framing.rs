//! Streams in pieces: where a stream is cut says nothing about what is in it.

use bytes::BytesMut;

use crate::codec::{Codec, DecodeError, Sniff};
use crate::testkit::codec::plain;
use crate::types::Message;

/// The caps that are tried: those of a node, and some that inputs exceed.
const CAPS: [usize; 4] = [64, 512, 2048, 4 << 20];
/// Within so many bytes every codec knows its own streams.
const SNIFFED: usize = 16;
/// A short stream after this first byte and no cuts is repeated up to [`STRETCHED`] bytes and comes byte by byte: few, since each takes as long as
/// thousands of others.
const STRETCH: u8 = 0xff;
/// The longest stream that is repeated, in bytes.
const SHORT: usize = 32;
/// As long as that work which is not linear in it takes minutes, and work that is takes milliseconds.
const STRETCHED: usize = 1 << 20;
/// The most memory that a buffer takes for what is in it: it doubles as it grows.
const SPARE: usize = 4;
/// The least that a buffer takes.
const SMALLEST: usize = 4096;

/// Reads a stream in pieces, in each of these codecs. The first byte of `data` chooses the cap, the second how many of the next say
/// where it is cut; the rest is the stream.
///
/// # Panics
/// A codec finds other messages in the pieces than in the whole; more waits than the cap allows; a call gives something and takes
/// nothing; two codecs claim the same stream, or none within 16 bytes and one later.
pub fn frames(codecs: &[&dyn Codec], data: &[u8]) {
    let [choice, cuts, rest @ ..] = data else { return };
    let (cuts, stream) = rest.split_at(rest.len().min(usize::from(*cuts)));
    recognised_by_one(codecs, stream);
    let cap = CAPS[usize::from(*choice) % CAPS.len()];
    for codec in codecs {
        let whole = Reading::of(*codec, cap, [stream].into_iter());
        let pieces = Reading::of(*codec, cap, cut(stream, cuts));
        assert!(whole.found == pieces.found, "{:?} in pieces, {:?} in one", pieces.found, whole.found);
        if *choice == STRETCH && cuts.is_empty() && (1..=SHORT).contains(&stream.len()) {
            let long: Vec<u8> = stream.iter().copied().cycle().take(STRETCHED).collect();
            Reading::of(*codec, STRETCHED, long.chunks(1));
        }
    }
}

/// The pieces of a stream whose lengths `cuts` give in turn, one more than the byte says; without any, single bytes.
fn cut<'a>(mut stream: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let lengths = if cuts.is_empty() { &[0][..] } else { cuts };
    lengths.iter().cycle().map_while(move |length| {
        let (piece, rest) = stream.split_at(stream.len().min(usize::from(*length) + 1));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What a decoder found in pieces.
#[derive(Debug, Default)]
struct Reading {
    found: Vec<Result<Message, DecodeError>>,
}

impl Reading {
    fn of<'a>(codec: &dyn Codec, cap: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut decoder, mut buffer, mut reading) = (codec.decoder(), BytesMut::new(), Self::default());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            let (arrived, most) = (buffer.len(), buffer.capacity());
            loop {
                let before = buffer.len();
                let next = match decoder.decode(&mut buffer, cap) {
                    Ok(None) => break,
                    Ok(Some(message)) => Ok(plain(message)),
                    Err(error) => Err(error),
                };
                let over = next.as_ref().is_err_and(DecodeError::is_fatal);
                assert!(over || buffer.len() < before, "a call that took nothing gave {next:?}");
                reading.found.push(next);
                if over {
                    return reading;
                }
            }
            assert!(buffer.len() <= cap, "{} bytes wait under a cap of {cap}", buffer.len());
            let bound = most.max(SPARE * arrived.max(SMALLEST));
            assert!(buffer.capacity() <= bound, "{} bytes reserved for {arrived}", buffer.capacity());
        }
        reading
    }
}

/// As a link that takes several codecs looks at the first bytes: opinions do not change once they are given, and at most one claims them.
fn recognised_by_one(codecs: &[&dyn Codec], stream: &[u8]) {
    let mut last = vec![Sniff::NeedMore; codecs.len()];
    for length in 0..=stream.len().min(SNIFFED) {
        let now: Vec<Sniff> = codecs.iter().map(|codec| codec.sniff(&stream[..length])).collect();
        for ((before, now), codec) in last.iter().zip(&now).zip(codecs) {
            let kept = *before == Sniff::NeedMore || before == now;
            assert!(kept, "{}: {before:?}, and {now:?} after {length} bytes", codec.name());
            assert!(length < SNIFFED || *now != Sniff::NeedMore, "{} does not know after {length} bytes", codec.name());
        }
        let claims = now.iter().filter(|opinion| **opinion == Sniff::Mine).count();
        assert!(claims <= 1, "{claims} codecs claim {:?}", &stream[..length]);
        last = now;
    }
}
