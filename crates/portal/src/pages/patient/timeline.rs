//! Everything that happened about a patient, in order, each step held against the chain.

use alloy_primitives::Address;
use axum::{extract::Query, response::Response};
use maud::html;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    design::parts::{Tone, badge, card, code, empty, more, pages},
    fault::Fault,
    times,
    visitor::Visitor,
};

/// How many steps are on a page.
const PAGE: u32 = 50;

#[derive(Deserialize)]
pub(super) struct Wanted {
    before: Option<u64>,
}

/// `GET /patient/timeline?before=`.
pub(super) async fn page(
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let words = visitor.words();
    let before = wanted.before.map_or_else(String::new, |before| format!("&before={before}"));
    let timeline = visitor.client()?.api(&format!("/timeline?limit={PAGE}{before}")).await?;
    let steps = timeline["steps"].as_array().cloned().unwrap_or_default();
    let older =
        timeline["before"].as_u64().map(|before| format!("/patient/timeline?before={before}"));
    let content = html! {
        p class="lead" { (words.timeline_text) }
        @if steps.is_empty() { (empty(words.nothing_yet, words.no_looks_text, None)) } @else {
            (card("", html! {
                ol class="timeline" reversed {
                    @for step in &steps {
                        li {
                            div class="row" {
                                span class="what" { (text(step, "what")) }
                                span class="when" { (times::fhir(text(step, "time"))) }
                            }
                            p {
                                (actor(&visitor, &step["actor"]))
                                @if step["checked"] == true { " " (badge(Tone::Good, words.confirmed)) }
                            }
                            (more(words.technical, html! {
                                p { (code(text(step, "contract"))) " " (code(&step["block"].to_string())) " " (code(text(step, "transaction"))) }
                            }))
                        }
                    }
                }
            }))
        }
        (pages(
            wanted.before.map(|_| ("/patient/timeline", words.first_page)),
            older.as_deref().map(|older| (older, words.older)),
        ))
        (crate::pages::explorer::recorded_link(&visitor))
    };
    Ok(visitor.page(words.timeline, content))
}

fn text<'a>(step: &'a Value, name: &str) -> &'a str {
    step[name].as_str().unwrap_or_default()
}

/// Who took a step.
fn actor(visitor: &Visitor, actor: &Value) -> String {
    let address =
        |name: &str| actor[name].as_str().and_then(|address| address.parse::<Address>().ok());
    match (address("patient"), address("member")) {
        (Some(_), _) => visitor.words().you.to_owned(),
        (None, Some(member)) => visitor.name(member),
        (None, None) => String::new(),
    }
}
