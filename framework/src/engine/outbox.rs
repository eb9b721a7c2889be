use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// What waits to be written to one peer: bounded in frames and bytes.
///
/// When full, gossip goes first, the oldest before the newer; of tip updates only the newest is ever kept; requests and
/// answers are never dropped, so whoever adds one too many is told.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: OutboxLimits,
    queue: Mutex<Queue>,
    /// Something to write, or closed.
    filled: Notify,
    /// Something was taken, or closed.
    drained: Notify,
}

/// The bounds of an outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxLimits {
    pub(crate) bytes: usize,
    pub(crate) frames: usize,
}

/// What becomes of a frame when the outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Our handshake: a newer one takes the place of an older one.
    TipUpdate,
    /// A block or transaction that others have too: dropped when full.
    Gossip,
    /// A request or an answer: never dropped.
    Needed,
}

/// The outbox cannot take a frame that must not be dropped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<(Class, Bytes)>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(limits: OutboxLimits) -> Self {
        Self { limits, queue: Mutex::default(), filled: Notify::new(), drained: Notify::new() }
    }

    /// Adds a frame; where there is no room, the policy of its class decides.
    pub(crate) fn push(&self, class: Class, frame: Bytes) -> Result<(), Full> {
        let mut queue = self.lock();
        if queue.closed {
            return Ok(());
        }
        if class == Class::TipUpdate
            && let Some(at) = queue.frames.iter().position(|(class, _)| *class == Class::TipUpdate)
        {
            queue.bytes = queue.bytes - queue.frames[at].1.len() + frame.len();
            queue.frames[at].1 = frame;
            return Ok(());
        }
        while !self.has_room(&queue, frame.len()) && queue.drop_oldest_gossip() {}
        if !self.has_room(&queue, frame.len()) {
            if class == Class::Needed {
                return Err(Full);
            }
            queue.dropped += 1;
            return Ok(());
        }
        queue.add(class, frame);
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Adds an answer as soon as there is room for it. Cancel-safe: dropped, the frame is not added.
    pub(crate) async fn push_when_room(&self, frame: Bytes) {
        loop {
            let drained = self.drained.notified();
            {
                let mut queue = self.lock();
                if queue.closed {
                    return;
                }
                if self.has_room(&queue, frame.len()) {
                    queue.add(Class::Needed, frame);
                    drop(queue);
                    self.filled.notify_one();
                    return;
                }
            }
            drained.await;
        }
    }

    /// The next frame to write; `None` once closed and empty. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<Bytes> {
        loop {
            let filled = self.filled.notified();
            {
                let mut queue = self.lock();
                if let Some((_, frame)) = queue.frames.pop_front() {
                    queue.bytes -= frame.len();
                    drop(queue);
                    self.drained.notify_waiters();
                    return Some(frame);
                }
                if queue.closed {
                    return None;
                }
            }
            filled.await;
        }
    }

    /// Takes nothing more; what waits is still written. Says whether it was open.
    pub(crate) fn close(&self) -> bool {
        let was_open = !std::mem::replace(&mut self.lock().closed, true);
        self.filled.notify_one();
        self.drained.notify_waiters();
        was_open
    }

    /// How many frames were dropped for want of room.
    #[cfg(test)]
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// A frame larger than the whole outbox fits an empty one.
    fn has_room(&self, queue: &Queue, len: usize) -> bool {
        queue.frames.is_empty() || (queue.bytes + len <= self.limits.bytes && queue.frames.len() < self.limits.frames)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn add(&mut self, class: Class, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back((class, frame));
    }

    fn drop_oldest_gossip(&mut self) -> bool {
        let Some(at) = self.frames.iter().position(|(class, _)| *class == Class::Gossip) else { return false };
        if let Some((_, frame)) = self.frames.remove(at) {
            self.bytes -= frame.len();
            self.dropped += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(OutboxLimits { bytes: 10, frames: 4 })
    }

    async fn drain(outbox: &Outbox) -> Vec<Bytes> {
        outbox.close();
        let mut frames = Vec::new();
        while let Some(frame) = outbox.next().await {
            frames.push(frame);
        }
        frames
    }

    #[tokio::test]
    async fn gossip_makes_room_oldest_first_and_answers_never_do() {
        let outbox = outbox();
        for frame in ["g1..", "g2.."] {
            outbox.push(Class::Gossip, Bytes::from(frame)).unwrap();
        }
        outbox.push(Class::Needed, Bytes::from_static(b"a1..")).unwrap();
        outbox.push(Class::Needed, Bytes::from_static(b"a2..")).unwrap();
        assert_eq!(outbox.push(Class::Needed, Bytes::from_static(b"a3..")), Err(Full));
        outbox.push(Class::Gossip, Bytes::from_static(b"g3..")).unwrap();
        assert_eq!(outbox.dropped(), 3);
        assert_eq!(drain(&outbox).await, ["a1..", "a2.."]);
    }

    #[tokio::test]
    async fn keeps_only_the_newest_tip_update() {
        let outbox = outbox();
        for frame in ["t1", "t2", "t3"] {
            outbox.push(Class::TipUpdate, Bytes::from(frame)).unwrap();
        }
        assert_eq!(drain(&outbox).await, ["t3"]);
    }

    #[tokio::test]
    async fn an_answer_waits_for_room_and_a_giant_one_for_emptiness() {
        let outbox = std::sync::Arc::new(outbox());
        outbox.push_when_room(Bytes::from_static(b"12345678")).await;
        let waiting = {
            let outbox = std::sync::Arc::clone(&outbox);
            tokio::spawn(async move { outbox.push_when_room(Bytes::from_static(b"a frame above the cap")).await })
        };
        assert_eq!(outbox.next().await.unwrap(), "12345678");
        assert_eq!(outbox.next().await.unwrap(), "a frame above the cap");
        waiting.await.unwrap();
    }
}
