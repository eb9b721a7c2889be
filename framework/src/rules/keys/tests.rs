use super::*;
use crate::rules::SignatureCheck;
use crate::rules::ed25519::KeyPoints;

const V1: HashRules = HashRules::ComputechainV1;
const CANONICAL: HashRules = HashRules::Canonical;

fn key(scheme: Scheme, byte: u8) -> SecretKey {
    SecretKey::from_hex(scheme, &hex::encode([byte; 32])).unwrap()
}

fn is_valid(rules: HashRules, pub_key: &HexText, signature: &HexText, hash: Hash32) -> Result<bool, KeyError> {
    SignatureCheck::new(rules, None, pub_key, signature, hash).map(|check| check.is_valid())
}

fn verify(checks: &[SignatureCheck]) -> Result<(), usize> {
    crate::rules::signature::verify(checks, &KeyPoints::default())
}

fn from_hex(digits: &str) -> [u8; 32] {
    hex::decode(digits).unwrap().try_into().unwrap()
}

#[test]
fn what_a_key_signs_its_public_key_verifies() {
    for rules in [V1, CANONICAL] {
        let key = key(Scheme::of(rules), 7);
        let signature = key.sign(&Hash32([1; 32]));
        assert_eq!(is_valid(rules, &key.public_key(), &signature, Hash32([1; 32])), Ok(true));
        assert_eq!(is_valid(rules, &key.public_key(), &signature, Hash32([2; 32])), Ok(false));
        assert_eq!(signature, key.sign(&Hash32([1; 32])));
        let address = address_of(rules, &key.public_key(), ACCOUNT_PREFIX).unwrap();
        assert_eq!(address, key.address(ACCOUNT_PREFIX));
        assert_eq!(address.known_prefix(), Some(ACCOUNT_PREFIX));
    }
}

#[test]
fn ed25519_is_that_of_rfc_8032() {
    // Section 7.1, test 1.
    let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let key = SecretKey::from_hex(Scheme::Ed25519, secret).unwrap();
    assert_eq!(key.public_key().text(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
}

#[test]
fn generated_keys_differ_and_read_back() {
    for scheme in [Scheme::Secp256k1, Scheme::Ed25519] {
        let (one, other) = (SecretKey::generate(scheme), SecretKey::generate(scheme));
        assert_ne!(one.to_hex(), other.to_hex());
        let read = SecretKey::from_hex(scheme, &format!("{}\n", one.to_hex())).unwrap();
        assert_eq!(read.public_key(), one.public_key());
        assert!(!format!("{one:?}").contains(&one.to_hex()));
    }
}

#[test]
fn what_is_no_secret_key_is_refused_without_being_repeated() {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let zeros = "0".repeat(64);
    for text in ["", "zz", "00", &zeros, order, &zeros[1..]] {
        let error = SecretKey::from_hex(Scheme::Secp256k1, text).unwrap_err().to_string();
        assert!(text.is_empty() || !error.contains(text), "{error}");
    }
    assert!(SecretKey::from_hex(Scheme::Ed25519, &zeros).is_ok());
}

#[test]
fn v1_takes_either_half_of_the_order_for_s() {
    let order = from_hex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let hash = Hash32([3; 32]);
    for byte in 1..20 {
        let key = key(Scheme::Secp256k1, byte);
        let low: [u8; 64] = key.sign(&hash).canonical_bytes().unwrap().try_into().unwrap();
        let mut high = low;
        let mut borrow = 0i16;
        for i in (0..32).rev() {
            let digit = i16::from(order[i]) - i16::from(low[32 + i]) - borrow;
            borrow = i16::from(digit < 0);
            high[32 + i] = digit.rem_euclid(256).try_into().unwrap();
        }
        assert!(high[32] >= 0x7f && low[32] < 0x80, "s and n - s lie in different halves");
        assert_eq!(is_valid(V1, &key.public_key(), &HexText::from_bytes(&low), hash), Ok(true));
        assert_eq!(is_valid(V1, &key.public_key(), &HexText::from_bytes(&high), hash), Ok(true));
        assert_eq!(is_valid(V1, &key.public_key(), &HexText::from_bytes(&high), Hash32([4; 32])), Ok(false));
    }
}

#[test]
fn v1_refuses_r_and_s_that_are_zero_or_not_below_the_order() {
    let key = key(Scheme::Secp256k1, 9);
    let hash = Hash32([3; 32]);
    let good: [u8; 64] = key.sign(&hash).canonical_bytes().unwrap().try_into().unwrap();
    let order = from_hex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    for bad in [[0; 32], order, [0xff; 32]] {
        for at in [0, 32] {
            let mut signature = good;
            signature[at..at + 32].copy_from_slice(&bad);
            let verdict = is_valid(V1, &key.public_key(), &HexText::from_bytes(&signature), hash);
            assert_ne!(verdict, Ok(true), "{} at {at}", hex::encode(bad));
        }
    }
    for length in [0, 1, 31, 32, 63] {
        let verdict = is_valid(V1, &key.public_key(), &HexText::from_bytes(&good[..length]), hash);
        assert_ne!(verdict, Ok(true), "{length} bytes");
    }
}

#[test]
fn v1_takes_every_form_of_a_public_key_and_no_other() {
    let secret = key(Scheme::Secp256k1, 9);
    let hash = Hash32([3; 32]);
    let signature = secret.sign(&hash);
    let compressed = secret.public_key();
    let full = Secp256k1Key::read(&compressed).unwrap().parse().unwrap().serialize_uncompressed();
    let odd = full[64] & 1;
    let with_tag = |tag: u8| [&[tag], &full[1..]].concat();
    for good in [full.to_vec(), full[1..].to_vec(), with_tag(6 + odd)] {
        assert_eq!(is_valid(V1, &HexText::from_bytes(&good), &signature, hash), Ok(true), "{}", hex::encode(&good));
    }
    let mut off_curve = full;
    off_curve[64] ^= 1;
    for bad in [with_tag(7 - odd), with_tag(5), off_curve.to_vec(), full[2..].to_vec(), vec![2; 32], vec![0; 33]] {
        assert_ne!(is_valid(V1, &HexText::from_bytes(&bad), &signature, hash), Ok(true), "{}", hex::encode(&bad));
    }
    let upper = HexText::new(&compressed.text().to_uppercase());
    assert_eq!(is_valid(V1, &upper, &signature, hash), Ok(true));
    assert!(is_valid(V1, &HexText::new("no key"), &signature, hash).is_err());
}

#[test]
fn canonical_rules_take_one_spelling() {
    let key = key(Scheme::Ed25519, 9);
    let hash = Hash32([3; 32]);
    let (pub_key, signature) = (key.public_key().text().into_owned(), key.sign(&hash).text().into_owned());
    let verdict =
        |pub_key: &str, signature: &str| is_valid(CANONICAL, &HexText::new(pub_key), &HexText::new(signature), hash);
    assert_eq!(verdict(&pub_key, &signature), Ok(true));
    assert!(verdict(&pub_key.to_uppercase(), &signature).is_err());
    assert!(verdict(&pub_key, &signature.to_uppercase()).is_err());
    assert!(verdict(&format!(" {pub_key}"), &signature).is_err());
    assert!(verdict(&pub_key, &format!("{signature}00")).is_err());
    assert!(address_of(CANONICAL, &HexText::new(&pub_key.to_uppercase()), ACCOUNT_PREFIX).is_err());
}

/// Encodings of the eight points of small order, those that are not canonical included (ZIP 215).
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

#[test]
fn batches_and_single_checks_agree_on_every_point_of_small_order() {
    let mut checks = Vec::new();
    for a in SMALL_ORDER {
        for r in SMALL_ORDER {
            let signature = [from_hex(r), [0; 32]].concat();
            let signature = HexText::from_bytes(&signature);
            let check = SignatureCheck::new(CANONICAL, None, &HexText::new(a), &signature, Hash32([5; 32])).unwrap();
            assert!(check.is_valid(), "ZIP 215 accepts A = {a}, R = {r}, s = 0");
            checks.push(check);
        }
    }
    assert_eq!(verify(&checks), Ok(()));
}

#[test]
fn the_first_bad_signature_is_found_wherever_it_stands() {
    for rules in [V1, CANONICAL] {
        let key = key(Scheme::of(rules), 3);
        let check = |signed: u8, claimed: u8| {
            let signature = key.sign(&Hash32([signed; 32]));
            SignatureCheck::new(rules, None, &key.public_key(), &signature, Hash32([claimed; 32])).unwrap()
        };
        for size in [1, 2, 5, 300] {
            let good: Vec<_> = (0..=249).cycle().take(size).map(|byte| check(byte, byte)).collect();
            assert_eq!(verify(&good), Ok(()));
            for at in [0, size / 2, size - 1] {
                let mut checks = good.clone();
                checks[at] = check(1, 2);
                checks[size - 1] = check(1, 2);
                assert_eq!(verify(&checks), Err(at), "{rules}, {at} of {size}");
            }
        }
    }
    assert_eq!(verify(&[]), Ok(()));
}
