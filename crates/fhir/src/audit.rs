//! `AuditEvent`: the access log, one for each receipt.
//!
//! A patient sees what is about them, the institution's privacy officers, auditors and own systems see
//! everything of this gatekeeper, and others nothing. Nobody writes one: what happened is not posted.
//! Looking at the log is itself in the log, with one receipt for each patient of whom a page shows
//! something, or whom a search names.
//!
//! Pages go by the number of the receipt. What is logged in between comes before the first page when the
//! newest come first, and after the last one otherwise; no page shifts.
//!
//! | element | receipt |
//! |---|---|
//! | `id` | `receipt-` and its number in this gatekeeper's log |
//! | `agent` | who asked, and for which institution; `altId` is the address |
//! | `purposeOfEvent` | why, by HL7 v3 |
//! | `entity` | whose records, then each version that was opened |
//! | `outcome`, `outcomeDesc` | 0, or 4 and the reason of the refusal |
//! | extension `urn:salus:receipt` | number, head of the log, signature, and batch on chain |

use std::collections::HashMap;

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Address, Basis, Kind, KindSet, Outcome, Reader, Receipt, RecordDigest, RecordId, Refusal,
};
use gatekeeper::{ReceiptAnchor, StoredReceipt, Walk};
use serde_json::{Value, json};

use crate::{
    bundle::{Bundle, Link},
    caller::{Caller, Interaction},
    derived::{
        Derived, KIND_SYSTEM, Names, RECORD_SYSTEM, is_watching, link, made_entry, names_of,
        note_shown, parse, patients_named,
    },
    instant,
    outcome::FhirError,
    reached::Reached,
    request::{Reply, Request},
    resources::Resources,
    searching,
};

const ID_PREFIX: &str = "receipt-";

/// How many receipts are read at a time.
const READ_AT_ONCE: u32 = 500;

/// How many receipts one search looks at, at most. A page that found less by then says where to go on.
const LOOKED_AT_MAX: usize = 20_000;

const PURPOSE_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

/// Whose receipts a reader may see.
enum Sees {
    All,
    Only(Address),
}

fn sees(resources: &Resources, caller: &Caller) -> Option<Sees> {
    let sees = match caller.reader {
        Reader::Patient { account } => Sees::Only(account),
        _ if is_watching(resources, &caller.reader) => Sees::All,
        _ => return None,
    };
    match (sees, caller.patient) {
        (Sees::All, Some(patient)) => Some(Sees::Only(patient)),
        (Sees::Only(one), Some(other)) if one != other => None,
        (sees, _) => Some(sees),
    }
}

/// Whose receipts a caller may see: `Some(None)` stands for everybody's.
pub(crate) fn sees_of(resources: &Resources, caller: &Caller) -> Option<Option<Address>> {
    sees(resources, caller).map(|sees| match sees {
        Sees::All => None,
        Sees::Only(only) => Some(only),
    })
}

impl Sees {
    fn includes(&self, patient: Address) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => *only == patient,
        }
    }
}

/// The receipt with an id.
pub(crate) async fn read(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Derived, FhirError> {
    caller.require("AuditEvent", Interaction::Read)?;
    let sequence = id.strip_prefix(ID_PREFIX).filter(|digits| !digits.starts_with('0'));
    let sequence: u64 =
        sequence.and_then(|digits| digits.parse().ok()).ok_or_else(FhirError::not_found)?;
    let after = Walk::After(sequence.saturating_sub(1));
    let stored = resources.gatekeeper().receipts(None, after, 1).await?.pop();
    let stored = stored.filter(|stored| stored.receipt.sequence == sequence);
    let stored = stored.ok_or_else(FhirError::not_found)?;
    let patient = stored.receipt.patient;
    if !sees(resources, caller).is_some_and(|sees| sees.includes(patient)) {
        note_refusal(resources, caller, patient).await?;
        return Err(FhirError::not_found());
    }
    let mut events = events(resources, caller, &[stored]).await?;
    events.pop().ok_or_else(FhirError::not_found)
}

async fn note_refusal(
    resources: &Resources,
    caller: &Caller,
    patient: Address,
) -> Result<(), FhirError> {
    let kinds = KindSet::of(&[Kind::Administrative]);
    let outcome = Outcome::refused(Refusal::BeyondRole);
    let (gatekeeper, now) = (resources.gatekeeper(), resources.now());
    gatekeeper.note(caller.reading(), patient, kinds, outcome, now).await?;
    Ok(())
}

/// Searches the log.
pub(crate) async fn search(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    pairs: &[(String, String)],
) -> Result<Reply, FhirError> {
    caller.require("AuditEvent", Interaction::Search)?;
    let parameter =
        |name: &str| pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let named = match parameter("patient").or_else(|| parameter("patient:Patient")) {
        Some(text) => patients_named(resources, text).await?,
        None => Vec::new(),
    };
    let kinds = KindSet::of(&[Kind::Administrative]);
    let mut reached = Reached::default();
    let sees = sees(resources, caller);
    let is_seen = |patient: &Address| sees.as_ref().is_some_and(|sees| sees.includes(*patient));
    let (seen, refused): (Vec<_>, Vec<_>) = named.iter().copied().partition(is_seen);
    for patient in refused {
        reached.refuse_one(patient, kinds, Refusal::BeyondRole);
    }
    let found = match sees {
        Some(sees) => {
            search_of(resources, caller, request, pairs, (sees, named.as_slice()), &mut reached)
                .await
        }
        None => {
            let text = "the access log is for the patient, and for those who watch over it here";
            Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text))
        }
    };
    for patient in seen {
        match found {
            // Also when it was that there is nothing.
            Ok(_) => reached.count_one(patient, kinds),
            Err(_) => reached.name(patient, kinds),
        }
    }
    reached.answer(resources, caller, found).await
}

async fn search_of(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    pairs: &[(String, String)],
    (sees, named): (Sees, &[Address]),
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    let parameter =
        |name: &str| pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    resources.gatekeeper().refresh(resources.now()).await?;
    let query = parse(resources, "AuditEvent", pairs, request)?;
    if query.links().next().is_some() {
        let text = "the access log is not searched by what others say; name patient or agent";
        return Err(FhirError::unprocessable("not-supported", text));
    }
    let oldest_first = match query.output().sort.as_slice() {
        [] => false,
        [key] if matches!(key.parameter.name(), "date" | "_lastUpdated") => !key.is_descending,
        _ => return Err(FhirError::bad_request("the access log is sorted by date only")),
    };
    let patient = match (&sees, named) {
        (Sees::Only(only), _) => Some(*only),
        (Sees::All, [one]) => Some(*one),
        (Sees::All, _) => None,
    };
    let size = searching::count(parameter("_count"))?;
    let is_counted = size == 0 || query.output().summary == search::Summary::Count;
    let page = parameter("_page");
    let mut walk = match (page.map(str::parse), oldest_first) {
        (None, false) => Walk::Before(u64::MAX),
        (None, true) => Walk::After(0),
        (Some(Ok(before)), false) => Walk::Before(before),
        (Some(Ok(after)), true) => Walk::After(after),
        (Some(Err(_)), _) => return Err(FhirError::bad_request("there is no such page")),
    };
    let (mut found, mut looked_at, mut more) = (Vec::new(), 0, true);
    while more && (is_counted || found.len() <= size) && looked_at < LOOKED_AT_MAX {
        let stored = resources.gatekeeper().receipts(patient, walk, READ_AT_ONCE).await?;
        more = stored.len() == READ_AT_ONCE as usize;
        looked_at += stored.len();
        if let Some(last) = stored.last() {
            let last = last.receipt.sequence;
            walk = if oldest_first { Walk::After(last) } else { Walk::Before(last) };
        }
        for (event, stored) in events(resources, caller, &stored).await?.into_iter().zip(stored) {
            if search::matches(&query, "AuditEvent", &event.value, event.updated) {
                found.push((stored.receipt.sequence, event));
            }
        }
    }
    if is_counted && more {
        let text = format!("more than {LOOKED_AT_MAX} receipts to count; name a patient");
        return Err(FhirError::unprocessable("too-costly", text));
    }
    let mut bundle = Bundle::new("searchset", resources.make_id());
    if is_counted {
        bundle.total = Some(found.len());
        note_shown(resources, caller, found.iter().map(|(_, event)| event)).await?;
        reached.show(found.iter().map(|(_, event)| event.patient));
        return Ok(bundle.reply());
    }
    let next = match (found.len() > size, more, walk) {
        // The last one shown is where the next page begins.
        (true, ..) => found.get(size.saturating_sub(1)).map(|(sequence, _)| *sequence),
        (false, true, Walk::Before(place) | Walk::After(place)) => Some(place),
        (false, false, _) => None,
    };
    found.truncate(size);
    if next.is_none() && page.is_none() {
        bundle.total = Some(found.len());
    }
    note_shown(resources, caller, found.iter().map(|(_, event)| event)).await?;
    reached.show(found.iter().map(|(_, event)| event.patient));
    if let Some(next) = next {
        let url = link(resources, "AuditEvent", pairs, &next.to_string());
        bundle.link.push(Link { relation: "next", url });
    }
    for (_, event) in &found {
        bundle.entry.push(made_entry(resources, event, "match", &query)?);
    }
    Ok(bundle.reply())
}

/// Receipts as events, in their order.
pub(crate) async fn events(
    resources: &Resources,
    caller: &Caller,
    stored: &[StoredReceipt],
) -> Result<Vec<Derived>, FhirError> {
    let opened = stored.iter().flat_map(|stored| records_of(&stored.receipt));
    let mut records: Vec<RecordId> = opened.map(|(record, _)| *record).collect();
    records.sort_unstable();
    records.dedup();
    let resource_names = names_of(resources, &records).await?;
    let versions: HashMap<RecordDigest, u32> = resources
        .gatekeeper()
        .vault()
        .versions_of(&records)
        .await?
        .into_iter()
        .map(|entry| (entry.digest, entry.header.version.get()))
        .collect();
    let mut names = Names::new(resources);
    let mut events = Vec::with_capacity(stored.len());
    for stored in stored {
        let receipt = &stored.receipt;
        let mut entities = vec![json!({
            "what": names.patient(receipt.patient).await?,
            "type": coding("http://terminology.hl7.org/CodeSystem/audit-entity-type", "1", "Person"),
            "role": coding("http://terminology.hl7.org/CodeSystem/object-role", "1", "Patient"),
        })];
        for (record, digest) in records_of(receipt) {
            let version = versions.get(digest).copied();
            let mut what =
                json!({ "identifier": { "system": RECORD_SYSTEM, "value": record.to_string() } });
            if let (Some((resource_type, id)), Some(version)) =
                (resource_names.get(record), version)
            {
                what["reference"] = format!("{resource_type}/{id}/_history/{version}").into();
            }
            entities.push(json!({
                "what": what,
                "type": coding(
                    "http://terminology.hl7.org/CodeSystem/audit-entity-type",
                    "2",
                    "System Object",
                ),
                "role": coding(
                    "http://terminology.hl7.org/CodeSystem/object-role",
                    "4",
                    "Domain Resource",
                ),
                "detail": [{ "type": "digest", "valueString": digest.to_string() }],
            }));
        }
        if let Some(entity) = entities.first_mut() {
            let kinds: Vec<Value> = receipt
                .kinds
                .iter()
                .map(|kind| json!({ "type": KIND_SYSTEM, "valueString": kind.name() }))
                .collect();
            if !kinds.is_empty() {
                entity["detail"] = kinds.into();
            }
        }
        let anchor = resources.gatekeeper().receipt_anchor(receipt.sequence).await;
        let mut event = json!({
            "resourceType": "AuditEvent",
            "id": format!("{ID_PREFIX}{}", receipt.sequence),
            "meta": { "versionId": "1", "lastUpdated": instant::text(milliseconds(receipt)) },
            "extension": [proof(stored, anchor)],
            "type": coding(
                "http://terminology.hl7.org/CodeSystem/audit-event-type",
                "rest",
                "RESTful Operation",
            ),
            "subtype": [interaction(receipt)],
            "action": if records_of(receipt).is_empty() && receipt.outcome.is_allowed() {
                "E"
            } else {
                "R"
            },
            "recorded": instant::text(milliseconds(receipt)),
            "outcome": if receipt.outcome.is_allowed() { "0" } else { "4" },
            "purposeOfEvent": [{ "coding": [{
                "system": PURPOSE_SYSTEM,
                "code": receipt.purpose.hl7_code(),
            }] }],
            "agent": agents(&mut names, receipt).await?,
            "source": {
                "observer": names.member(receipt.gatekeeper).await?,
                "type": [coding(
                    "http://terminology.hl7.org/CodeSystem/security-source-type",
                    "4",
                    "Application Server",
                )],
            },
            "entity": entities,
        });
        if let Some(why) = reason(receipt) {
            event["outcomeDesc"] = why.into();
        }
        let own = receipt.patient == caller.reader.address();
        events.push(Derived {
            resource_type: "AuditEvent",
            id: format!("{ID_PREFIX}{}", receipt.sequence),
            version: 1,
            updated: milliseconds(receipt),
            value: event,
            patient: receipt.patient,
            kinds: KindSet::of(&[Kind::Administrative]),
            basis: own.then_some(Basis::OwnRecord),
        });
    }
    Ok(events)
}

fn records_of(receipt: &Receipt) -> &[(RecordId, RecordDigest)] {
    match &receipt.outcome {
        Outcome::Allowed { records, .. } => records,
        Outcome::Refused { .. } => &[],
    }
}

fn milliseconds(receipt: &Receipt) -> i64 {
    i64::try_from(receipt.time.0).unwrap_or_default().saturating_mul(1_000)
}

fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({ "system": system, "code": code, "display": display })
}

/// What was done. A receipt says what was opened; what opened nothing counted, or found nothing.
fn interaction(receipt: &Receipt) -> Value {
    let is_search = records_of(receipt).len() != 1 && receipt.outcome.is_allowed();
    let code = if is_search { "search" } else { "read" };
    coding("http://hl7.org/fhir/restful-interaction", code, code)
}

/// Why it was refused, or allowed.
fn reason(receipt: &Receipt) -> Option<String> {
    match &receipt.outcome {
        Outcome::Refused { reason } => Some(reason.clone()),
        Outcome::Allowed { basis, .. } => basis.map(|basis| match basis {
            Basis::OwnRecord => "the patient's own records".to_owned(),
            Basis::CareTeam => "cares for the patient".to_owned(),
            Basis::Consent { version, .. } => format!("consent, version {version}"),
            Basis::Workflow { workflow } => format!("workflow {workflow}"),
            Basis::Emergency { opening } => format!("emergency opening {opening}"),
        }),
    }
}

async fn agents(names: &mut Names<'_>, receipt: &Receipt) -> Result<Value, FhirError> {
    let participation = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
    let mut agents = vec![json!({
        "type": { "coding": [coding(participation, "IRCP", "information recipient")] },
        "who": names.anybody(receipt.requester, receipt.patient).await?,
        "altId": receipt.requester.to_string(),
        "requestor": true,
        "purposeOfUse": [{ "coding": [{
            "system": PURPOSE_SYSTEM,
            "code": receipt.purpose.hl7_code(),
        }] }],
    })];
    if let Some(institution) = receipt.institution.filter(|one| *one != receipt.requester) {
        agents.push(json!({
            "type": { "coding": [coding(participation, "CST", "custodian")] },
            "who": names.member(institution).await?,
            "altId": institution.to_string(),
            "requestor": false,
        }));
    }
    Ok(agents.into())
}

/// What shows that the receipt was not made up later.
fn proof(stored: &StoredReceipt, anchor: Option<ReceiptAnchor>) -> Value {
    let text = |url: &str, value: String| json!({ "url": url, "valueString": value });
    let StoredReceipt { receipt, head, signature } = stored;
    let mut parts = vec![
        text("sequence", receipt.sequence.to_string()),
        text("digest", receipt.digest().to_string()),
        text("head", head.0.to_string()),
        json!({ "url": "signature", "valueBase64Binary": STANDARD.encode(signature) }),
    ];
    if !receipt.query.is_zero() {
        parts.push(text("query", receipt.query.to_string()));
    }
    if let Some(ReceiptAnchor { root, first_sequence, moment, .. }) = anchor {
        parts.push(text("root", root.to_string()));
        parts.push(text("batchBegins", first_sequence.to_string()));
        parts.push(text("transaction", moment.transaction.to_string()));
        parts.push(text("block", moment.block.to_string()));
    }
    json!({ "url": "urn:salus:receipt", "extension": parts })
}
