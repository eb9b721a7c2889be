//! How many signatures the machine verifies.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ed25519_zebra::{Signature, VerificationKeyBytes, batch};
use rand_core::{TryCryptoRng, TryRng};

use crate::load::Signed;

/// Sizes of batch that are tried.
const BATCHES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];

/// The most signatures a second, and the size of batch that gave it.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) per_second: f64,
    pub(crate) batch: usize,
}

/// Verifies on all cores, for a while with each size of batch.
pub(crate) fn measure(signed: &[Signed], quick: bool) -> Limit {
    let time = Duration::from_millis(if quick { 500 } else { 2000 });
    let items: Vec<_> = signed
        .iter()
        .map(|one| {
            let key = VerificationKeyBytes::try_from(one.pub_key.canonical_bytes().unwrap()).unwrap();
            (key, Signature::try_from(one.signature.canonical_bytes().unwrap()).unwrap(), one.hash.0)
        })
        .collect();
    let mut best = Limit { per_second: 0.0, batch: 0 };
    for size in BATCHES {
        let per_second = rate(&items, size, time);
        println!("verified in batches of {size:>4}: {per_second:>7.0}/s");
        if per_second > best.per_second {
            best = Limit { per_second, batch: size };
        }
    }
    best
}

fn rate(items: &[(VerificationKeyBytes, Signature, [u8; 32])], size: usize, time: Duration) -> f64 {
    let cores = std::thread::available_parallelism().unwrap().get();
    let (done, over, next) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
    let batches: Vec<_> = items.chunks_exact(size).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let mut batch = batch::Verifier::new();
                    for (key, signature, hash) in batches[next.fetch_add(1, Ordering::Relaxed) % batches.len()] {
                        batch.queue((*key, *signature, hash));
                    }
                    batch.verify(Coefficients(size as u64)).unwrap();
                    done.fetch_add(size, Ordering::Relaxed);
                    if start.elapsed() >= time {
                        over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

/// Coefficients that cost nothing. Nobody here chooses signatures to fit them.
struct Coefficients(u64);

impl TryRng for Coefficients {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let bytes = self.try_next_u64()?.to_le_bytes();
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// `SplitMix64`.
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Ok(z ^ (z >> 31))
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in target.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Coefficients {}
