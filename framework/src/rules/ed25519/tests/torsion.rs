//! Points with a small-order component, and encodings that are not canonical: what ZIP 215 takes and RFC 8032 leaves open. Our batches
//! must decide each as ed25519-zebra does alone, whether or not the keys were met before.

use curve25519_dalek::constants::EIGHT_TORSION;

use super::*;

/// A secret scalar; any will do.
fn secret(number: u64) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&Sha512::digest(number.to_le_bytes()).into())
}

/// The encoding of a point, plus the modulus where that fits: another encoding of the same point.
fn encodings(point: EdwardsPoint) -> Vec<[u8; 32]> {
    let canonical = point.compress().0;
    let mut all = vec![canonical];
    // p = 2^255 - 19: y + p fits in 255 bits for the y below 19 only.
    if canonical[0] < 19 && canonical[1..31].iter().all(|byte| *byte == 0) && canonical[31] << 1 == 0 {
        let mut other = [0xff; 32];
        other[0] = canonical[0] + 0xed;
        other[31] = 0x7f | canonical[31] & 0x80;
        all.push(other);
    }
    // Where x = 0, which a point and its negative share, the sign of x says nothing; ZIP 215 takes either.
    if point == -point {
        for at in 0..all.len() {
            let mut signed = all[at];
            signed[31] ^= 0x80;
            all.push(signed);
        }
    }
    all
}

/// A signature whose R and A are prime-order points with torsion added; `off` is added to s, so that 0 makes it good.
fn with_torsion(key: u64, a: usize, nonce: u64, r: usize, hash: Hash32, off: Scalar) -> Signed {
    let point = ED25519_BASEPOINT_POINT * secret(key) + EIGHT_TORSION[a];
    let big_r = ED25519_BASEPOINT_POINT * secret(nonce) + EIGHT_TORSION[r];
    of_encodings(point.compress().0, big_r.compress().0, hash, |k| secret(nonce) + k * secret(key) + off)
}

fn of_encodings(key: [u8; 32], r: [u8; 32], hash: Hash32, s: impl Fn(Scalar) -> Scalar) -> Signed {
    let unsigned = Signed { key, signature: Signature::from_components(r, [0; 32]), hash };
    let s = s(unsigned.challenge());
    Signed { signature: Signature::from_components(r, s.to_bytes()), ..unsigned }
}

/// Asserts that a batch decides as each of its signatures does alone, with keys that were never met, and were met. Gives the verdict.
fn decided_alike(batch: &[Signed]) -> bool {
    let alone = batch.iter().all(|signed| signed.verify().is_ok());
    let all: Vec<&Signed> = batch.iter().collect();
    let known = KeyPoints::default();
    assert_eq!(all_hold(&all, &known), alone, "keys that were never met: {batch:?}");
    // Met with all that this batch has of good ones.
    for signed in batch {
        all_hold(&[signed], &known);
    }
    assert_eq!(all_hold(&all, &known), alone, "keys that were met: {batch:?}");
    alone
}

#[test]
fn keys_and_nonces_of_mixed_order_are_taken_alike_alone_and_in_a_batch() {
    let ordinary = signed(&key(1), Hash32([9; 32]));
    for a in 0..8 {
        for r in 0..8 {
            let good = with_torsion(3, a, 50, r, Hash32([1; 32]), Scalar::ZERO);
            assert!(decided_alike(std::slice::from_ref(&good)), "the cofactor takes torsion away: {a} {r}");
            assert!(decided_alike(&[ordinary.clone(), good.clone()]));
            let bad = with_torsion(3, a, 50, r, Hash32([1; 32]), Scalar::ONE);
            assert!(!decided_alike(&[ordinary.clone(), bad]), "{a} {r}");
        }
    }
}

#[test]
fn errors_of_one_key_in_several_signatures_do_not_cancel_out() {
    // One key's terms are added up, and a torsion component is lost in that or not: it makes no difference.
    for a in [0, 1, 4] {
        let sign = |nonce: u8, r, off| with_torsion(3, a, nonce.into(), r, Hash32([nonce; 32]), off);
        let torsions: Vec<Signed> = (0..8).map(|at| sign(60 + at, at.into(), Scalar::ZERO)).collect();
        assert!(decided_alike(&torsions), "{a}");
        // What one has too much the other has too little.
        let mut opposed = torsions.clone();
        opposed.extend([sign(80, 1, Scalar::ONE), sign(81, 7, -Scalar::ONE)]);
        assert!(!decided_alike(&opposed), "{a}");
        let mut twice = torsions;
        twice.extend([sign(82, 3, Scalar::ONE), sign(82, 3, Scalar::ONE)]);
        assert!(!decided_alike(&twice), "{a}");
    }
}

#[test]
fn encodings_that_are_not_canonical_are_taken_alike_alone_and_in_a_batch() {
    let mut seen = 0;
    let ordinary = signed(&key(1), Hash32([9; 32]));
    for torsion in EIGHT_TORSION {
        for encoding in encodings(torsion) {
            seen += 1;
            let hash = Hash32([2; 32]);
            // As the key: R = r·B and s = r, since 8·k·A is neutral.
            let r = (ED25519_BASEPOINT_POINT * secret(70)).compress().0;
            let as_key = of_encodings(encoding, r, hash, |_| secret(70));
            // As R, under an ordinary key: s = k·a.
            let ours = (ED25519_BASEPOINT_POINT * secret(5)).compress().0;
            let as_r = of_encodings(ours, encoding, hash, |k| k * secret(5));
            let as_both = of_encodings(encoding, encoding, hash, |_| Scalar::ZERO);
            for one in [as_key, as_r, as_both] {
                assert!(decided_alike(&[one.clone(), ordinary.clone()]), "{}", hex::encode(encoding));
                let spoilt = Signed { hash: Hash32([3; 32]), ..one.clone() };
                decided_alike(&[spoilt, ordinary.clone()]);
                let off = of_encodings(one.key, *one.signature.r_bytes(), hash, |_| secret(71));
                assert!(!decided_alike(&[off, ordinary.clone()]));
            }
        }
    }
    assert!(seen > 10, "{seen} encodings of the points of small order");
}

#[test]
fn an_s_above_the_order_is_refused_alike_alone_and_in_a_batch() {
    let good = signed(&key(2), Hash32([4; 32]));
    let ordinary = signed(&key(1), Hash32([9; 32]));
    assert!(decided_alike(&[good.clone(), ordinary.clone()]));
    // l = 2^252 + 27742317777372353535851937790883648493 (RFC 8032, section 5.1), little endian.
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let (mut s, mut carry) = (*good.signature.s_bytes(), 0);
    for (byte, of_order) in s.iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(of_order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    let higher = Signed { signature: Signature::from_components(*good.signature.r_bytes(), s), ..good };
    assert!(!decided_alike(&[higher, ordinary]));
}

#[test]
fn what_is_no_point_is_refused_alike_alone_and_in_a_batch() {
    let ordinary = signed(&key(1), Hash32([9; 32]));
    let none = (2u8..).map(|y| {
        let mut bytes = [0; 32];
        bytes[0] = y;
        bytes
    });
    let no_point = none.into_iter().find(|bytes| CompressedEdwardsY(*bytes).decompress().is_none()).unwrap();
    let r = (ED25519_BASEPOINT_POINT * secret(70)).compress().0;
    for one in [
        of_encodings(no_point, r, Hash32([2; 32]), |_| secret(70)),
        of_encodings(r, no_point, Hash32([2; 32]), |k| k * secret(70)),
    ] {
        assert!(!decided_alike(&[one, ordinary.clone()]));
    }
}
