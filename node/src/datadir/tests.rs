use std::fs;

use cpc_framework::rules::keys::{Scheme, SecretKey};
use cpc_framework::types::{Genesis, Network};

use super::*;

const V1: &str = r#"{"alloc":{"cpc1a":"5"},"validators":[{"address":"cpcvalcons1a","pq_pub_key":"02","power":1}]}"#;

fn with(name: &str, text: &str) -> (tempfile::TempDir, Datadir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), text).unwrap();
    let datadir = Datadir::new(dir.path());
    (dir, datadir)
}

#[test]
fn a_v1_genesis_belongs_to_devnet_unless_somebody_says_otherwise() {
    let (_dir, datadir) = with("genesis.json", V1);
    assert_eq!(datadir.genesis(None).unwrap().chain_id, "cpc-devnet-1");
    assert_eq!(datadir.genesis(Some(Network::Testnet)).unwrap().chain_id, "cpc-testnet-1");
    fs::write(datadir.network_file(), "mainnet\n").unwrap();
    assert_eq!(datadir.genesis(None).unwrap().chain_id, "cpc-mainnet-1");
    let error = datadir.genesis(Some(Network::Testnet)).unwrap_err().to_string();
    assert!(error.contains("mainnet") && error.contains("testnet"), "{error}");
}

#[test]
fn what_may_be_unchecked_is_noted_up_to_the_highest_checkpoint_of_all_runs() {
    let (_dir, datadir) = with("genesis.json", V1);
    assert_eq!(datadir.unchecked_to().unwrap(), None);
    for (to, noted) in [(500, 500), (90, 500), (501, 501)] {
        datadir.note_unchecked(to).unwrap();
        assert_eq!(datadir.unchecked_to().unwrap(), Some(noted));
    }
    fs::write(datadir.unchecked_file(), "many").unwrap();
    let error = datadir.unchecked_to().unwrap_err().to_string();
    assert!(error.contains("unchecked_to"), "{error}");
}

#[test]
fn a_genesis_that_names_its_network_is_of_no_other() {
    let mut genesis = Genesis::from_json(V1.as_bytes(), Network::Devnet).unwrap();
    genesis.network = "local".into();
    let (_dir, datadir) = with("genesis.json", &genesis.to_json());
    assert_eq!(datadir.genesis(None).unwrap().network, "local");
    let error = datadir.genesis(Some(Network::Devnet)).unwrap_err().to_string();
    assert!(error.contains("\"local\""), "{error}");
}

#[test]
fn an_empty_datadir_says_how_to_join() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = Datadir::new(dir.path().join("new"));
    assert!(datadir.is_empty());
    let error = datadir.genesis(None).unwrap_err().to_string();
    assert!(error.contains("init --genesis FILE"), "{error}");
}

#[test]
fn a_damaged_genesis_is_named_with_what_is_wrong() {
    for text in ["", "{", "[1]", r#"{"alloc":{"a":-1},"validators":[]}"#, r#"{"alloc":{}}"#, "\u{0}\u{1}"] {
        let (_dir, datadir) = with("genesis.json", text);
        let error = datadir.genesis(None).unwrap_err().to_string();
        assert!(error.contains("genesis.json"), "{text:?}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("genesis.json")).unwrap();
    let error = Datadir::new(dir.path()).genesis(None).unwrap_err().to_string();
    assert!(error.contains("is a directory"), "{error}");
}

#[test]
fn a_damaged_key_is_named_and_not_repeated() {
    for text in ["", "abc", "zz".repeat(32).as_str(), "00".repeat(33).as_str(), "secret words"] {
        let (_dir, datadir) = with("validator_key.hex", text);
        let error = datadir.validator_key(Scheme::Ed25519).unwrap_err().to_string();
        assert!(error.contains("validator_key.hex"), "{text:?}: {error}");
        assert!(text.is_empty() || !error.contains(text), "{error}");
    }
}

#[test]
fn a_key_survives_writing_and_reading() {
    let key = SecretKey::generate(Scheme::Secp256k1);
    let (_dir, datadir) = with("validator_key.hex", &format!("{}\n", *key.to_hex()));
    let read = datadir.validator_key(Scheme::Secp256k1).unwrap().unwrap();
    assert_eq!(read.public_key(), key.public_key());
    assert!(datadir.node_key().unwrap().is_none());
}

#[test]
fn known_peers_are_counted() {
    let (_dir, datadir) = with("peers.json", r#"["a:1","b:2"]"#);
    assert_eq!(datadir.peers_known().unwrap(), 2);
    for damaged in ["", "{}", "[1]", "[\"a:1\""] {
        fs::write(datadir.peers_file(), damaged).unwrap();
        let error = datadir.peers_known().unwrap_err().to_string();
        assert!(error.contains("peers.json"), "{error}");
    }
}
