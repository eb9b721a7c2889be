//! A disk that flips bits.

use std::fs;

use cpc_framework::testkit::messages::Messages;
use cpc_tests::datadir::Datadir;
use cpc_tests::vectors::Chain;
use serde_json::Value;

use super::{NODE, check, names_something_in, serves_nothing_wrong};

/// How many copies of a datadir get a flipped bit.
const FLIPS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_in_a_datadir_is_named_or_does_no_harm() {
    let chain = Chain::fork();
    let whole = Datadir::holding(NODE, chain).await;
    fs::write(whole.path().join("peers.json"), "[]").unwrap();
    let sound = check(&whole).await;
    let files: Vec<(String, Vec<u8>)> = whole.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    let largest = files.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().clone();
    let mut random = Messages::from_printed_seed();
    let (mut named, mut harmless) = (0, 0);
    for flip in 0..FLIPS {
        let (name, mut bytes) = if flip % 2 == 0 { largest.clone() } else { files[random.below(files.len())].clone() };
        let (at, bit) = (random.below(bytes.len()), random.below(8));
        bytes[at] ^= 1 << bit;
        let what = format!("bit {bit} of byte {at} in {name}");
        let dir = whole.copy();
        fs::write(dir.path().join(&name), bytes).unwrap();
        let found = dir.call(NODE).args(["check", "--json"]).output().await;
        assert!(!found.stderr.contains("panicked"), "{what}: {found:?}");
        match found.code {
            Some(0) => assert_eq!(serde_json::from_str::<Value>(&found.stdout).unwrap(), sound, "{what}: {found:?}"),
            Some(1) => assert!(names_something_in(&found.stderr, &found.stdout, dir.path()), "{what}: {found:?}"),
            _ => panic!("{what}: {found:?}"),
        }
        let serves = serves_nothing_wrong(&dir, chain, &what).await;
        assert!(serves || found.code == Some(1), "{what}: a node refuses what `check` does not: {found:?}");
        if found.code == Some(0) { harmless += 1 } else { named += 1 }
    }
    eprintln!("{named} were named, {harmless} did no harm");
}
