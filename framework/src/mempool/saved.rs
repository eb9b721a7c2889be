//! The pool over a restart: its transactions in one file, which is no more than a hint. Whoever reads it admits them anew.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::durable;
use crate::limits::Limits;
use crate::types::{Transaction, encoding};

/// What the file begins with. Another release may write another one.
const MAGIC: &[u8] = b"cpc-mempool-1\n";
/// Before each transaction stands its length in so many bytes, the lowest first.
const LENGTH: usize = size_of::<u32>();

/// Writes transactions so that after a crash at any instant the old or the new file is there, whole. A full pool is large: no more than one
/// transaction is in memory once more. Blocks on the disk.
pub(crate) fn write(path: &Path, txs: &[Arc<Transaction>]) -> io::Result<()> {
    durable::write_with(path, |file| {
        file.write_all(MAGIC)?;
        for tx in txs {
            let tx = encoding::encode_transaction(tx);
            let Ok(length) = u32::try_from(tx.len()) else { continue };
            file.write_all(&length.to_le_bytes())?;
            file.write_all(&tx)?;
        }
        Ok(())
    })
}

/// Reads transactions, as many as a pool may hold. No file means none. What cannot be read is left out, with a word about
/// it. Blocks on the disk.
pub(crate) fn read(path: &Path, limits: &Limits) -> (Vec<Transaction>, Option<String>) {
    // A transaction takes more in memory than in the file.
    let mut file = match File::open(path) {
        Ok(file) => BufReader::new(file).take(limits.pool_bytes as u64),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), None),
        Err(error) => {
            return (Vec::new(), Some(format!("{} cannot be read ({error}): the pool starts empty", path.display())));
        }
    };
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != MAGIC {
        return (Vec::new(), Some(format!("{} is no saved pool: the pool starts empty", path.display())));
    }
    let mut txs = Vec::new();
    while txs.len() < limits.pool_txs {
        match next(&mut file) {
            Ok(Some(tx)) => txs.push(tx),
            Ok(None) => break,
            Err(error) => {
                let (path, count) = (path.display(), txs.len());
                let word = format!("{path} is damaged after {count} transactions ({error}): the rest is left out");
                return (txs, Some(word));
            }
        }
    }
    (txs, None)
}

/// The next transaction; none at the end.
fn next(file: &mut io::Take<BufReader<File>>) -> io::Result<Option<Transaction>> {
    if file.limit() == 0 || file.get_mut().fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut length = [0; LENGTH];
    file.read_exact(&mut length)?;
    // No more is set aside than comes.
    let mut tx = Vec::new();
    let length = u64::from(u32::from_le_bytes(length));
    if file.by_ref().take(length).read_to_end(&mut tx)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    encoding::decode_transaction(&tx).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::messages::Messages;

    fn saved(count: usize) -> (Vec<Arc<Transaction>>, tempfile::TempDir, std::path::PathBuf) {
        let mut messages = Messages::from_printed_seed();
        let txs: Vec<_> = (0..count).map(|_| Arc::new(messages.transaction())).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mempool.bin");
        write(&path, &txs).unwrap();
        (txs, dir, path)
    }

    #[test]
    fn reads_back_what_it_wrote_in_order() {
        let (txs, _dir, path) = saved(30);
        let (read, word) = read(&path, &Limits::default());
        assert_eq!((read.into_iter().map(Arc::new).collect::<Vec<_>>(), word), (txs, None));
    }

    #[test]
    fn takes_no_more_than_a_pool_holds() {
        let (_, _dir, path) = saved(30);
        assert_eq!(read(&path, &Limits { pool_txs: 7, ..Limits::default() }).0.len(), 7);
    }

    #[test]
    fn a_damaged_file_gives_what_is_before_the_damage_and_a_word() {
        let (txs, dir, path) = saved(10);
        assert_eq!(read(&dir.path().join("none"), &Limits::default()), (Vec::new(), None));
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (found, word) = read(&path, &Limits::default());
            assert!(found.len() < txs.len() && found.iter().zip(&txs).all(|(found, tx)| *found == **tx));
            assert!(word.is_none_or(|word| word.contains("mempool.bin")));
        }
        std::fs::write(&path, "something else altogether").unwrap();
        assert!(read(&path, &Limits::default()).1.unwrap().contains("no saved pool"));
    }
}
