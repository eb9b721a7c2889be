//! The logs of all nodes of a simulation, in virtual time, each line with its node.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::oracle::Oracle;

/// Writes log lines to an oracle's trace.
#[derive(Debug)]
pub(super) struct SimLog {
    oracle: Oracle,
    next: AtomicU64,
    spans: Mutex<Spans>,
}

#[derive(Debug, Default)]
struct Spans {
    names: Vec<(u64, String)>,
    entered: Vec<u64>,
}

impl SimLog {
    pub(super) fn new(oracle: &Oracle) -> Self {
        Self { oracle: oracle.clone(), next: AtomicU64::new(0), spans: Mutex::default() }
    }

    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for SimLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("cpc")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut text = Text::default();
        attributes.record(&mut text);
        self.spans().names.push((id, text.0.trim().to_owned()));
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let node = {
            let spans = self.spans();
            let entered = spans.entered.last().copied();
            let name = spans.names.iter().find(|(id, _)| Some(*id) == entered);
            name.map_or_else(|| "?".to_owned(), |(_, name)| name.clone())
        };
        self.oracle.log(format_args!("  [{node}] {}{}", event.metadata().level(), text.0));
    }

    fn enter(&self, span: &Id) {
        self.spans().entered.push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.spans().entered.pop();
    }
}

/// Fields as a line: the message first, the others with their names.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A string takes whatever is written to it.
        let _ = match field.name() {
            "message" | "name" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
