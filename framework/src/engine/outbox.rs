use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::budget::{Permit, Pool};
use super::crowd::{Crowd, Held};

/// What waits to be written to one peer: bounded in frames and bytes.
///
/// When full, gossip goes first, the oldest before the newer; of tip updates only the newest is ever kept; requests and
/// answers are never dropped, so whoever adds one too many is told. The outboxes of all peers together are bounded too: gossip for
/// which that leaves no room is dropped; answers bring their room along.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: OutboxLimits,
    /// The room of all that is no answer.
    gossip: Arc<Pool>,
    held: Held,
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

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits, or was dropped since its peer is slow or gone.
    Done,
    /// It was dropped since the outboxes of all peers together are full.
    Crowded,
}

/// A frame that is to be written, with its room: handed back with [`Outbox::written`].
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) frame: Bytes,
    room: Permit,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<(Class, Queued)>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl Outbox {
    pub(crate) fn new(limits: OutboxLimits, crowd: &Crowd) -> Self {
        Self {
            limits,
            gossip: Arc::clone(&crowd.gossip),
            held: crowd.account(),
            queue: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Adds a frame; where there is no room, the policy of its class decides.
    pub(crate) fn push(&self, class: Class, frame: Bytes) -> Result<Pushed, Full> {
        let mut queue = self.lock();
        if queue.closed {
            return Ok(Pushed::Done);
        }
        if class == Class::TipUpdate
            && let Some(at) = queue.frames.iter().position(|(class, _)| *class == Class::TipUpdate)
        {
            let queued = &mut queue.frames[at].1;
            let (before, after) = (queued.frame.len(), frame.len());
            queued.room.force_resize(after);
            queued.frame = frame;
            queue.bytes = queue.bytes - before + after;
            self.held.add(after);
            self.held.sub(before);
            return Ok(Pushed::Done);
        }
        while !self.has_room(&queue, frame.len()) && self.drop_oldest_gossip(&mut queue) {}
        if !self.has_room(&queue, frame.len()) {
            if class == Class::Needed {
                return Err(Full);
            }
            queue.dropped += 1;
            return Ok(Pushed::Done);
        }
        let room = match (self.gossip.try_take(frame.len()), class) {
            (Some(room), _) => room,
            // Our own requests and handshakes are few and small.
            (None, Class::Needed | Class::TipUpdate) => self.gossip.overdraw(frame.len()),
            (None, Class::Gossip) => {
                queue.dropped += 1;
                return Ok(Pushed::Crowded);
            }
        };
        self.add(&mut queue, class, Queued { frame, room });
        drop(queue);
        self.filled.notify_one();
        Ok(Pushed::Done)
    }

    /// Adds an answer, which brings its room, as soon as this peer's outbox can take it. Cancel-safe: dropped, the frame is not added.
    pub(crate) async fn push_when_room(&self, frame: Bytes, room: Permit) {
        let answer = Queued { frame, room };
        loop {
            let drained = self.drained.notified();
            {
                let mut queue = self.lock();
                if queue.closed {
                    return;
                }
                if self.has_room(&queue, answer.frame.len()) {
                    self.add(&mut queue, Class::Needed, answer);
                    drop(queue);
                    self.filled.notify_one();
                    return;
                }
            }
            drained.await;
        }
    }

    /// The next frame to write; `None` once closed and empty. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<Queued> {
        loop {
            let filled = self.filled.notified();
            {
                let mut queue = self.lock();
                if let Some((_, queued)) = queue.frames.pop_front() {
                    queue.bytes -= queued.frame.len();
                    drop(queue);
                    self.drained.notify_waiters();
                    return Some(queued);
                }
                if queue.closed {
                    return None;
                }
            }
            filled.await;
        }
    }

    /// The peer has taken some of what was to be written.
    pub(crate) fn progressed(&self) {
        self.held.moved();
    }

    /// The peer has taken all of a frame of so many bytes, whose room comes back.
    pub(crate) fn written(&self, bytes: usize, room: Permit) {
        self.held.sub(bytes);
        drop(room);
    }

    /// What waits to be written.
    pub(crate) fn held(&self) -> &Held {
        &self.held
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

    fn add(&self, queue: &mut Queue, class: Class, queued: Queued) {
        self.held.add(queued.frame.len());
        queue.bytes += queued.frame.len();
        queue.frames.push_back((class, queued));
    }

    fn drop_oldest_gossip(&self, queue: &mut Queue) -> bool {
        let Some(at) = queue.frames.iter().position(|(class, _)| *class == Class::Gossip) else { return false };
        if let Some((_, queued)) = queue.frames.remove(at) {
            queue.bytes -= queued.frame.len();
            queue.dropped += 1;
            self.held.sub(queued.frame.len());
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queued {
    /// Both of it.
    pub(crate) fn into_parts(self) -> (Bytes, Permit) {
        (self.frame, self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryShares;

    /// More than these tests need.
    const ROOM: usize = 1 << 20;

    fn crowd(outboxes: usize) -> Crowd {
        Crowd::new(MemoryShares { outboxes, ..MemoryShares::of(ROOM) }, ROOM)
    }

    fn outbox() -> Outbox {
        Outbox::new(OutboxLimits { bytes: 10, frames: 4 }, &crowd(ROOM))
    }

    fn room() -> Permit {
        crowd(ROOM).answers.nothing()
    }

    async fn drain(outbox: &Outbox) -> Vec<Bytes> {
        outbox.close();
        let mut frames = Vec::new();
        while let Some(queued) = outbox.next().await {
            frames.push(queued.frame);
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
        let outbox = Arc::new(outbox());
        outbox.push_when_room(Bytes::from_static(b"12345678"), room()).await;
        let waiting = {
            let outbox = Arc::clone(&outbox);
            tokio::spawn(
                async move { outbox.push_when_room(Bytes::from_static(b"a frame above the cap"), room()).await },
            )
        };
        assert_eq!(outbox.next().await.unwrap().frame, "12345678");
        assert_eq!(outbox.next().await.unwrap().frame, "a frame above the cap");
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn gossip_for_all_peers_together_is_bounded_and_requests_go_all_the_same() {
        // A fifth of it is for what is no answer.
        let crowd = crowd(5 * 8);
        let [one, other] = [(); 2].map(|()| Outbox::new(OutboxLimits { bytes: 100, frames: 100 }, &crowd));
        let push = |outbox: &Outbox, class| outbox.push(class, Bytes::from_static(b"12345")).unwrap();
        assert_eq!(push(&one, Class::Gossip), Pushed::Done);
        assert_eq!(push(&other, Class::Gossip), Pushed::Crowded);
        assert_eq!(push(&other, Class::Needed), Pushed::Done);
        let (frame, room) = one.next().await.unwrap().into_parts();
        assert_eq!((frame.len(), push(&one, Class::Gossip)), (5, Pushed::Crowded), "it is not written yet");
        one.written(frame.len(), room);
        assert_eq!(drain(&other).await.len(), 1);
        assert_eq!(push(&one, Class::Gossip), Pushed::Done);
    }
}
