use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Why the program ends with an exit code other than 0. Its text is one line that says what is wrong with which value and what to do.
#[derive(Debug)]
pub struct CliError {
    usage: bool,
    message: String,
}

impl CliError {
    /// The command line is wrong: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { usage: true, message: message.into() }
    }

    /// The command failed: exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { usage: false, message: message.into() }
    }

    /// The command failed at `doing`, because of `cause` and all that caused it.
    pub fn caused(doing: impl fmt::Display, cause: &(dyn Error + 'static)) -> Self {
        Self::failed(format!("{doing}: {}", one_line(cause)))
    }

    /// A file cannot be used.
    pub fn file(doing: &str, path: &Path, cause: &(dyn Error + 'static)) -> Self {
        Self::caused(format_args!("cannot {doing} {}", path.display()), cause)
    }

    /// A file cannot be written.
    pub fn unwritten(path: &Path, cause: &io::Error) -> Self {
        let way_out = match cause.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                "; make room, then do it again"
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "; it must be writable for this user",
            _ => "",
        };
        Self::failed(format!("cannot write {}: {}{way_out}", path.display(), one_line(cause)))
    }

    /// 2 for a wrong command line, else 1.
    pub fn exit_code(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever a cause may say, an error stays one line and cannot steer the terminal.
        let mut lines = self.message.lines().map(str::trim).filter(|line| !line.is_empty());
        if let Some(first) = lines.next() {
            write_plain(first, f)?;
        }
        lines.try_for_each(|line| {
            f.write_str(" ")?;
            write_plain(line, f)
        })
    }
}

impl Error for CliError {}

/// Writes text with a mark in place of each control character.
fn write_plain(line: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    line.chars().try_for_each(|c| f.write_char(if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }))
}

/// An error with all its causes, joined by colons. A cause that the text before it says already is left out.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn joins_the_causes_and_says_nothing_twice() {
        let inner = Layer { text: "no such file", source: None };
        let middle = Layer { text: "cannot open a: no such file", source: Some(Box::new(inner)) };
        let outer = Layer { text: "cannot start", source: Some(Box::new(middle)) };
        assert_eq!(one_line(&outer), "cannot start: cannot open a: no such file");
    }

    #[test]
    fn stays_one_line_whatever_the_cause_says() {
        assert_eq!(CliError::failed("a  a\n  b\r\n\nc\u{1b}[2J").to_string(), "a  a b c\u{fffd}[2J");
    }
}
