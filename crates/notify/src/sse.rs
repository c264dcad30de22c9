//! Notifications as server-sent events.
//!
//! A stream reads the outbox as fast as its reader takes the events, a page at a time, and holds no
//! more than that page. A reader that stays away too long is let go; it comes back with the last number
//! that it was given (`Last-Event-ID`) and misses nothing.
//!
//! ```text
//! id: 42
//! event: record-proposed
//! data: {"sequence":42,"id":"0x…","topic":"record-proposed","recipient":"0x…", …}
//! ```
//!
//! # Source
//!
//! HTML Living Standard, section 9.2, "Server-sent events".

use std::{collections::VecDeque, convert::Infallible, future::Future, time::Duration};

use alloy_primitives::Address;
use axum::{
    http::HeaderMap,
    response::sse::{Event, KeepAlive, KeepAliveStream, Sse},
};
use futures_util::{Stream, stream};
use tokio::{sync::watch, time::Instant};
use vault::StoreError;

use crate::{Clearance, Notification, Outbox};

/// How many notifications a stream holds at most.
const PAGE: u32 = 64;

/// How a stream behaves.
#[derive(Clone, Copy, Debug)]
pub struct SseSettings {
    /// After how much silence a comment is sent, so that both sides notice a dead connection.
    pub heartbeat: Duration,
    /// How long a reader may take for one event before it is let go.
    pub stall_max: Duration,
}

impl Default for SseSettings {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(15), stall_max: Duration::from_secs(30) }
    }
}

/// The header is no number that an event had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`Last-Event-ID` is no sequence number")]
pub struct BadLastEventId;

/// The number of the last event that a returning reader was given.
///
/// # Errors
///
/// [`BadLastEventId`] when the header holds something else; the request should be refused.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, BadLastEventId> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().map_err(|_| BadLastEventId)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| BadLastEventId)
}

/// A stream as an answer to a request.
pub type Events<S> = Sse<KeepAliveStream<S>>;

impl Outbox {
    /// What comes for a recipient after a sequence number, as it comes; `None` begins with what is new
    /// from now on.
    ///
    /// `may` is asked before each event, right when the reader takes it (S3). Unless it says
    /// [`Clearance::Granted`] the stream ends, and whoever comes back has to be let in anew.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed. Should it fail later, the stream ends.
    pub async fn events<M, F>(
        &self,
        recipient: Address,
        after: Option<u64>,
        settings: SseSettings,
        may: M,
    ) -> Result<Events<impl Stream<Item = Result<Event, Infallible>> + use<M, F>>, StoreError>
    where
        M: Fn(Notification) -> F + Send + 'static,
        F: Future<Output = Clearance> + Send + 'static,
    {
        let news = self.bell().listen(recipient);
        let cursor = match after {
            Some(after) => after,
            None => self.last_sequence().await?,
        };
        let reader = Reader {
            outbox: self.clone(),
            recipient,
            cursor,
            settings,
            may,
            page: VecDeque::new(),
            news,
            handed_at: None,
        };
        let events = stream::unfold(reader, Reader::next);
        Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(settings.heartbeat)))
    }
}

struct Reader<M> {
    outbox: Outbox,
    recipient: Address,
    cursor: u64,
    settings: SseSettings,
    may: M,
    page: VecDeque<Notification>,
    news: watch::Receiver<()>,
    /// When the reader was handed the last event.
    handed_at: Option<Instant>,
}

impl<M, F> Reader<M>
where
    M: Fn(Notification) -> F + Send + 'static,
    F: Future<Output = Clearance> + Send,
{
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        // The next event is asked for once the connection has taken the one before.
        if self.handed_at.is_some_and(|at| at.elapsed() > self.settings.stall_max) {
            return None;
        }
        let notification = self.notification().await?;
        self.cursor = notification.sequence;
        if (self.may)(notification).await != Clearance::Granted {
            return None;
        }
        let data = serde_json::to_string(&notification).expect("a notification has a JSON form");
        let event = Event::default()
            .id(notification.sequence.to_string())
            .event(notification.topic.name())
            .data(data);
        self.handed_at = Some(Instant::now());
        Some((Ok(event), self))
    }

    /// The next notification, once there is one; `None` when the stream ends.
    async fn notification(&mut self) -> Option<Notification> {
        loop {
            if let Some(notification) = self.page.pop_front() {
                return Some(notification);
            }
            // What comes while the outbox is read counts as news.
            self.news.borrow_and_update();
            match self.outbox.inbox(self.recipient, Some(self.cursor), PAGE).await {
                Ok(page) if page.is_empty() => {}
                Ok(page) => {
                    self.page = page.into_iter().map(|entry| entry.notification).collect();
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream of notifications ends");
                    return None;
                }
            }
            // Looking again now and then costs little, should ever nobody have rung.
            let changed = tokio::time::timeout(self.settings.heartbeat, self.news.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return None;
            }
        }
    }
}
