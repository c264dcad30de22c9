//! A grant as FHIR: a `Consent`, version by version, and what waits for the patient as the newest of them or
//! as an extension of it.

use domain::{Kind, KindSet, Purpose, Terms, Timestamp};
use serde_json::{Value, json};

use super::{
    ACTION_SYSTEM, PURPOSE_SYSTEM, access::Sees, ids::Key, mirror::Mirrored, waiting::Filed,
};
use crate::{
    derived::{Derived, KIND_SYSTEM, Names, RECORD_SYSTEM, names_of},
    instant,
    outcome::FhirError,
    resources::Resources,
};

/// A consent, version by version.
pub(super) async fn versions(
    resources: &Resources,
    names: &mut Names<'_>,
    one: &Mirrored,
    sees: Sees,
) -> Result<Vec<Derived>, FhirError> {
    let now = resources.now();
    let (basis, filed) = match sees {
        Sees::All(basis) => (basis, one.filed.as_ref()),
        Sees::AsReader(basis) => (Some(basis), None),
    };
    let mut versions = Vec::with_capacity(one.steps.len() + 1);
    let derived = |version: usize, updated: i64, value: Value| Derived {
        resource_type: "Consent",
        id: one.id.clone(),
        version: u32::try_from(version).unwrap_or(u32::MAX),
        updated,
        value,
        patient: one.key.patient,
        kinds: KindSet::of(&[Kind::Administrative]),
        basis,
    };
    for (index, step) in one.steps.iter().enumerate() {
        let is_last = index + 1 == one.steps.len();
        // An earlier version says what it was when the next thing happened.
        let status = one.status(step, if is_last { now } else { step.moment.time });
        let mut value = show(resources, names, &one.key, step.terms.as_ref()).await?;
        value["status"] = status.into();
        value["dateTime"] = step.moment.time.to_string().into();
        let mut parts = vec![
            text("version", step.version.to_string()),
            text("transaction", step.moment.transaction.to_string()),
            text("block", step.moment.block.to_string()),
        ];
        let countersignature = match (one.needs_countersignature, step.is_countersigned) {
            (_, true) => "given",
            (true, false) => "awaited",
            (false, false) => "not-needed",
        };
        parts.push(json!({ "url": "countersignature", "valueCode": countersignature }));
        let mut extensions = vec![json!({ "url": "urn:salus:grant", "extension": parts })];
        if let Some(filed) = filed.filter(|_| is_last && one.stands(now)) {
            extensions.push(waiting(filed));
        }
        value["extension"] = extensions.into();
        let updated = milliseconds(step.moment.time);
        versions.push(derived(index + 1, updated, stamped(value, &one.id, index + 1, updated)));
    }
    if let Some(filed) = filed
        && !one.stands(now)
    {
        let mut value = show(resources, names, &one.key, filed.terms.as_ref()).await?;
        value["status"] = "proposed".into();
        value["dateTime"] = instant::text(filed.filed).into();
        value["extension"] = json!([waiting(filed)]);
        let version = one.steps.len() + 1;
        let value = stamped(value, &one.id, version, filed.filed);
        versions.push(derived(version, filed.filed, value));
    }
    Ok(versions)
}

/// What a grant says, as FHIR.
async fn show(
    resources: &Resources,
    names: &mut Names<'_>,
    key: &Key,
    terms: Option<&Terms>,
) -> Result<Value, FhirError> {
    let concept =
        |system: &str, code: &str| json!({ "coding": [{ "system": system, "code": code }] });
    let patient = names.patient(key.patient).await?;
    let mut provision = json!({
        "type": "permit",
        "actor": [{
            "role": concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP"),
            "reference": names.member(key.reader).await?,
        }],
        "action": [concept(ACTION_SYSTEM, "access")],
    });
    if let Some(terms) = terms {
        provision["period"] = period(terms);
        let coding = |system: &str, code: &str| json!({ "system": system, "code": code });
        let purposes = terms.purposes.iter().map(|one| coding(PURPOSE_SYSTEM, one.hl7_code()));
        provision["purpose"] = purposes.collect::<Vec<_>>().into();
        let kinds = terms.kinds.iter().map(|kind| coding(KIND_SYSTEM, kind.name()));
        provision["class"] = kinds.collect::<Vec<_>>().into();
    }
    if let Some(record) = key.record {
        let mut reference =
            json!({ "identifier": { "system": RECORD_SYSTEM, "value": record.to_string() } });
        if let Some((resource_type, id)) = names_of(resources, &[record]).await?.remove(&record) {
            reference["reference"] = format!("{resource_type}/{id}").into();
        }
        provision["data"] = json!([{ "meaning": "instance", "reference": reference }]);
    }
    Ok(json!({
        "resourceType": "Consent",
        "status": "inactive",
        "scope": concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [concept("http://loinc.org", "59284-0")],
        "patient": patient,
        "performer": [patient],
        "organization": [names.member(resources.gatekeeper().member()).await?],
        "policyRule": concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
        "provision": provision,
    }))
}

/// Says that something waits for the patient's signature.
fn waiting(filed: &Filed) -> Value {
    let mut parts = vec![json!({
        "url": "awaits",
        "valueCode": if filed.terms.is_some() { "grant" } else { "revocation" },
    })];
    parts.push(json!({ "url": "filed", "valueInstant": instant::text(filed.filed) }));
    if let Some(terms) = &filed.terms {
        parts.push(json!({ "url": "period", "valuePeriod": period(terms) }));
        let codings = |system: &str, codes: Vec<&str>| -> Vec<Value> {
            codes.iter().map(|code| json!({ "system": system, "code": code })).collect()
        };
        let kinds = codings(KIND_SYSTEM, terms.kinds.iter().map(Kind::name).collect());
        let purposes =
            codings(PURPOSE_SYSTEM, terms.purposes.iter().map(Purpose::hl7_code).collect());
        let part = |url: &str, coding: Value| json!({ "url": url, "valueCoding": coding });
        parts.extend(kinds.into_iter().map(|kind| part("class", kind)));
        parts.extend(purposes.into_iter().map(|purpose| part("purpose", purpose)));
    }
    json!({ "url": "urn:salus:waiting", "extension": parts })
}

fn period(terms: &Terms) -> Value {
    json!({
        "start": terms.period.opens_at().to_string(),
        "end": terms.period.closes_at().to_string(),
    })
}

fn stamped(mut value: Value, id: &str, version: usize, updated: i64) -> Value {
    value["id"] = id.into();
    value["meta"] =
        json!({ "versionId": version.to_string(), "lastUpdated": instant::text(updated) });
    value
}

fn milliseconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or_default().saturating_mul(1_000)
}

fn text(url: &str, value: String) -> Value {
    json!({ "url": url, "valueString": value })
}
