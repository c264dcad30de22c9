//! What came for somebody who treats.

use axum::{extract::Query, http::Method, response::Response};
use maud::html;
use serde::Deserialize;
use serde_json::json;

use crate::{
    admit::Form,
    design::parts::{Tone, act, badge, code, empty, more, pages},
    fault::Fault,
    times,
    visitor::Visitor,
};

/// How many messages are on a page.
const PAGE: u32 = 30;

#[derive(Deserialize)]
pub(super) struct Wanted {
    before: Option<u64>,
}

/// `GET /clinician/inbox?before=`.
pub(super) async fn page(
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let before = wanted.before.map_or_else(String::new, |before| format!("&before={before}"));
    let inbox = visitor.client()?.api(&format!("/inbox?limit={PAGE}{before}")).await?;
    let messages = inbox["notifications"].as_array().cloned().unwrap_or_default();
    let newest = messages.first().and_then(|message| message["sequence"].as_u64());
    let older = inbox["next"].as_u64().map(|next| format!("/clinician/inbox?before={next}"));
    let content = html! {
        @if messages.is_empty() {
            (empty("No messages", "Results, escalations and answers to what you asked for appear here.", Some(("/clinician", "Patients"))))
        } @else {
            @if let Some(newest) = newest && inbox["unread"].as_u64() > Some(0) {
                (act(&visitor, "/clinician/inbox/read", &[("up-to", &newest.to_string())], "Mark all as read", false))
            }
            ul class="list" {
                @for message in &messages {
                    @let topic = message["topic"].as_str().unwrap_or_default();
                    li {
                        div class="row" {
                            span class="what" { (sentence(topic)) }
                            @if topic == "lab-critical" { (badge(Tone::Bad, "critical")) }
                            @if message["read_at"].is_null() { (badge(Tone::Good, "new")) }
                            span class="when" { @if let Some(time) = message["time"].as_u64() { (times::stamp(time)) } }
                        }
                        (more("Details", html! {
                            p { (code(message["subject"].as_str().unwrap_or_default())) " " (code(message["patient"].as_str().unwrap_or_default())) }
                        }))
                    }
                }
            }
        }
        (pages(
            wanted.before.map(|_| ("/clinician/inbox", "Newest")),
            older.as_deref().map(|older| (older, "Older")),
        ))
    };
    Ok(visitor.page("Inbox", content))
}

/// `lab-resulted` as words.
fn sentence(topic: &str) -> String {
    let text = topic.replace('-', " ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `POST /clinician/inbox/read`.
pub(super) async fn mark_read(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let up_to: u64 = form.parse("up-to", "Message")?;
    let body = json!({ "up_to": up_to });
    visitor.client()?.api_send(Method::POST, "/inbox/read", Some(&body)).await?.ok()?;
    Ok(visitor.go_and_say("/clinician/inbox", "Everything is marked as read."))
}
