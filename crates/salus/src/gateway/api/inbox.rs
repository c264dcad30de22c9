//! Inboxes: read, marked as read, and followed as a stream of events.

use std::time::Duration;

use alloy_primitives::Address;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use domain::{Reader, Timestamp};
use fhir::{Caller, Interaction};
use futures_util::StreamExt as _;
use notify::{Clearance, SseSettings, last_event_id};
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Api, Problem, answer, json, page_len, query, require_about};

/// The most notifications that one request marks one by one.
const MARKED_MAX: usize = 500;

/// How often an open stream is looked at whether its reader may still be told.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(15);

/// Whose inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Of {
    /// The caller's own.
    #[default]
    Own,
    /// The institution's.
    Institution,
}

/// Whose inbox it is that somebody asks for: their own, or the institution's, which the institution's own
/// systems and its privacy officers see.
fn recipient(api: &Api, caller: &Caller, of: Of) -> Result<Address, Problem> {
    require_about(caller, None)?;
    let reader = &caller.reader;
    let is_patient = matches!(reader, Reader::Patient { .. });
    if !is_patient && !api.is_own(reader) {
        return Err(Problem::forbidden("your inbox is at your own institution's gateway"));
    }
    match of {
        Of::Own => Ok(reader.address()),
        Of::Institution if api.is_institution(reader) || api.is_officer(reader) => Ok(api.member()),
        Of::Institution => Err(Problem::forbidden(
            "the institution's inbox is for its own systems and its privacy officers",
        )),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    of: Of,
    after: Option<u64>,
    before: Option<u64>,
    limit: Option<u32>,
}

/// `GET /api/inbox`: the newest first, or with `after` the oldest first from there.
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, _) = api.caller(&headers, "Subscription", Interaction::Search).await?;
    let Wanted { of, after, before, limit } = query(&uri)?;
    let recipient = recipient(&api, &caller, of)?;
    let limit = page_len(limit)?;
    let outbox = api.0.notifying.outbox();
    let entries = match (after, before) {
        (Some(_), Some(_)) => return Err(Problem::bad("`after` and `before` exclude each other")),
        (Some(after), None) => outbox.inbox(recipient, Some(after), limit).await?,
        (None, before) => outbox.newest(recipient, before, limit).await?,
    };
    let is_full = entries.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let last = entries.last().map(|entry| entry.notification.sequence);
    let body = json!({
        "recipient": recipient.to_string(),
        "unread": outbox.unread(recipient).await?,
        "notifications": entries,
        // With `after` there may always be more to come; otherwise only when the page is full.
        "next": match after {
            Some(after) => Some(last.unwrap_or(after)),
            None => last.filter(|_| is_full),
        },
    });
    Ok(answer(StatusCode::OK, &body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(default)]
    of: Of,
    up_to: Option<u64>,
    #[serde(default)]
    sequences: Vec<u64>,
}

/// `POST /api/inbox/read`: marks notifications as read, up to a number or one by one.
pub(super) async fn mark_read(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let (caller, _) = api.caller(&headers, "Subscription", Interaction::Update).await?;
    let Read { of, up_to, sequences } = json(&headers, body).await?;
    let recipient = recipient(&api, &caller, of)?;
    if up_to.is_some() != sequences.is_empty() || sequences.len() > MARKED_MAX {
        let text = format!("either `up_to`, or 1 to {MARKED_MAX} numbers as `sequences`");
        return Err(Problem::bad(text));
    }
    let (outbox, now) = (api.0.notifying.outbox(), api.now());
    let mut marked = match up_to {
        Some(sequence) => outbox.mark_read_up_to(recipient, sequence, now).await?,
        None => 0,
    };
    for sequence in sequences {
        marked += u64::from(outbox.mark_read(recipient, sequence, now).await?);
    }
    let unread = outbox.unread(recipient).await?;
    Ok(answer(StatusCode::OK, &json!({ "marked": marked, "unread": unread })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Followed {
    #[serde(default)]
    of: Of,
    after: Option<u64>,
}

/// `GET /api/events`: notifications as they come, as server-sent events. It ends with the token, and as
/// soon as the caller may not be told any more.
pub(super) async fn events(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, expires) = api.caller(&headers, "Subscription", Interaction::Read).await?;
    let Followed { of, after } = query(&uri)?;
    let recipient = recipient(&api, &caller, of)?;
    let last = last_event_id(&headers).map_err(|error| Problem::bad(error.to_string()))?;
    let Some(place) = api.0.notifying.stream(caller.reader.address()) else {
        let text = "as many streams as may be are open; try again, or read the inbox";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    let asked = api.clone();
    let reader = caller.reader;
    let may = move |_| {
        let api = asked.clone();
        async move { api.may_follow(&reader, recipient, expires).await }
    };
    let outbox = api.0.notifying.outbox();
    let events = outbox.events(recipient, last.or(after), SseSettings::default(), may).await?;
    let (parts, body) = events.into_response().into_parts();
    let ended = {
        let api = api.clone();
        async move {
            while api.may_follow(&reader, recipient, expires).await == Clearance::Granted {
                let left = Duration::from_secs(expires.0.saturating_sub(api.now().0).max(1));
                tokio::time::sleep(left.min(LOOKED_AT_EVERY)).await;
            }
        }
    };
    let body = body.into_data_stream().take_until(Box::pin(ended)).map(move |bytes| {
        let _open = &place;
        bytes
    });
    Ok(Response::from_parts(parts, Body::from_stream(body)))
}

impl Api {
    /// Whether whoever opened a stream as `reader` may still be told what comes for `recipient`.
    async fn may_follow(
        &self,
        reader: &Reader,
        recipient: Address,
        expires: Timestamp,
    ) -> Clearance {
        if self.now() >= expires {
            return Clearance::Refused;
        }
        match self.0.notifying.clearance(reader.address()).await {
            Clearance::Granted if recipient != reader.address() => {
                // Somebody who became something else meanwhile is another reader.
                let projection = self.0.gateway.gatekeeper.projection().await;
                let found =
                    fhir::reader_at(&projection, self.member(), reader.address(), self.now());
                if found == Some(*reader) { Clearance::Granted } else { Clearance::Refused }
            }
            clearance => clearance,
        }
    }
}
