//! Data directories of nodes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::Call;
use crate::vectors::Chain;

/// A temporary data directory, removed when dropped.
#[derive(Debug)]
pub struct Datadir {
    _parent: TempDir,
    path: PathBuf,
}

impl Datadir {
    /// One that does not exist yet.
    pub fn absent() -> Self {
        Self::absent_in(&std::env::temp_dir())
    }

    /// One that does not exist yet, within `folder`.
    pub fn absent_in(folder: &Path) -> Self {
        let parent = tempfile::Builder::new().prefix("cpc-test-").tempdir_in(folder).unwrap();
        Self { path: parent.path().join("node"), _parent: parent }
    }

    /// One that `init --genesis` made for the network of `chain`, without a block.
    pub async fn joined(binary: &str, chain: &Chain) -> Self {
        let dir = Self::absent();
        dir.call(binary).arg("init").arg("--genesis").arg(&chain.genesis).output().await.expect_code(0);
        dir
    }

    /// One that holds `chain`, by `import`.
    pub async fn holding(binary: &str, chain: &Chain) -> Self {
        let dir = Self::joined(binary, chain).await;
        dir.import(binary, chain).await;
        dir
    }

    /// A copy of it, as it stands.
    pub fn copy(&self) -> Self {
        self.copy_into(&std::env::temp_dir())
    }

    /// A copy of it, as it stands, within `folder`.
    pub fn copy_into(&self, folder: &Path) -> Self {
        let copy = Self::absent_in(folder);
        copy_folder(&self.path, &copy.path);
        copy
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of a file in it.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap()
    }

    /// The name and content of every file in it, by name.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let name = entry.path().strip_prefix(&self.path).unwrap().to_str().unwrap().to_owned();
                    files.push((name, fs::read(entry.path()).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    /// Writes a file beside it, and gives its path.
    pub fn beside(&self, file: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.parent().unwrap().join(file);
        fs::write(&path, content).unwrap();
        path
    }

    /// The binary with this directory.
    pub fn call(&self, binary: &str) -> Call {
        Call::at(binary, &self.path)
    }

    /// `import` of all blocks of `chain`, which must succeed.
    pub async fn import(&self, binary: &str, chain: &Chain) {
        let file = self.beside("import.jsonl", chain.text());
        self.call(binary).arg("import").arg(file).output().await.expect_code(0);
    }

    /// `status --json`.
    pub async fn status(&self, binary: &str) -> Value {
        self.call(binary).args(["status", "--json"]).output().await.expect_code(0).json()
    }

    /// The key that the node in it proves, by `status`.
    pub async fn node_id(&self, binary: &str) -> String {
        self.status(binary).await["node_id"].as_str().expect("init makes a key").to_owned()
    }

    /// Height and hash of the tip, by `status`.
    pub async fn tip(&self, binary: &str) -> (u64, String) {
        let status = self.status(binary).await;
        let height = status["height"].as_u64().unwrap_or_else(|| panic!("no height in {status}"));
        (height, status["tip_hash"].as_str().unwrap_or_else(|| panic!("no tip_hash in {status}")).to_owned())
    }

    /// The text that `export` writes.
    pub async fn export(&self, binary: &str) -> String {
        let file = self.path.parent().unwrap().join("export.jsonl");
        let _ = fs::remove_file(&file);
        self.call(binary).arg("export").arg(&file).output().await.expect_code(0);
        fs::read_to_string(file).unwrap()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
