//! Records that wait for the patient's answer: what each says, what it changes, and whether it is right.

use alloy_primitives::B256;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::{
    admit::Form,
    client::Client,
    design::parts::{Tone, act, badge, card, empty, facts, more},
    fault::Fault,
    signing::{Asked, begin},
    times, view,
    visitor::Visitor,
};

/// How many are shown at once.
const SHOWN_MAX: usize = 20;

/// `GET /patient/proposed`.
pub(super) async fn list(visitor: Visitor) -> Result<Response, Fault> {
    let (words, client) = (visitor.words(), visitor.client()?);
    let waiting = client.api("/records?state=proposed").await?;
    let waiting = waiting["records"].as_array().cloned().unwrap_or_default();
    let mut shown = Vec::new();
    for record in waiting.iter().take(SHOWN_MAX) {
        shown.push(one(&visitor, &client, record).await?);
    }
    let content = html! {
        @if shown.is_empty() {
            (empty(words.no_proposed, words.nothing_to_do, Some(("/patient", words.home))))
        } @else {
            p class="lead" { (words.check_records_text) }
            @for record in &shown { (record) }
            @if waiting.len() > SHOWN_MAX { p class="hint" { "+ " (waiting.len() - SHOWN_MAX) } }
        }
    };
    Ok(visitor.page(words.check_records, content))
}

async fn one(visitor: &Visitor, client: &Client<'_>, record: &Value) -> Result<Markup, Fault> {
    let words = visitor.words();
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let kind = text("kind").parse().map_or("", |kind| (words.kind)(kind));
    let resource = match record["resource"].as_str() {
        Some(name) => client.fhir_raw(&format!("/{name}")).await?.ok().ok(),
        None => None,
    };
    // The version that was accepted, when this one is to replace it.
    let before = match (record["resource"].as_str(), record["base"].as_u64()) {
        (Some(name), Some(base)) if base > 0 => {
            client.fhir_raw(&format!("/{name}/_history/{base}")).await?.ok().ok()
        }
        _ => None,
    };
    let title =
        resource.as_ref().map_or_else(|| kind.to_owned(), |resource| view::line(resource).title);
    let hidden = [("record", text("record")), ("digest", text("digest"))];
    let answer = |verdict, label, is_danger| {
        let fields = [hidden[0], hidden[1], ("answer", verdict)];
        act(visitor, "/patient/proposed", &fields, label, is_danger)
    };
    Ok(card(
        &title,
        html! {
            p { (badge(Tone::Plain, kind)) " " (times::fhir(text("since"))) }
            @if let Some(resource) = &resource {
                @if let Some(before) = &before { (difference(before, resource, words.changed_from)) }
                (view::whole(resource, words))
                (more(words.technical, html! { pre { code { (serde_json::to_string_pretty(resource).unwrap_or_default()) } } }))
            } @else {
                (facts(&[(words.account.to_owned(), html! { code { (text("record")) } })]))
            }
            div class="actions" {
                (answer("accept", words.accept, false))
                (answer("reject", words.reject, true))
            }
        },
    ))
}

/// What one version says otherwise than another, field by field.
fn difference(before: &Value, after: &Value, title: &str) -> Markup {
    let (before, after) = (view::lines(before), view::lines(after));
    let removed = before.iter().filter(|line| !after.contains(line));
    let added = after.iter().filter(|line| !before.contains(line));
    html! {
        h3 { (title) }
        ul class="difference" {
            @for (name, value) in removed { li { (name) ": " del class="removed" { (value) } } }
            @for (name, value) in added { li { (name) ": " ins class="added" { (value) } } }
        }
    }
}

/// `POST /patient/proposed`.
pub(super) async fn answer(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let words = visitor.words();
    let (record, digest) =
        (form.parse::<B256>("record", "Record")?, form.parse::<B256>("digest", "Version")?);
    let (step, title, done) = match form.text("answer") {
        "accept" => ("record.accept", words.accept_title, words.accepted),
        "reject" => ("record.reject", words.reject_title, words.rejected),
        _ => return Err(Fault::Unusable("say whether the record is right or wrong".into())),
    };
    let step =
        json!({ "step": step, "patient": visitor.patient()?, "record": record, "digest": digest });
    begin(&visitor, step, Asked { title, back: "/patient/proposed", done }).await
}
