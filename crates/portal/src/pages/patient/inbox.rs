//! A patient's messages: that something is there, in plain language, and the way to it.

use axum::{extract::Query, http::Method, response::Response};
use maud::html;
use serde::Deserialize;
use serde_json::json;

use crate::{
    admit::Form,
    design::parts::{Tone, act, badge, empty, pages},
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

/// `GET /patient/inbox?before=`.
pub(super) async fn page(
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let words = visitor.words();
    let before = wanted.before.map_or_else(String::new, |before| format!("&before={before}"));
    let inbox = visitor.client()?.api(&format!("/inbox?limit={PAGE}{before}")).await?;
    let messages = inbox["notifications"].as_array().cloned().unwrap_or_default();
    let newest = messages.first().and_then(|message| message["sequence"].as_u64());
    let older = inbox["next"].as_u64().map(|next| format!("/patient/inbox?before={next}"));
    let content = html! {
        @if messages.is_empty() {
            (empty(words.no_messages, words.no_messages_text, None))
        } @else {
            @if let Some(newest) = newest && inbox["unread"].as_u64() > Some(0) {
                (act(&visitor, "/patient/inbox/read", &[("up-to", &newest.to_string())], words.mark_read, false))
            }
            ul class="list" {
                @for message in &messages {
                    @let topic = message["topic"].as_str().unwrap_or_default();
                    li {
                        div class="row" {
                            a class="what" href=(place(topic)) { ((words.topic)(topic)) }
                            @if message["read_at"].is_null() { (badge(Tone::Good, words.unread)) }
                            span class="when" { @if let Some(time) = message["time"].as_u64() { (times::stamp(time)) } }
                        }
                    }
                }
            }
        }
        (pages(
            wanted.before.map(|_| ("/patient/inbox", words.first_page)),
            older.as_deref().map(|older| (older, words.older)),
        ))
    };
    Ok(visitor.page(words.inbox, content))
}

/// Where to look at what a message is about.
fn place(topic: &str) -> &'static str {
    match topic.split('-').next().unwrap_or_default() {
        "record" if topic == "record-proposed" => "/patient/proposed",
        "consent" | "countersignature" | "policy" | "relationship" => "/patient/sharing",
        "emergency" => "/patient/looked?show=emergency",
        "prescription" => "/patient/records?kind=medication",
        "lab" => "/patient/records?kind=laboratory",
        "surgery" => "/patient/records?kind=procedure",
        "device" => "/patient/records?kind=device",
        "coverage" | "claim" | "copayment" => "/patient/records?kind=financial",
        "waiting" | "appointment" => "/patient/records?kind=encounter",
        _ => "/patient/timeline",
    }
}

/// `POST /patient/inbox/read`.
pub(super) async fn mark_read(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let up_to: u64 = form.parse("up-to", "Message")?;
    let body = json!({ "up_to": up_to });
    visitor.client()?.api_send(Method::POST, "/inbox/read", Some(&body)).await?.ok()?;
    Ok(visitor.go_and_say("/patient/inbox", visitor.words().marked))
}
