mod torsion;

use proptest::prelude::*;

use super::*;
use crate::rules::keys::{Scheme, SecretKey};

fn signed(key: &SecretKey, hash: Hash32) -> Signed {
    let (pub_key, signature) = (key.public_key(), key.sign(&hash));
    Signed {
        key: pub_key.canonical_bytes().unwrap().try_into().unwrap(),
        signature: Signature::from_bytes(signature.canonical_bytes().unwrap().try_into().unwrap()),
        hash,
    }
}

fn key(number: u8) -> SecretKey {
    SecretKey::from_hex(Scheme::Ed25519, &hex::encode([number; 32])).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whichever byte is wrong, of key, signature or hash, and whether or not the keys were met before.
    #[test]
    fn a_batch_holds_exactly_if_each_of_it_does(
        keys in prop::collection::vec(0u8..6, 2..40), wrong in prop::option::of((0usize..40, 0usize..128, 0u8..8)), met in any::<bool>()
    ) {
        let known = KeyPoints::default();
        let good: Vec<Signed> = keys.iter().zip(0u8..).map(|(n, at)| signed(&key(*n), Hash32([at; 32]))).collect();
        let all: Vec<&Signed> = good.iter().collect();
        if met {
            prop_assert!(all_hold(&all, &known));
        }
        let mut batch = good.clone();
        if let Some((at, byte, bit)) = wrong {
            let one = &mut batch[at % good.len()];
            let mut signature = one.signature.to_bytes();
            match byte {
                0..32 => one.key[byte] ^= 1 << bit,
                32..96 => signature[byte - 32] ^= 1 << bit,
                _ => one.hash.0[byte - 96] ^= 1 << bit,
            }
            one.signature = Signature::from_bytes(&signature);
        }
        let batch: Vec<&Signed> = batch.iter().collect();
        let each = batch.iter().all(|signed| signed.verify().is_ok());
        prop_assert_eq!(all_hold(&batch, &known), each);
        prop_assert_eq!(all_hold(&batch, &known), each, "the second time");
        prop_assert_eq!(each, wrong.is_none());
    }
}

#[test]
fn the_points_of_keys_are_bounded_and_what_is_met_again_stays() {
    let mut generations = Generations::default();
    let name = |n: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        (key, ED25519_BASEPOINT_POINT)
    };
    for n in 0..3 * GENERATION {
        generations.add(vec![name(n)]);
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
    }
    assert!(generations.old.contains_key(&name(GENERATION).0), "the one before");
    assert!(!generations.old.contains_key(&name(0).0) && !generations.young.contains_key(&name(0).0));
    let known = KeyPoints(Arc::new(RwLock::new(generations)));
    let met = name(GENERATION).0;
    let (points, news) = known.find([met].iter()).unwrap();
    assert_eq!(points, [ED25519_BASEPOINT_POINT]);
    known.add(news);
    assert!(known.0.read().unwrap().young.contains_key(&met));
}
