//! One patient, as somebody who treats them reads: a summary, each kind of record, and clearly when there is no
//! consent. Every page of this leaves an entry that the patient sees.

use axum::{
    extract::{Path, Query},
    http::StatusCode,
    response::Response,
};
use domain::Kind;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    client::Client,
    design::parts::{Tone, card, facts, notice, tabs},
    fault::Fault,
    pages::patient::records,
    times, view,
    visitor::Visitor,
};

/// What a summary shows: what could be dangerous first.
const SUMMARY: [Kind; 3] = [Kind::Allergy, Kind::Medication, Kind::Condition];

/// How many of each kind a summary shows.
const SUMMARY_MAX: usize = 5;

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    from: String,
}

/// `GET /clinician/patients/{id}?kind=`.
pub(super) async fn page(
    visitor: Visitor,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let client = visitor.client()?;
    if !view::is_fit(&id) {
        return Err(Fault::NotFound);
    }
    let answered = client.fhir_raw(&format!("/Patient/{id}")).await?;
    if matches!(answered.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Ok(no_consent(&visitor));
    }
    let patient = answered.ok()?;
    let words = visitor.words();
    let kind: Option<Kind> = wanted.kind.parse().ok().filter(|kind| view::SHOWN.contains(kind));
    let base = format!("/clinician/patients/{id}");
    let mut kinds = vec![(base.clone(), "Summary".to_owned(), kind.is_none())];
    kinds.extend(view::SHOWN.map(|shown| {
        let href = format!("{base}?kind={}", shown.name());
        (href, (words.kind)(shown).to_owned(), kind == Some(shown))
    }));
    let shown = match kind {
        Some(kind) => {
            let found = records::read(&client, &id, kind, &wanted.from).await?;
            records::shown(&found, kind, &base, &wanted.from, words)
        }
        None => summary(&client, &id, &base, &patient, words).await?,
    };
    let content = html! { (tabs("Records", &kinds)) (shown) };
    Ok(visitor.page(&view::line(&patient).title, content))
}

async fn summary(
    client: &Client<'_>,
    id: &str,
    base: &str,
    patient: &Value,
    words: &crate::words::Words,
) -> Result<Markup, Fault> {
    let text = |name: &str| patient[name].as_str().unwrap_or_default();
    let about = [
        ("Born".to_owned(), html! { (times::fhir(text("birthDate"))) }),
        ("Gender".to_owned(), html! { (text("gender")) }),
    ];
    let mut parts = Vec::new();
    for kind in SUMMARY {
        let mut found = records::read(client, id, kind, "").await?;
        found.resources.truncate(SUMMARY_MAX);
        found.next.clear();
        parts.push((kind, found));
    }
    Ok(html! {
        (card("", facts(&about)))
        div class="two" {
            @for (kind, found) in &parts {
                section { h2 { ((words.kind)(*kind)) } (records::shown(found, *kind, base, "", words)) }
            }
        }
    })
}

/// That somebody may not read, and what can be done.
fn no_consent(visitor: &Visitor) -> Response {
    let content = html! {
        (notice(Tone::Bad, "You may not read this patient's records now", html! {
            p { "There is no consent in force that lets you read them, or it was taken back. Nothing was shown, and the patient sees that you tried." }
        }))
        (card("What you can do", html! {
            ul {
                li { "Ask the patient to share the records that you need. They can do that in their own portal, in a minute." }
                li { "If you treat the patient here, ask the privacy officer to add you to the care team." }
                li { "In an emergency, emergency staff can open the records for a limited time. Each such opening is reviewed." }
            }
            p class="actions" { a class="button" href="/clinician" { "Back to your patients" } }
        }))
    };
    visitor.page_with(StatusCode::FORBIDDEN, "No consent", content)
}

/// `GET /clinician/patients/{patient}/{type}/{id}`.
pub(super) async fn record(
    visitor: Visitor,
    Path((patient, resource_type, id)): Path<(String, String, String)>,
) -> Result<Response, Fault> {
    let client = visitor.client()?;
    let resource = match records::resource(&client, &resource_type, &id).await {
        Ok(resource) => resource,
        Err(Fault::Refused(_)) => return Ok(no_consent(&visitor)),
        Err(fault) => return Err(fault),
    };
    let trend = records::trend_of(&client, &resource, visitor.words().over_time).await?;
    let content = html! {
        p { a href={ "/clinician/patients/" (patient) } { "Back to the patient" } }
        (records::whole(&visitor, &resource, trend))
    };
    Ok(visitor.page(&view::line(&resource).title, content))
}
