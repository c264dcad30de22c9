//! Whom somebody treats, and whose records they may read besides; found by name, birth date or number.

use axum::{extract::Query, response::Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    client::{Client, encoded},
    design::parts::{Tone, badge, card, empty, optional},
    fault::Fault,
    times, view,
    visitor::Visitor,
};

/// How many patients are shown.
const SHOWN_MAX: usize = 50;

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    name: String,
}

/// `GET /clinician?name=`.
pub(super) async fn page(
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let client = visitor.client()?;
    let name = wanted.name.trim();
    let path = if name.is_empty() {
        format!("/Patient?_count={SHOWN_MAX}")
    } else {
        format!("/Patient?name={}&_count={SHOWN_MAX}", encoded(name))
    };
    let (patients, more) = client.search(&path, SHOWN_MAX).await?;
    let own = in_care(&client).await?;
    let is_own =
        |patient: &&Value| patient["id"].as_str().is_some_and(|id| own.iter().any(|own| own == id));
    let (treated, others): (Vec<_>, Vec<_>) = patients.iter().partition(is_own);
    let content = html! {
        search { form method="get" action="/clinician" class="fields" {
            (optional("name", "Find a patient by name", "search", name, ""))
            p class="actions" { button type="submit" { "Find" } }
        } }
        @if patients.is_empty() {
            @if name.is_empty() {
                (empty("No patients yet", "Patients appear here when you join their care team, or when they share records with you. The privacy officer appoints care teams.", None))
            } @else {
                (empty("Nobody of that name", "Only patients are found whose records you may read. Check the spelling, or ask the patient to share their records with you.", Some(("/clinician", "All patients"))))
            }
        }
        @if !treated.is_empty() { (card("In your care", list(&treated, true))) }
        @if !others.is_empty() { (card("Shared with you", list(&others, false))) }
        @if more { p class="hint" { "There are more; find one by name." } }
    };
    Ok(visitor.page("Patients", content))
}

/// The ids of those for whom somebody cares here.
async fn in_care(client: &Client<'_>) -> Result<Vec<String>, Fault> {
    let (groups, _) = client.search("/Group", 1).await?;
    let members = groups.first().and_then(|group| group["member"].as_array());
    let ids = members.into_iter().flatten().filter_map(|member| {
        member["entity"]["reference"].as_str()?.strip_prefix("Patient/").map(str::to_owned)
    });
    Ok(ids.collect())
}

fn list(patients: &[&Value], is_own: bool) -> Markup {
    html! {
        ul class="list" {
            @for patient in patients {
                @let id = patient["id"].as_str().unwrap_or_default();
                li {
                    div class="row" {
                        a class="what" href={ "/clinician/patients/" (id) } { (view::line(patient).title) }
                        @if is_own { (badge(Tone::Good, "in your care")) }
                        span class="when" {
                            (patient["gender"].as_str().unwrap_or_default()) " "
                            (times::fhir(patient["birthDate"].as_str().unwrap_or_default()))
                        }
                    }
                }
            }
        }
    }
}
