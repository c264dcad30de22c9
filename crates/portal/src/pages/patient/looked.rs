//! Who looked at a patient's records, or tried to: allowed, refused, in an emergency.

use alloy_primitives::Address;
use axum::{extract::Query, response::Response};
use domain::Kind;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    design::parts::{Tone, badge, empty, pages, person, table, tabs},
    fault::Fault,
    times,
    visitor::Visitor,
    words::Words,
};

/// How many entries are on a page.
const PAGE: u32 = 50;

/// An entry of an access log.
pub(crate) struct Entry {
    pub(crate) who: Address,
    organisation: Option<Address>,
    role: String,
    time: u64,
    kinds: Vec<Kind>,
    records: usize,
    is_allowed: bool,
    reason: String,
    purpose: String,
    is_anchored: bool,
}

impl Entry {
    /// Reads an entry of `/api/access-log`.
    pub(crate) fn of(entry: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kinds = entry["kinds"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Some(Self {
            who: entry["who"]["address"].as_str()?.parse().ok()?,
            organisation: entry["organisation"]["member"]
                .as_str()
                .and_then(|member| member.parse().ok()),
            role: text(&entry["who"]["role"]),
            time: times::parse(entry["time"].as_str()?)?,
            kinds: kinds.filter_map(|kind| kind.parse().ok()).collect(),
            records: entry["records"].as_array().map_or(0, Vec::len),
            is_allowed: entry["outcome"] == "allowed",
            reason: text(&entry["reason"]),
            purpose: text(&entry["purpose"]),
            is_anchored: entry["anchored"] == true,
        })
    }

    fn is_emergency(&self) -> bool {
        self.reason == "emergency" || self.purpose == "emergency"
    }
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    before: Option<u64>,
    #[serde(default)]
    show: String,
}

/// `GET /patient/looked?show=&before=`.
pub(super) async fn page(
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let (words, own) = (visitor.words(), visitor.patient()?);
    let before = wanted.before.map_or_else(String::new, |before| format!("&before={before}"));
    let log = match visitor.client()?.api(&format!("/access-log?limit={PAGE}{before}")).await {
        Ok(log) => log,
        Err(Fault::NotFound) => Value::Null,
        Err(fault) => return Err(fault),
    };
    let entries: Vec<Entry> =
        log["entries"].as_array().into_iter().flatten().filter_map(Entry::of).collect();
    let is_shown = |entry: &&Entry| match &*wanted.show {
        "refused" => !entry.is_allowed,
        "allowed" => entry.is_allowed && entry.who != own,
        "emergency" => entry.is_emergency(),
        "you" => entry.who == own,
        _ => entry.who != own,
    };
    let rows: Vec<_> =
        entries.iter().filter(is_shown).map(|entry| entry_row(&visitor, entry)).collect();
    let tab = |show: &str, label: &str| {
        let is_current = *show == wanted.show;
        (format!("/patient/looked?show={show}"), label.to_owned(), is_current)
    };
    let choices = [
        tab("", words.all),
        tab("allowed", words.allowed),
        tab("refused", words.refused),
        tab("emergency", words.only_emergency),
        tab("you", words.you),
    ];
    let show = &wanted.show;
    let older = log["before"].as_u64().map(|before| {
        let show = if ["allowed", "refused", "emergency", "you"].contains(&&**show) {
            &**show
        } else {
            ""
        };
        format!("/patient/looked?show={show}&before={before}")
    });
    let content = html! {
        p class="lead" { (words.looked_text) }
        (tabs(words.looked, &choices))
        @if rows.is_empty() { (empty(words.no_looks, words.no_looks_text, None)) }
        @else { (table(words.newest_first, &headings(words), &rows)) }
        (pages(
            wanted.before.map(|_| ("/patient/looked", words.first_page)),
            older.as_deref().map(|older| (older, words.older)),
        ))
    };
    Ok(visitor.page(words.looked, content))
}

/// The headings over [`entry_row`].
pub(super) const fn headings(words: &Words) -> [&'static str; 4] {
    [words.when, words.looked, words.what, words.outcome]
}

/// An entry as a row.
pub(crate) fn entry_row(visitor: &Visitor, entry: &Entry) -> Vec<Markup> {
    let words = visitor.words();
    let own = visitor.patient().ok();
    let kinds: Vec<_> = entry.kinds.iter().map(|kind| (words.kind)(*kind)).collect();
    let reason = match &*entry.reason {
        "own-record" => words.basis_own,
        "care-team" => words.basis_care,
        "consent" => words.basis_consent,
        "workflow" => words.basis_workflow,
        "emergency" => words.basis_emergency,
        _ if entry.is_allowed => "",
        _ => words.not_covered,
    };
    let who = html! {
        @if own == Some(entry.who) { (words.you) } @else {
            (person(visitor, entry.who))
            @if let Some(organisation) = entry.organisation.filter(|member| *member != entry.who) {
                " – " (visitor.name(organisation))
            }
            @if !entry.role.is_empty() { " " small { (entry.role.replace('-', " ")) } }
        }
    };
    let what = html! {
        @if entry.kinds.is_empty() && entry.records == 0 && entry.is_allowed { (words.log_itself) } @else {
            (kinds.join(", "))
            @if entry.records > 0 { " " small {
                    (entry.records) " " (if entry.records == 1 { words.record_count } else { words.records_count })
                } }
        }
    };
    let outcome = html! {
        @if entry.is_emergency() && entry.is_allowed { (badge(Tone::Bad, words.in_emergency)) }
        @else if entry.is_allowed && entry.records == 0 && !entry.kinds.is_empty() {
            (badge(Tone::Plain, words.found_nothing))
        }
        @else if entry.is_allowed { (badge(Tone::Good, words.allowed)) }
        @else { (badge(Tone::Warning, words.refused)) }
        " " (reason)
        @if entry.is_anchored { " " span class="sealed" title=(words.stored_safely) { span class="visually-hidden" { (words.stored_safely) } } }
    };
    vec![times::stamp(entry.time), who, what, outcome]
}
