//! What goes with emergency access: whom a patient wants told, and how often who broke the glass.

use std::time::Duration;

use alloy_primitives::Address;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use domain::Reader;
use fhir::{Caller, Interaction};
use notify::CONTACTS_MAX;
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::emergency;

use super::{
    Answer, Api, Problem,
    acts::{Act, Subject},
    answer, done, json, query, require_about,
};

/// How many days are counted when nobody says how many.
const DAYS: u32 = 90;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contacts {
    contacts: Vec<Address>,
}

/// `GET /api/contacts`: whom a patient wants told when the glass is broken.
pub(super) async fn contacts(State(api): State<Api>, headers: HeaderMap) -> Answer {
    let (caller, _) = api.caller(&headers, "RelatedPerson", Interaction::Read).await?;
    let contacts = api.0.notifying.outbox().contacts(patient(&caller)?).await?;
    Ok(answer(StatusCode::OK, &json!({ "contacts": contacts })))
}

/// `PUT /api/contacts`: all of them at once.
pub(super) async fn set_contacts(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let (caller, _) = api.caller(&headers, "RelatedPerson", Interaction::Update).await?;
    let account = patient(&caller)?;
    let Contacts { mut contacts } = json(&headers, body).await?;
    contacts.sort_unstable();
    contacts.dedup();
    if contacts.len() > CONTACTS_MAX {
        return Err(Problem::unprocessable(format!("there are at most {CONTACTS_MAX} contacts")));
    }
    for contact in &contacts {
        if *contact == account || !api.knows(*contact).await {
            let text = "a contact is another patient of this institution, by account";
            return Err(Problem::unprocessable(text));
        }
    }
    let act = Act {
        name: "contacts",
        actor: account,
        purpose: caller.purpose,
        patient: Some(account),
        subject: Subject::None,
        outcome: "done",
    };
    api.0.acts.note(act, api.now()).await?;
    api.0.notifying.outbox().set_contacts(account, &contacts).await?;
    Ok(done())
}

fn patient(caller: &Caller) -> Result<Address, Problem> {
    match caller.reader {
        Reader::Patient { account } => Ok(account),
        _ => Err(Problem::forbidden("patients say themselves whom they want told")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    days: Option<u32>,
}

/// `GET /api/emergency-use`: how often each of the institution's people broke the glass.
pub(super) async fn usage(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, _) = api.caller(&headers, "AuditEvent", Interaction::Search).await?;
    require_about(&caller, None)?;
    if !api.is_officer(&caller.reader) && !api.is_institution(&caller.reader) {
        let text = "this is for the institution's privacy officers and its own systems";
        return Err(Problem::forbidden(text));
    }
    let Since { days } = query(&uri)?;
    let period = Duration::from_secs(u64::from(days.unwrap_or(DAYS)) * 86_400);
    let used = emergency::usage(&api.0.gateway, period, api.now()).await?;
    let used: Vec<Value> = used
        .iter()
        .map(|used| {
            json!({
                "professional": used.professional,
                "openings": used.openings,
                "patients": used.patients,
                "justified": used.justified,
                "unjustified": used.unjustified,
                "overdue": used.overdue,
                "repeated": used.is_repeated(),
            })
        })
        .collect();
    Ok(answer(StatusCode::OK, &json!({ "days": days.unwrap_or(DAYS), "professionals": used })))
}
