use std::ops::Range;

use cpc_framework::testkit::sync::Dice;

/// The longest input that is made, in bytes: frames above it say nothing new and take long.
const LONGEST: usize = 64 * 1024;
/// The most changes to one input.
const MOST_CHANGES: u64 = 6;
/// The most bytes that one change inserts or repeats.
const MOST_INSERTED: usize = 64;
/// Bytes that are edges in some format.
const EDGES: [u8; 14] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, b'{', b'}', b'[', b']', b'"', b'\\', b'\n', b'9'];
/// Texts that are edges in some format: what is put into numbers, lengths, names and places for them.
const WORDS: [&[u8]; 16] = [
    b"18446744073709551615",
    b"340282366920938463463374607431768211455",
    b"-1",
    b"1e400",
    b"null",
    b"true",
    b"\\u0000",
    b"\\ud800",
    b"\"type\":",
    b"\"payload\":",
    b"\"request_id\":",
    b"\xc7cpc\x01",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"[[[[[[[[[[[[[[[[",
    b"[::ffff:192.0.2.7]:9000",
];

/// Changes inputs a little, by a seed.
#[derive(Debug)]
pub struct Mutator {
    dice: Dice,
}

impl Mutator {
    /// The same seed makes the same changes.
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed) }
    }

    /// One of the inputs, changed.
    ///
    /// # Panics
    /// There are no inputs.
    pub fn next(&mut self, inputs: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = self.pick(inputs).1.clone();
        for _ in 0..=self.dice.below(MOST_CHANGES) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[(String, Vec<u8>)]) {
        let at = self.place(bytes.len() + 1);
        match self.dice.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.dice.below(8),
            1 if at < bytes.len() => bytes[at] = *self.pick(&EDGES),
            2 if at < bytes.len() => bytes[at] = self.dice.roll().to_le_bytes()[0],
            3 => {
                let word = *self.pick(&WORDS);
                bytes.splice(at..at, word.iter().copied());
            }
            4 => {
                let range = self.range(bytes.len());
                bytes.drain(range);
            }
            // A piece of another input, or of this one, in the place of a piece of this one.
            5 => {
                let other = self.pick(inputs).1.clone();
                let (taken, replaced) = (self.range(other.len()), self.range(bytes.len()));
                bytes.splice(replaced, other[taken].iter().copied());
            }
            6 => {
                let mut range = self.range(bytes.len());
                range.end = range.end.min(range.start + self.place(MOST_INSERTED));
                let copy = bytes[range].repeat(1 + self.place(8));
                bytes.splice(at..at, copy);
            }
            7 => self.change_a_number(bytes),
            _ => {
                let count = self.place(MOST_INSERTED);
                let byte = *self.pick(&EDGES);
                bytes.splice(at..at, std::iter::repeat_n(byte, count));
            }
        }
    }

    /// What may be a length: a big-endian number of 32 bits, made a little or much larger or smaller.
    fn change_a_number(&mut self, bytes: &mut [u8]) {
        let Some(last) = bytes.len().checked_sub(size_of::<u32>()) else { return };
        let at = self.place(last + 1);
        let Some(number) = bytes[at..].first_chunk_mut::<4>() else { return };
        let by = [1, 2, 255, 1 << 20][self.place(4)];
        let old = u32::from_be_bytes(*number);
        let new = if self.dice.below(2) == 0 { old.wrapping_add(by) } else { old.wrapping_sub(by) };
        *number = new.to_be_bytes();
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.place(from.len())]
    }

    /// A number below `end`.
    fn place(&mut self, end: usize) -> usize {
        usize::try_from(self.dice.below(end as u64)).unwrap()
    }

    fn range(&mut self, length: usize) -> Range<usize> {
        let (one, other) = (self.place(length + 1), self.place(length + 1));
        one.min(other)..one.max(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_another_makes_others() {
        let corpus = [("a".to_owned(), b"{\"type\":\"x\"}\n".to_vec()), ("b".to_owned(), vec![])];
        let made = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..200).map(|_| mutator.next(&corpus)).collect::<Vec<_>>()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        assert!(made(1).iter().all(|input| input.len() <= LONGEST));
    }
}
