//! A patient's records: a kind at a time, the newest first, and each by itself.

use axum::{
    extract::{Path, Query},
    response::Response,
};
use domain::Kind;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::own_id;
use crate::{
    client::{Client, encoded},
    design::{
        chart::trend,
        parts::{Tone, card, empty, more, notice, pages, tabs},
    },
    fault::Fault,
    times, view,
    visitor::Visitor,
};

/// How many of one type are on a page.
const PAGE: usize = 20;

/// How many values a trend is made of.
const TREND: usize = 200;

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    kind: String,
    /// The place from where one type goes on, as the gateway named it.
    #[serde(default)]
    from: String,
}

pub(super) fn href_of_kind(kind: Kind) -> String {
    format!("/patient/records?kind={}", kind.name())
}

/// `GET /patient/records?kind=`.
pub(super) async fn list(
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let (words, client) = (visitor.words(), visitor.client()?);
    let kind: Kind = wanted.kind.parse().unwrap_or(view::SHOWN[0]);
    let kinds: Vec<_> = view::SHOWN
        .into_iter()
        .map(|shown| (href_of_kind(shown), (words.kind)(shown).to_owned(), shown == kind))
        .collect();
    let Some(id) = own_id(&client, visitor.patient()?).await? else {
        let content = empty(words.not_here_yet, words.not_here_yet_text, None);
        return Ok(visitor.page(words.your_records, content));
    };
    let found = read(&client, &id, kind, &wanted.from).await?;
    let content = html! {
        (tabs(words.your_records, &kinds))
        (shown(&found, kind, "/patient/records", &wanted.from, words))
    };
    Ok(visitor.page((words.kind)(kind), content))
}

/// What was found of one kind.
pub(crate) struct Found {
    pub(crate) resources: Vec<Value>,
    /// From where each type goes on that has more.
    pub(crate) next: Vec<String>,
    /// Whether a type may not be read.
    pub(crate) is_refused: bool,
}

/// Reads a page of one kind of a patient's records.
pub(crate) async fn read(
    client: &Client<'_>,
    id: &str,
    kind: Kind,
    from: &str,
) -> Result<Found, Fault> {
    let sources = view::sources(kind);
    let mut found = Found { resources: Vec::new(), next: Vec::new(), is_refused: false };
    let paths: Vec<String> = if kind == Kind::Demographics {
        vec![format!("/Patient?_id={id}")]
    } else if from.is_empty() {
        let path = |source: &view::Source| {
            let view::Source { resource_type, filter, sort } = source;
            format!("/{resource_type}?patient=Patient/{id}{filter}&_sort={sort}&_count={PAGE}")
        };
        sources.iter().map(path).collect()
    } else {
        // A place is one of this kind's types with parameters: the gateway decides about it as about every question.
        let is_place =
            |source: &view::Source| from.starts_with(&format!("/{}?", source.resource_type));
        if !sources.iter().any(is_place) {
            return Err(Fault::NotFound);
        }
        vec![from.to_owned()]
    };
    for path in paths {
        let answered = client.fhir_raw(&path).await?;
        match answered.ok() {
            Ok(mut bundle) => {
                found.next.extend(crate::client::next_page(&bundle));
                if let Some(entries) = bundle["entry"].as_array_mut() {
                    let matches =
                        entries.iter_mut().filter(|entry| entry["search"]["mode"] != "outcome");
                    found.resources.extend(matches.map(|entry| entry["resource"].take()));
                }
            }
            // A kind that somebody may not read is not there for them.
            Err(Fault::Refused(_) | Fault::NotFound) => found.is_refused = true,
            Err(fault) => return Err(fault),
        }
    }
    found.resources.sort_by_cached_key(|resource| std::cmp::Reverse(view::line(resource).when));
    Ok(found)
}

/// A page of one kind.
pub(crate) fn shown(
    found: &Found,
    kind: Kind,
    base: &str,
    from: &str,
    words: &crate::words::Words,
) -> Markup {
    let href = |resource: &Value| {
        let part = |name: &str| resource[name].as_str().unwrap_or_default();
        format!("{base}/{}/{}", part("resourceType"), encoded(part("id")))
    };
    let further = |next: &str| format!("{base}?kind={}&from={}", kind.name(), encoded(next));
    let first = format!("{base}?kind={}", kind.name());
    html! {
        @if found.is_refused {
            (notice(Tone::Warning, words.refused_some, html! { p { (words.refused_some_text) } }))
        }
        @if found.resources.is_empty() && !found.is_refused {
            (empty(words.no_records, words.no_records_text, None))
        } @else {
            ul class="list" { @for resource in &found.resources { (view::item(resource, &href(resource))) } }
        }
        @for next in &found.next {
            (pages((!from.is_empty()).then_some((&*first, words.first_page)), Some((&further(next), words.older))))
        }
        @if found.next.is_empty() && !from.is_empty() { (pages(Some((&*first, words.first_page)), None)) }
    }
}

/// `GET /patient/records/{type}/{id}`.
pub(super) async fn one(
    visitor: Visitor,
    Path((resource_type, id)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let client = visitor.client()?;
    let words = visitor.words();
    let resource = resource(&client, &resource_type, &id).await?;
    let trend = trend_of(&client, &resource, words.over_time).await?;
    Ok(visitor.page(&view::line(&resource).title, whole(&visitor, &resource, trend)))
}

/// One resource by type and id.
pub(crate) async fn resource(
    client: &Client<'_>,
    resource_type: &str,
    id: &str,
) -> Result<Value, Fault> {
    if !view::is_fit(resource_type) || !view::is_fit(id) {
        return Err(Fault::NotFound);
    }
    client.fhir(&format!("/{resource_type}/{id}")).await
}

/// How a measurement went over time.
pub(crate) async fn trend_of(
    client: &Client<'_>,
    resource: &Value,
    label: &str,
) -> Result<Markup, Fault> {
    let coding = &resource["code"]["coding"][0];
    let (Some(code), Some(subject)) =
        (coding["code"].as_str(), resource["subject"]["reference"].as_str())
    else {
        return Ok(html! {});
    };
    if resource["resourceType"] != "Observation" || resource["valueQuantity"]["value"].is_null() {
        return Ok(html! {});
    }
    let token = format!("{}|{code}", coding["system"].as_str().unwrap_or_default());
    let (subject, token) = (encoded(subject), encoded(&token));
    let path = format!("/Observation?patient={subject}&code={token}&_sort=-date&_count=100");
    let (found, _) = client.search(&path, TREND).await?;
    let (points, low, high) = view::series(&found);
    Ok(trend(label, &points, low, high))
}

/// A resource on a page of its own.
pub(crate) fn whole(visitor: &Visitor, resource: &Value, trend: Markup) -> Markup {
    let words = visitor.words();
    let line = view::line(resource);
    html! {
        @if !line.when.is_empty() { p class="lead" { (times::fhir(&line.when)) } }
        (card("", view::whole(resource, words)))
        @if !trend.0.is_empty() { (card(words.over_time, trend)) }
        (more(words.technical, html! {
            pre { code { (serde_json::to_string_pretty(resource).unwrap_or_default()) } }
        }))
    }
}
