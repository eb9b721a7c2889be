//! The limit: how many signatures a second this machine verifies when it does nothing else.

use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, Verifier as _};
use ed25519_zebra::{Signature, VerificationKeyBytes, batch};

/// Sizes of batches among which the best is taken.
const BATCHES: [usize; 6] = [128, 256, 512, 1024, 2048, 4096];
/// Distinct keys, one signature each, for every thread.
const SIGNATURES: usize = 4096;

/// What the machine can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Ed25519 signatures a second with all cores under the acceptance rule of canonical chains (ZIP 215), in the best batches.
    pub(crate) sigs_per_second: f64,
    /// The size of these batches.
    pub(crate) batch: usize,
    /// The same one by one, with ed25519-dalek.
    pub(crate) one_by_one: f64,
    /// Threads.
    pub(crate) cores: usize,
}

/// Measures, for about `time` a figure.
pub(crate) fn measure(time: Duration) -> Limit {
    let cores = std::thread::available_parallelism().unwrap().get();
    let signatures: Vec<Vec<Signed>> = (0..cores).map(|core| sign(core * SIGNATURES)).collect();
    let one_by_one = rate(&signatures, time, |signed| {
        for item in signed {
            let key = ed25519_dalek::VerifyingKey::from_bytes(&item.key).unwrap();
            key.verify(&item.message, &Signature::from_bytes(&item.signature)).unwrap();
        }
    });
    let rates = BATCHES.map(|size| {
        let rate = rate(&signatures, time, |signed| {
            for (at, chunk) in signed.chunks(size).enumerate() {
                let mut batch = batch::Verifier::new();
                for item in chunk {
                    let signature = Signature::from_bytes(&item.signature);
                    batch.queue((VerificationKeyBytes::from(item.key), signature, &item.message));
                }
                batch.verify(Numbers(at as u64)).unwrap();
            }
        });
        (rate, size)
    });
    let (sigs_per_second, batch) = rates.into_iter().max_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap();
    Limit { sigs_per_second, batch, one_by_one, cores }
}

struct Signed {
    key: [u8; 32],
    message: [u8; 32],
    signature: [u8; 64],
}

fn sign(from: usize) -> Vec<Signed> {
    let sign = |number: usize| {
        let mut message = [0; 32];
        message[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let key = ed25519_dalek::SigningKey::from_bytes(&message);
        Signed { key: key.verifying_key().to_bytes(), message, signature: key.sign(&message).to_bytes() }
    };
    (from..from + SIGNATURES).map(sign).collect()
}

/// Signatures a second of all threads together. `verify` is given all signatures of a thread again and again.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn rate(signatures: &[Vec<Signed>], time: Duration, verify: impl Fn(&[Signed]) + Sync) -> f64 {
    let verify = &verify;
    std::thread::scope(|scope| {
        let threads: Vec<_> = signatures
            .iter()
            .map(|signed| {
                scope.spawn(move || {
                    let begun = Instant::now();
                    let mut rounds = 0;
                    while begun.elapsed() < time {
                        verify(signed);
                        rounds += 1;
                    }
                    (rounds * signed.len()) as f64 / begun.elapsed().as_secs_f64()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// Numbers that nobody has to be surprised by: nobody attacks a benchmark (`SplitMix64`).
struct Numbers(u64);

impl rand_core::TryRng for Numbers {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|bits| u32::try_from(bits >> 32).unwrap_or_default())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in target.chunks_mut(8) {
            let bits = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bits[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Numbers {}
