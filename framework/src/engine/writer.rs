use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::connection::{Lane, Link};
use super::outbox::Queued;
use crate::limits::Limits;

/// Writes what waits for one stream of a connection.
pub(super) struct Writer {
    pub(super) stream: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    pub(super) lane: Lane,
    pub(super) link: Arc<Link>,
    pub(super) limits: Arc<Limits>,
}

impl Writer {
    /// Until its outbox is closed and empty, or the peer takes nothing for too long, which it notes.
    pub(super) async fn run(mut self, not_reading: &AtomicBool) {
        let link = Arc::clone(&self.link);
        let outbox = match self.lane {
            Lane::Control => &link.outbox,
            Lane::Bulk => link.answers(),
        };
        while let Some((mut frame, room)) = outbox.next().await.map(Queued::into_parts) {
            let bytes = frame.len();
            while !frame.is_empty() {
                let patient = self.link.patient.load(Ordering::Acquire);
                let patience = if patient { self.limits.legacy_timeout } else { self.limits.outbox_stall };
                let waits = outbox.held().waits();
                let written = timeout(patience, self.stream.write_buf(&mut frame)).await;
                drop(waits);
                match written {
                    Ok(Ok(0) | Err(_)) => return self.link.abort("cannot be written to"),
                    Ok(Ok(written)) => {
                        self.link.bytes_out.fetch_add(written as u64, Ordering::Relaxed);
                        outbox.progressed();
                    }
                    Err(_) => {
                        not_reading.store(true, Ordering::Release);
                        return self.link.abort("it does not read what we send");
                    }
                }
            }
            if self.stream.flush().await.is_err() {
                return self.link.abort("cannot be written to");
            }
            outbox.written(bytes, room);
        }
        let _ = timeout(self.limits.outbox_stall, self.stream.shutdown()).await;
    }
}
