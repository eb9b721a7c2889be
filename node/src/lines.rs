//! Reading blocks from JSON lines: plain or gzip, in bounded memory, up to the first line that is no block.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cpc_framework::types::{Block, Height};
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

/// The longest line, in bytes: what a peer may send as one answer (attacks.md, row 1), since a block that cannot be served is of no use.
pub const MAX_LINE_BYTES: usize = 32 << 20;

/// Read ahead of the decoder, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// The first bytes of every gzip file (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A block and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockLine {
    /// The line's number, from 1.
    pub line: u64,
    /// The line's length in bytes.
    pub bytes: usize,
    /// What it says.
    pub block: Block,
}

/// Why no further block can be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The file cannot be read any further.
    #[error("line {line} cannot be read")]
    Io {
        /// The line's number.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// The line is longer than a block can be.
    #[error("line {line} has more than {MAX_LINE_BYTES} bytes")]
    TooLong {
        /// The line's number.
        line: u64,
    },
    /// The line is no block.
    #[error("line {line} is no block")]
    NotABlock {
        /// The line's number.
        line: u64,
        /// The height that it claims, if as much can be read.
        height: Option<Height>,
        /// Why.
        source: serde_json::Error,
    },
}

/// The blocks of a file. Ends after its first error.
pub struct BlockLines {
    input: Box<dyn BufRead + Send>,
    /// The length of the file as it lies there, where it has one.
    size: Option<u64>,
    /// How much of it was read.
    read: Arc<AtomicU64>,
    line: u64,
    text: Vec<u8>,
    failed: bool,
}

impl std::fmt::Debug for BlockLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockLines").field("line", &self.line).finish_non_exhaustive()
    }
}

impl BlockLines {
    /// Opens a file; `-` is stdin. Whether it is compressed shows in its first bytes, whatever its name.
    ///
    /// # Errors
    /// The file cannot be opened or its beginning not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::new(io::stdin());
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let size = Some(metadata.len()).filter(|_| metadata.is_file());
        Ok(Self { size, ..Self::new(file)? })
    }

    /// Reads from anything.
    ///
    /// # Errors
    /// Its beginning cannot be read.
    pub fn new(mut input: impl Read + Send + 'static) -> io::Result<Self> {
        let mut start = Vec::new();
        input.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut start)?;
        let compressed = start == GZIP_MAGIC;
        let read = Arc::new(AtomicU64::new(0));
        let input = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(start).chain(input));
        let input = Counted { input, read: Arc::clone(&read) };
        let input: Box<dyn BufRead + Send> = if compressed {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(input)))
        } else {
            Box::new(input)
        };
        Ok(Self { input, size: None, read, line: 0, text: Vec::new(), failed: false })
    }

    /// Which part of the file is read, from 0 to 1; `None` where its length is not known or nothing was read yet.
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
    pub fn fraction(&self) -> Option<f64> {
        let read = self.read.load(Ordering::Relaxed);
        self.size.filter(|size| read > 0 && *size >= read).map(|size| read as f64 / size as f64)
    }

    /// Reads a line into `text`; `false` at the end.
    fn read_line(&mut self) -> Result<bool, LineError> {
        self.line += 1;
        self.text.clear();
        let line = self.line;
        let cap = MAX_LINE_BYTES as u64 + 1;
        let read = self.input.by_ref().take(cap).read_until(b'\n', &mut self.text);
        match read {
            Err(source) => Err(LineError::Io { line, source }),
            Ok(0) => Ok(false),
            Ok(_) if self.text.len() > MAX_LINE_BYTES => Err(LineError::TooLong { line }),
            Ok(_) => Ok(true),
        }
    }

    fn read_block(&mut self) -> Result<Option<BlockLine>, LineError> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if self.text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = self.line;
            return match serde_json::from_slice(&self.text) {
                Ok(block) => Ok(Some(BlockLine { line, bytes: self.text.len(), block })),
                Err(source) => Err(LineError::NotABlock { line, height: claimed_height(&self.text), source }),
            };
        }
    }
}

impl Iterator for BlockLines {
    type Item = Result<BlockLine, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read_block().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Counts what is taken out of a buffer.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(into)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        self.input.consume(bytes);
    }
}

/// The height in a line that is no block as a whole.
fn claimed_height(text: &[u8]) -> Option<Height> {
    #[derive(Deserialize)]
    struct JustHeader {
        header: JustHeight,
    }
    #[derive(Deserialize)]
    struct JustHeight {
        height: Height,
    }
    serde_json::from_slice::<JustHeader>(text).ok().map(|block| block.header.height)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/computechain-v1/fork/blocks.jsonl.gz");

    fn plain() -> Vec<u8> {
        let mut text = Vec::new();
        MultiGzDecoder::new(BufReader::new(File::open(VECTORS).unwrap())).read_to_end(&mut text).unwrap();
        text
    }

    fn read(bytes: Vec<u8>) -> Vec<Result<BlockLine, LineError>> {
        BlockLines::new(Cursor::new(bytes)).unwrap().collect()
    }

    fn heights(lines: &[Result<BlockLine, LineError>]) -> Vec<Height> {
        lines.iter().flatten().map(|line| line.block.header.height).collect()
    }

    #[test]
    fn compressed_and_plain_files_give_the_same_blocks() {
        let compressed: Vec<_> = BlockLines::open(Path::new(VECTORS)).unwrap().map(Result::unwrap).collect();
        let plain: Vec<_> = read(plain()).into_iter().map(Result::unwrap).collect();
        assert_eq!(compressed, plain);
        assert_eq!(compressed.len(), 121);
        assert_eq!(compressed.last().unwrap().line, 121);
    }

    #[test]
    fn the_part_that_is_read_rises_to_the_whole() {
        let mut lines = BlockLines::open(Path::new(VECTORS)).unwrap();
        let mut before = 0.0;
        while let Some(line) = lines.next() {
            line.unwrap();
            let now = lines.fraction().unwrap();
            assert!((before..=1.0).contains(&now), "{before} then {now}");
            before = now;
        }
        assert!(before > 0.99, "{before}");
        assert_eq!(BlockLines::new(Cursor::new(plain())).unwrap().fraction(), None);
    }

    #[test]
    fn several_gzip_members_are_one_file() {
        let text = plain();
        let mut bytes = Vec::new();
        for part in [&text[..1000], &text[1000..]] {
            let mut member = GzEncoder::new(Vec::new(), Compression::fast());
            member.write_all(part).unwrap();
            bytes.extend(member.finish().unwrap());
        }
        assert_eq!(heights(&read(bytes)).len(), 121);
    }

    #[test]
    fn a_missing_last_line_end_and_empty_lines_do_no_harm() {
        let mut text = plain();
        text.pop();
        let text = [b"\n  \r\n", text.as_slice()].concat();
        let lines = read(text);
        assert_eq!(heights(&lines).len(), 121);
        assert_eq!(lines[0].as_ref().unwrap().line, 3);
    }

    #[test]
    fn an_empty_file_has_no_blocks() {
        assert!(read(Vec::new()).is_empty());
        assert!(read(b"\n\n".to_vec()).is_empty());
    }

    #[test]
    fn ends_at_a_line_that_is_no_block_and_names_its_height() {
        let text = String::from_utf8(plain()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[5] = lines[5].replacen("\"amount\":", "\"amount\":-", 1).replacen("\"amount\": ", "\"amount\": -", 1);
        let lines = read(lines.join("\n").into_bytes());
        assert_eq!(heights(&lines), [0, 1, 2, 3, 4]);
        assert_eq!(lines.len(), 6);
        let error = lines[5].as_ref().unwrap_err();
        assert!(matches!(error, LineError::NotABlock { line: 6, height: Some(5), .. }), "{error:?}");
        assert!(crate::one_line(error).contains("amount"), "{}", crate::one_line(error));
    }

    #[test]
    fn a_truncated_gzip_file_gives_the_blocks_before_the_damage() {
        let mut bytes = std::fs::read(VECTORS).unwrap();
        bytes.truncate(bytes.len() / 2);
        let lines = read(bytes);
        assert!(lines.len() > 10, "{}", lines.len());
        assert!(matches!(lines.last(), Some(Err(LineError::Io { .. } | LineError::NotABlock { .. }))));
    }

    #[test]
    fn an_endless_line_is_refused_at_the_cap() {
        let mut lines = BlockLines::new(io::repeat(b'x')).unwrap();
        assert!(matches!(lines.next(), Some(Err(LineError::TooLong { line: 1 }))));
        assert!(lines.next().is_none());
        assert!(lines.text.len() <= MAX_LINE_BYTES + 1);
    }
}
