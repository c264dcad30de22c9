//! What is made when it is asked for (`derived.rs`), as lines of an export: `AuditEvent`, the `Consent`s of
//! grants, and the `Provenance` of anchors.
//!
//! It is given when `_type` names it. An export of everything is of what is kept: the log of its own
//! making, and a line about each of its lines, would come on top for whoever did not think of them.
//!
//! A file says what was asked for and until when, and nothing that is in it. Its lines are made as they
//! are sent, and decided on then like those of a search.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method},
};
use domain::{Address, Reader};
use futures_util::stream;
use gatekeeper::Walk;
use serde::{Deserialize, Serialize};

use super::export::{Downloading, rows_after};
use crate::{
    audit,
    caller::Caller,
    consent,
    derived::{Derived, note_shown},
    outcome::FhirError,
    provenance,
    reached::Reached,
    request::Request,
    resources::Resources,
};

/// What can be exported that is made.
const TYPES: [&str; 3] = ["AuditEvent", "Consent", "Provenance"];

/// How many receipts are looked at between two looks whether the caller is still who they were.
const RECEIPTS_AT_ONCE: u32 = 200;

/// What a file of what is made is to have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) made: String,
    /// What changed from here on, in milliseconds since 1970.
    since: i64,
    /// And up to here.
    until: i64,
    /// The last receipt that there was: reading them makes more.
    last_receipt: u64,
    /// Only these patients, by account; all of them when there is no list.
    patients: Option<Vec<Address>>,
}

/// Which of the types that are asked for by name are made.
pub(super) fn named(asked: &[&str]) -> Vec<String> {
    let all = TYPES.iter().filter(|name| asked.contains(name));
    all.map(|name| (*name).to_owned()).collect()
}

/// The files of what is made.
pub(super) async fn files(
    resources: &Resources,
    made: &[String],
    (since, until): (i64, i64),
    patients: Option<&Vec<Address>>,
) -> Result<Vec<Asked>, FhirError> {
    let newest = resources.gatekeeper().receipts(None, Walk::Before(u64::MAX), 1).await?;
    let last_receipt = newest.first().map_or(0, |stored| stored.receipt.sequence);
    let asked = |made: &String| Asked {
        made: made.clone(),
        since,
        until,
        last_receipt,
        patients: patients.cloned(),
    };
    Ok(made.iter().map(asked).collect())
}

/// Where the making of a file has come to.
enum Place {
    /// After this receipt, or this resource.
    After(u64),
    End,
}

/// The lines of a file, made as they are sent.
pub(super) fn body(download: Downloading, caller: &Caller, asked: Asked) -> Body {
    let making = (download, caller.clone(), asked, Place::After(0));
    Body::from_stream(stream::try_unfold(making, async |(download, caller, asked, place)| {
        let Place::After(after) = place else { return Ok(None) };
        let (lines, next) = {
            let resources = &download.resources;
            // Held while there is work, not while the client takes its time.
            let _turn = resources.inner.running.sending_turn().await;
            send(resources, &caller, &asked, after).await?
        };
        Ok::<_, FhirError>(Some((lines, (download, caller, asked, next))))
    }))
}

async fn send(
    resources: &Resources,
    caller: &Caller,
    asked: &Asked,
    after: u64,
) -> Result<(Bytes, Place), FhirError> {
    resources.require_in_force(caller).await?;
    let mut reached = Reached::default();
    let (mut found, next) = match asked.made.as_str() {
        "AuditEvent" => receipts(resources, caller, asked, after).await?,
        "Provenance" => anchors(resources, caller, asked, after, &mut reached).await?,
        _ => (grants(resources, caller, &mut reached).await?, Place::End),
    };
    found.retain(|one| {
        let is_theirs = |patients: &Vec<Address>| patients.contains(&one.patient);
        (asked.since..=asked.until).contains(&one.updated)
            && asked.patients.as_ref().is_none_or(is_theirs)
            && caller.is_about(one.patient)
    });
    note_shown(resources, caller, &found).await?;
    reached.show(found.iter().map(|one| one.patient));
    reached.settle(resources, caller).await?;
    let mut text = String::new();
    for one in &found {
        if let Some(body) = one.resource()?.body {
            text.push_str(&body.to_string());
            text.push('\n');
        }
    }
    Ok((text.into(), next))
}

/// The next receipts, as far as the caller may see the log.
async fn receipts(
    resources: &Resources,
    caller: &Caller,
    asked: &Asked,
    after: u64,
) -> Result<(Vec<Derived>, Place), FhirError> {
    let Some(only) = audit::sees_of(resources, caller) else {
        return Ok((Vec::new(), Place::End));
    };
    let walk = Walk::After(after);
    let mut stored = resources.gatekeeper().receipts(only, walk, RECEIPTS_AT_ONCE).await?;
    let is_full = stored.len() == RECEIPTS_AT_ONCE as usize;
    stored.retain(|stored| stored.receipt.sequence <= asked.last_receipt);
    let next = match stored.last() {
        Some(last) if is_full => Place::After(last.receipt.sequence),
        _ => Place::End,
    };
    Ok((audit::events(resources, caller, &stored).await?, next))
}

/// Where the versions of the next records stand on chain.
async fn anchors(
    resources: &Resources,
    caller: &Caller,
    asked: &Asked,
    after: u64,
    reached: &mut Reached,
) -> Result<(Vec<Derived>, Place), FhirError> {
    let only = match caller.reader {
        Reader::Patient { account } => Some(account),
        _ => caller.patient,
    };
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = rows_after(resources, only, after).await?;
    let next = match rows.last().map(|last| u64::try_from(last.number)) {
        Some(Ok(last)) => Place::After(last),
        _ => Place::End,
    };
    rows.retain(|row| {
        let Some(filed) = row.record else { return false };
        asked.patients.as_ref().is_none_or(|patients| patients.contains(&filed.patient))
    });
    Ok((provenance::made_of(resources, caller, rows, reached).await?, next))
}

/// The grants that the caller sees.
async fn grants(
    resources: &Resources,
    caller: &Caller,
    reached: &mut Reached,
) -> Result<Vec<Derived>, FhirError> {
    let request = Request::new(Method::GET, "Consent", "", &HeaderMap::new(), Bytes::new())?;
    consent::find(resources, caller, &[], &request, reached).await
}
