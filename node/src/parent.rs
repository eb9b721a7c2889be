//! What the process that started this one has to say, on our standard input.
//!
//! A pipe closes when the process at its other end is gone, however it went: so nobody is left behind, on any system.

use std::io::{self, Read};

use tokio::sync::watch;

/// A line that asks the node to propose no more blocks.
pub(crate) const HOLD: &str = "hold";

/// The longest line that is understood.
const MAX_LINE: usize = 64;

/// The process that started this one. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Parent(watch::Receiver<Said>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Hold,
}

impl Parent {
    /// Begins to listen to the standard input, which must belong to nobody else.
    pub(crate) fn listen() -> Self {
        let (said, parent) = watch::channel(Said::Nothing);
        // A thread of its own, which a read may keep for ever without keeping the process.
        std::thread::spawn(move || listen(io::stdin().lock(), &said));
        Self(parent)
    }

    /// Waits until the parent wants no more blocks proposed. Cancel-safe.
    pub(crate) async fn holds(&mut self) {
        if self.0.wait_for(|said| *said == Said::Hold).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the parent is gone, or has closed the pipe.
    pub(crate) async fn gone(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// Reads to the end; the sender is dropped then.
fn listen(mut input: impl Read, said: &watch::Sender<Said>) {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return,
            Ok(_) if byte[0] == b'\n' => {
                if line == HOLD.as_bytes() {
                    said.send_replace(Said::Hold);
                }
                line.clear();
            }
            Ok(_) if line.len() < MAX_LINE => line.push(byte[0]),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hears_hold_among_other_lines_and_the_end() {
        let (said, parent) = watch::channel(Said::Nothing);
        let mut parent = Parent(parent);
        let noise = "x".repeat(1000);
        listen(format!("what\n{noise}hold\nhold").as_bytes(), &said);
        assert!(!said.borrow().eq(&Said::Hold), "an unfinished line says nothing");
        listen("hold\n".as_bytes(), &said);
        parent.holds().await;
        drop(said);
        parent.gone().await;
    }
}
