//! `Consent`: the patients' grants on chain, both ways.
//!
//! # From the chain
//!
//! Each grant of a patient to a reader, for all records or for one, is one `Consent` with an id made from
//! these three under a key of this gateway: `grant-…`. Its versions are what happened to it on chain:
//! granted, countersigned, taken back. `status` is `active` while the grant lets somebody read,
//! `proposed` while a signature is missing (the patient's, or the steward's where the policy wants both),
//! and `inactive` otherwise. Who sees it: the patient; at the steward those who care for the patient, its
//! privacy officers, auditors and systems; and the reader whom it names.
//!
//! # To the chain
//!
//! A posted `Consent` is for the chain when its scope is `patient-privacy` and an actor of its provision
//! is a member of the registry, by an identifier of the system `urn:salus:member` in the reference, or in
//! the entry of the directory to which it leads. Every other `Consent` is a record like any other: an
//! advance directive, a paper form, a consent to somebody outside the network.
//!
//! One for the chain is filed by the patient, or for them by those who care for them or the institution's
//! systems. Nothing of it counts before the patient signs: `GET Consent/ID/$sign` gives what to sign,
//! `POST Consent/ID/$sign` takes the signature and relays it. A `DELETE`, or an update to `inactive`,
//! files the end of the grant in the same way. What the chain cannot hold is refused with 422, never
//! passed over: a patient must not sign less, or more, than was written. The legal framing (`policy`,
//! `policyRule`, `category`, `organization`, `dateTime`, narrative) is no rule of access; it is not kept.
//!
//! What is filed is sealed in the database, survives a restart, and lapses after thirty days, or when the
//! chain says something newer about the same grant.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use axum::http::StatusCode;
use domain::{
    Address, B256, Basis, Kind, KindSet, Outcome, Period, Purpose, PurposeSet, Reader, RecordId,
    Refusal, RelationshipState, Terms, Timestamp,
};
use ledger::{ConsentChange, ConsentDeed, Moment, SendError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Row as _;
use workflows::{
    WorkflowError,
    consent::{Change, Signed},
};

use crate::{
    caller::{Caller, Interaction},
    derived::{
        Derived, KIND_SYSTEM, MEMBER_SYSTEM, Names, RECORD_SYSTEM, is_watching, member_of,
        names_of, parse, patient_named, patients_named,
    },
    dispatch::{Action, body_of},
    instant,
    outcome::{FhirError, Issue, outcome},
    reached::Reached,
    request::{Reply, Request, Returning, version_of_tag},
    resources::{Resources, issues_of},
    subject::patient_of,
};

const ID_PREFIX: &str = "grant-";

/// How many bytes of the digest are in an id.
const ID_LEN: usize = 20;

/// How long a patient has to sign what `$sign` gave out.
const SIGNATURE_PERIOD: Duration = Duration::from_secs(600);

/// How long what was filed waits for the patient, in milliseconds.
const FILED_MS: i64 = 30 * 86_400 * 1_000;

/// How many changes may wait for one patient.
const WAITING_MAX: usize = 100;

/// How deep provisions may stand in each other to be looked at.
const DEPTH_MAX: usize = 8;

const PURPOSE_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ACTION_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/consentaction";

/// Whether an id is one of a grant.
pub(crate) fn is_id(id: &str) -> bool {
    id.strip_prefix(ID_PREFIX).is_some_and(|digits| {
        digits.len() == 2 * ID_LEN
            && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// Which grant: of whom, to whom, for which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    patient: Address,
    reader: Address,
    record: Option<RecordId>,
}

impl Key {
    fn id(&self, resources: &Resources) -> String {
        let digest =
            |name: &[u8]| resources.inner.gateway.keyed_digest("salus/consent-id/v1", name);
        resources.inner.grants.id_of(self, digest)
    }

    /// What its id is made from.
    fn name(&self) -> Vec<u8> {
        let record = self.record.map_or(B256::ZERO, |record| record.0);
        [self.patient.as_slice(), self.reader.as_slice(), record.as_slice()].concat()
    }
}

/// The ids of grants that were met, so that each is made once, and whose grant an id is can be looked up.
#[derive(Debug, Default)]
pub(crate) struct GrantIds(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    by_key: HashMap<Key, [u8; ID_LEN]>,
    patients: HashMap<[u8; ID_LEN], Address>,
}

impl GrantIds {
    fn id_of(&self, key: &Key, digest: impl FnOnce(&[u8]) -> B256) -> String {
        let known = self.0.lock().by_key.get(key).copied();
        let bytes = known.unwrap_or_else(|| {
            let digest = digest(&key.name());
            let mut bytes = [0; ID_LEN];
            bytes.copy_from_slice(&digest[..ID_LEN]);
            let mut ids = self.0.lock();
            ids.by_key.insert(*key, bytes);
            ids.patients.insert(bytes, key.patient);
            bytes
        });
        format!("{ID_PREFIX}{}", hex::encode(bytes))
    }

    /// Whose grant has an id, among those that were met.
    fn patient_of(&self, id: &str) -> Option<Address> {
        let mut bytes = [0; ID_LEN];
        hex::decode_to_slice(id.strip_prefix(ID_PREFIX)?, &mut bytes).ok()?;
        self.0.lock().patients.get(&bytes).copied()
    }

    /// Those of some grants whose ids were not made yet.
    fn unknown(&self, keys: impl Iterator<Item = Key>) -> HashSet<Key> {
        let ids = self.0.lock();
        keys.filter(|key| !ids.by_key.contains_key(key)).collect()
    }
}

/// A grant after one thing that happened to it.
#[derive(Clone, Copy, Debug)]
struct Step {
    terms: Option<Terms>,
    version: u32,
    is_granted: bool,
    is_countersigned: bool,
    moment: Moment,
}

/// A change that waits for the patient's signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Filed {
    patient: Address,
    reader: Address,
    record: Option<RecordId>,
    /// What is to be granted; nothing takes back what was.
    terms: Option<Terms>,
    /// How much had happened to the grant when it was filed.
    steps: usize,
    /// In milliseconds since 1970.
    filed: i64,
}

impl Filed {
    const fn change(&self) -> Change {
        Change { reader: self.reader, record: self.record, terms: self.terms }
    }
}

/// A grant with its life and what waits to be done to it.
#[derive(Clone, Debug)]
struct Mirrored {
    id: String,
    key: Key,
    steps: Vec<Step>,
    filed: Option<Filed>,
    /// Whether the policy wants this steward's signature as well.
    needs_countersignature: bool,
}

impl Mirrored {
    fn status(&self, step: &Step, now: Timestamp) -> &'static str {
        let is_over = step.terms.is_none_or(|terms| terms.period.closes_at() <= now);
        match () {
            () if !step.is_granted || is_over => "inactive",
            () if self.needs_countersignature && !step.is_countersigned => "proposed",
            () => "active",
        }
    }

    /// Whether the chain holds a grant that is not over.
    fn stands(&self, now: Timestamp) -> bool {
        self.steps.last().is_some_and(|step| self.status(step, now) != "inactive")
    }
}

/// What the chain and this gateway know of a patient's consents.
async fn mirrored(resources: &Resources, patient: Address) -> Result<Vec<Mirrored>, FhirError> {
    let filed = filed_of(resources, Some(patient)).await?;
    mirrored_with(resources, patient, filed).await
}

/// The same, with what waits for the patient's signature known already.
async fn mirrored_with(
    resources: &Resources,
    patient: Address,
    filed: Vec<Filed>,
) -> Result<Vec<Mirrored>, FhirError> {
    let (mut all, now) = (Vec::<Mirrored>::new(), resources.now_ms());
    let steward = resources.gatekeeper().member();
    let projection = resources.gatekeeper().projection().await;
    let relationship = projection.consents.relationship(patient, steward);
    let countersigned = relationship.is_some_and(|relationship| relationship.countersigned);
    let at = |key: Key, all: &mut Vec<Mirrored>| {
        all.iter().position(|one| one.key == key).unwrap_or_else(|| {
            let needs_countersignature = countersigned && key.reader != steward;
            // Its id is made when nobody waits for what is known of the chain.
            let (id, steps) = (String::new(), Vec::new());
            all.push(Mirrored { id, key, steps, filed: None, needs_countersignature });
            all.len() - 1
        })
    };
    for ConsentChange { reader, record, deed, moment } in projection.consents.changes(patient) {
        let key = Key { patient, reader: *reader, record: *record };
        let index = at(key, &mut all);
        let Some(one) = all.get_mut(index) else { continue };
        let before = one.steps.last().copied();
        let before = before.unwrap_or(Step {
            terms: None,
            version: 0,
            is_granted: false,
            is_countersigned: false,
            moment: *moment,
        });
        let before = Step { moment: *moment, ..before };
        one.steps.push(match *deed {
            ConsentDeed::Granted { terms, version } => Step {
                terms: Some(terms),
                version,
                is_granted: true,
                is_countersigned: false,
                ..before
            },
            ConsentDeed::Revoked => Step { is_granted: false, is_countersigned: false, ..before },
            ConsentDeed::Countersigned { steward: by, version } if by == steward => {
                Step { is_countersigned: version == before.version, ..before }
            }
            ConsentDeed::CountersignatureWithdrawn { steward: by } if by == steward => {
                Step { is_countersigned: false, ..before }
            }
            // Another steward's signature is about that one's records.
            _ => continue,
        });
    }
    drop(projection);
    for filed in filed {
        let key = Key { patient, reader: filed.reader, record: filed.record };
        let index = at(key, &mut all);
        let Some(one) = all.get_mut(index) else { continue };
        if one.steps.len() == filed.steps && now < filed.filed.saturating_add(FILED_MS) {
            one.filed = Some(filed);
        }
    }
    all.retain(|one| !one.steps.is_empty() || one.filed.is_some());
    for one in &mut all {
        one.id = one.key.id(resources);
    }
    Ok(all)
}

/// Whether a patient has or had a relationship with this institution.
async fn is_known(resources: &Resources, patient: Address) -> bool {
    let projection = resources.gatekeeper().projection().await;
    projection.consents.relationship(patient, resources.gatekeeper().member()).is_some()
}

/// The patients whose consents this institution shows: those with whom it has or had a relationship.
async fn patients(resources: &Resources) -> Vec<Address> {
    let projection = resources.gatekeeper().projection().await;
    let member = resources.gatekeeper().member();
    let known = projection.consents.patients_with_changes();
    known.filter(|patient| projection.consents.relationship(*patient, member).is_some()).collect()
}

/// How somebody may see a consent.
enum Sees {
    /// All of it, with what waits for the patient.
    All(Option<Basis>),
    /// What it says of the reader whom it names.
    AsReader(Basis),
}

async fn sees(resources: &Resources, caller: &Caller, one: &Mirrored) -> Option<Sees> {
    let (patient, own) = (one.key.patient, resources.gatekeeper().member());
    if !caller.is_about(patient) {
        return None;
    }
    if let Some(basis) = may_file(resources, caller, patient).await {
        return Some(Sees::All(basis));
    }
    if is_watching(resources, &caller.reader) {
        return Some(Sees::All(None));
    }
    let is_patient = matches!(caller.reader, Reader::Patient { .. });
    let version = one.steps.last()?.version;
    let is_named =
        !is_patient && caller.reader.is_named_by(one.key.reader) && one.key.reader != own;
    is_named.then_some(Sees::AsReader(Basis::Consent { reader: one.key.reader, version }))
}

/// Whether somebody may file for a patient, and on what grounds: the patient, who cares for them here,
/// and the institution's own systems. What is known of the chain should be up to date.
async fn may_file(
    resources: &Resources,
    caller: &Caller,
    patient: Address,
) -> Option<Option<Basis>> {
    let gatekeeper = resources.gatekeeper();
    let own = gatekeeper.member();
    if !caller.is_about(patient) {
        return None;
    }
    match caller.reader {
        Reader::Patient { account } => (account == patient).then_some(Some(Basis::OwnRecord)),
        Reader::Institution { member, .. } => (member == own).then_some(None),
        Reader::Professional { member, institution, .. } => {
            let cares = institution == own && gatekeeper.cares_for(patient, member).await;
            cares.then_some(Some(Basis::CareTeam))
        }
    }
}

/// The versions of a consent that the caller may see, the oldest first.
pub(crate) async fn read(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Vec<Derived>, FhirError> {
    caller.require("Consent", Interaction::Read)?;
    resources.gatekeeper().refresh(resources.now()).await?;
    let one = named(resources, id).await?;
    let Some(sees) = sees(resources, caller, &one).await else {
        note_refusal(resources, caller, one.key.patient).await?;
        return Err(FhirError::not_found());
    };
    let mut names = Names::new(resources);
    versions(resources, &mut names, &one, sees).await
}

async fn note_refusal(
    resources: &Resources,
    caller: &Caller,
    patient: Address,
) -> Result<(), FhirError> {
    let kinds = KindSet::of(&[Kind::Administrative]);
    let outcome = Outcome::refused(Refusal::NoConsent);
    let (gatekeeper, now) = (resources.gatekeeper(), resources.now());
    gatekeeper.note(caller.reading(), patient, kinds, outcome, now).await?;
    Ok(())
}

/// The consent with an id, whoever may see it.
async fn named(resources: &Resources, id: &str) -> Result<Mirrored, FhirError> {
    let ids = &resources.inner.grants;
    if ids.patient_of(id).is_none() {
        let unknown = {
            let projection = resources.gatekeeper().projection().await;
            let consents = &projection.consents;
            ids.unknown(consents.patients_with_changes().flat_map(|patient| {
                let key = move |change: &ConsentChange| {
                    let (reader, record) = (change.reader, change.record);
                    Key { patient, reader, record }
                };
                consents.changes(patient).iter().map(key)
            }))
        };
        for key in unknown {
            key.id(resources);
        }
    }
    let met = match ids.patient_of(id) {
        // Of grants that this institution has no part in, nothing is shown.
        Some(patient) if is_known(resources, patient).await => Some(patient),
        _ => None,
    };
    let patient = match met {
        Some(patient) => Some(patient),
        None => patient_who_waits(resources, id).await?,
    };
    let patient = patient.ok_or_else(FhirError::not_found)?;
    let all = mirrored(resources, patient).await?;
    all.into_iter().find(|one| one.id == id).ok_or_else(FhirError::not_found)
}

/// The patient for whose signature something with this id waits.
async fn patient_who_waits(resources: &Resources, id: &str) -> Result<Option<Address>, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let row = sqlx::query("select patient from fhir_consent_requests where id = $1")
        .bind(id.to_owned())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let patient: Vec<u8> = row.try_get(0)?;
    Ok(Address::try_from(patient.as_slice()).ok())
}

/// What matches a search.
pub(crate) async fn find(
    resources: &Resources,
    caller: &Caller,
    pairs: &[(String, String)],
    request: &Request,
    reached: &mut Reached,
) -> Result<Vec<Derived>, FhirError> {
    resources.gatekeeper().refresh(resources.now()).await?;
    let query = parse(resources, "Consent", pairs, request)?;
    if query.links().next().is_some() {
        return Ok(Vec::new());
    }
    let named = pairs.iter().find(|(name, _)| name == "patient" || name == "patient:Patient");
    let only = match (named, caller.reader) {
        (Some((_, text)), _) => Some(patients_named(resources, text).await?),
        (None, Reader::Patient { account }) => Some(vec![account]),
        (None, _) => caller.patient.map(|patient| vec![patient]),
    };
    let mut filed: BTreeMap<Address, Vec<Filed>> = BTreeMap::new();
    let mut patients = match only {
        Some(only) => {
            for patient in &only {
                filed.insert(*patient, filed_of(resources, Some(*patient)).await?);
            }
            only
        }
        None => {
            for one in filed_of(resources, None).await? {
                filed.entry(one.patient).or_default().push(one);
            }
            patients(resources).await.into_iter().chain(filed.keys().copied()).collect()
        }
    };
    patients.sort_unstable();
    patients.dedup();
    let kinds = KindSet::of(&[Kind::Administrative]);
    let mut names = Names::new(resources);
    let mut found = Vec::new();
    for patient in &patients {
        let mut any = false;
        let filed = filed.remove(patient).unwrap_or_default();
        for one in mirrored_with(resources, *patient, filed).await? {
            let Some(sees) = sees(resources, caller, &one).await else { continue };
            any = true;
            let newest = versions(resources, &mut names, &one, sees).await?.pop();
            found.extend(newest.filter(|newest| {
                search::matches(&query, "Consent", &newest.value, newest.updated)
            }));
        }
        if named.is_none() {
            continue;
        }
        // Whoever asked for one patient and may see nothing of theirs was refused; whoever may, and found
        // nothing, was answered.
        let may = is_watching(resources, &caller.reader) && caller.is_about(*patient)
            || may_file(resources, caller, *patient).await.is_some();
        match any || may {
            true => reached.count_one(*patient, kinds),
            false => reached.refuse_one(*patient, kinds, Refusal::NoConsent),
        }
    }
    Ok(found)
}

/// A consent, version by version.
async fn versions(
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

fn milliseconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or_default().saturating_mul(1_000)
}

fn text(url: &str, value: String) -> Value {
    json!({ "url": url, "valueString": value })
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

/// Takes a posted `Consent` when it is for the chain; `None` when it is a record.
pub(crate) async fn write(
    resources: &Resources,
    caller: &Caller,
    action: Action,
    request: &Request,
) -> Result<Option<Reply>, FhirError> {
    let is_patient = matches!(caller.reader, Reader::Patient { .. });
    if !is_patient && resources.require_own(caller).is_err() {
        // They learn nothing of the directory by trying; what writes records refuses them.
        return Ok(None);
    }
    let id = request.path.get(1).map(String::as_str);
    let is_made = id.is_some_and(is_id);
    let body = body_of(request)?;
    let value: Value = serde_json::from_str(&resources.relative(&body.to_string()))
        .map_err(|_| FhirError::bad_request("the body is not JSON"))?;
    if !is_made && (value["resourceType"] != "Consent" || !is_for_chain(resources, &value).await?) {
        return Ok(None);
    }
    let interaction =
        if action == Action::Create { Interaction::Create } else { Interaction::Update };
    caller.require("Consent", interaction)?;
    let issues = issues_of(&value);
    if issues.iter().any(|issue| issue.severity == "error") {
        return Err(FhirError { status: StatusCode::UNPROCESSABLE_ENTITY, issues });
    }
    // Nobody learns by filing who is a patient here.
    resources.gatekeeper().refresh(resources.now()).await?;
    let patient = match patient_of(&value) {
        Some(id) => patient_named(resources, &id).await?,
        None => None,
    };
    let may = match patient {
        Some(patient) => may_file(resources, caller, patient).await.is_some(),
        None => false,
    };
    let Some(patient) = patient.filter(|_| may) else {
        let text = "a consent is filed by the patient, or by those who care for them here";
        return Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text));
    };
    require_relationship(resources, patient).await?;
    let wanted = wanted(resources, patient, &value).await?;
    let key = Key { patient, reader: wanted.reader, record: wanted.record };
    let own_id = key.id(resources);
    if let Some(id) = id
        && id != own_id
    {
        let text = "the id of a consent on chain follows from patient, reader and record; post it, \
                    and it gets one";
        return Err(FhirError::unprocessable("business-rule", text));
    }
    let all = mirrored(resources, patient).await?;
    let one = all.iter().find(|one| one.key == key);
    require_version(resources, one, request).await?;
    let now = resources.now();
    let ends =
        matches!(value["status"].as_str(), Some("inactive" | "rejected" | "entered-in-error"));
    if ends && !one.is_some_and(|one| one.stands(now)) {
        forget(resources, &own_id).await?;
    } else {
        let terms = if ends { None } else { Some(wanted.terms(now)?) };
        let steps = one.map_or(0, |one| one.steps.len());
        let filed = Filed {
            patient,
            reader: key.reader,
            record: key.record,
            terms,
            steps,
            filed: resources.now_ms(),
        };
        let waiting = all.iter().filter(|one| one.filed.is_some() && one.key != key).count();
        if waiting >= WAITING_MAX {
            let text = format!("{WAITING_MAX} consents wait for this patient's signature already");
            return Err(FhirError::unprocessable("too-costly", text));
        }
        file(resources, &own_id, &filed).await?;
    }
    let newest = mirrored(resources, patient).await?.into_iter().find(|one| one.key == key);
    let status = match (ends, action) {
        (true, _) => StatusCode::ACCEPTED,
        (false, Action::Create) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    let Some(one) = newest else {
        return Ok(Some(Reply::of(StatusCode::NO_CONTENT)));
    };
    let mut names = Names::new(resources);
    let versions = versions(resources, &mut names, &one, Sees::All(None)).await?;
    let newest = versions.last().ok_or_else(FhirError::not_found)?.resource()?;
    let mut reply = Reply::written(status, &newest, request.returning);
    if request.returning == Returning::OperationOutcome {
        reply.body = Some(outcome(&[to_be_signed(&own_id)]).to_string());
    }
    Ok(Some(reply))
}

/// Refuses a change of a version that is not the newest any more.
async fn require_version(
    resources: &Resources,
    one: Option<&Mirrored>,
    request: &Request,
) -> Result<(), FhirError> {
    let Some(tag) = &request.conditions.if_match else { return Ok(()) };
    let newest = match one {
        None => None,
        Some(one) => {
            let mut names = Names::new(resources);
            let versions = versions(resources, &mut names, one, Sees::All(None)).await?;
            versions.last().map(|newest| newest.version)
        }
    };
    if newest.is_some() && version_of_tag(tag) == newest {
        return Ok(());
    }
    Err(FhirError::precondition("the consent has another version by now; read it again"))
}

fn to_be_signed(id: &str) -> Issue {
    Issue {
        severity: "information",
        code: "informational",
        diagnostics: format!("it counts once the patient has signed it: Consent/{id}/$sign"),
        expression: Vec::new(),
    }
}

/// Refuses a `Consent` for the chain where only records can be written.
pub(crate) async fn require_record(
    resources: &Resources,
    resource_type: &str,
    value: &Value,
) -> Result<(), FhirError> {
    let has_id = value["id"].as_str().is_some_and(is_id);
    if resource_type != "Consent" || !has_id && !is_for_chain(resources, value).await? {
        return Ok(());
    }
    let text = "a consent to a member of the network waits for the patient's signature and cannot be \
                part of this; post it by itself";
    Err(FhirError::unprocessable("business-rule", text))
}

async fn require_relationship(resources: &Resources, patient: Address) -> Result<(), FhirError> {
    let projection = resources.gatekeeper().projection().await;
    let held = projection.consents.relationship(patient, resources.gatekeeper().member());
    if held.is_some_and(|held| held.state == Some(RelationshipState::Active)) {
        return Ok(());
    }
    let text = "the patient has no active relationship with this institution";
    Err(FhirError::unprocessable("business-rule", text))
}

fn codes<'v>(concept: &'v Value, system: &str) -> Vec<&'v str> {
    let codings = concept["coding"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_system = codings.iter().filter(|coding| coding["system"] == system);
    of_system.filter_map(|coding| coding["code"].as_str()).collect()
}

/// Whether a `Consent` is about access by a member of the network.
async fn is_for_chain(resources: &Resources, value: &Value) -> Result<bool, FhirError> {
    let scopes = codes(&value["scope"], "http://terminology.hl7.org/CodeSystem/consentscope");
    if !scopes.contains(&"patient-privacy") {
        return Ok(false);
    }
    let mut provisions = vec![(&value["provision"], 0)];
    while let Some((provision, depth)) = provisions.pop() {
        for actor in provision["actor"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if member_named(resources, actor).await?.is_some() {
                return Ok(true);
            }
        }
        if depth < DEPTH_MAX
            && let Some(inner) = provision["provision"].as_array()
        {
            provisions.extend(inner.iter().map(|inner| (inner, depth + 1)));
        }
    }
    Ok(false)
}

/// The member of the registry whom an actor names.
async fn member_named(resources: &Resources, actor: &Value) -> Result<Option<Address>, FhirError> {
    let reference = &actor["reference"];
    let identifier = &reference["identifier"];
    let by_identifier = match identifier["system"] == MEMBER_SYSTEM {
        true => identifier["value"].as_str().and_then(|value| value.parse().ok()),
        false => None,
    };
    let member = match (by_identifier, reference["reference"].as_str()) {
        (Some(member), _) => Some(member),
        (None, Some(text)) => match text.split_once('/') {
            Some((resource_type @ ("Practitioner" | "Organization"), id)) => {
                member_of(resources, resource_type, id).await?
            }
            _ => None,
        },
        (None, None) => None,
    };
    let Some(member) = member else { return Ok(None) };
    let projection = resources.gatekeeper().projection().await;
    let registry = &projection.registry;
    let is_known =
        registry.institution(&member).is_some() || registry.professional(&member).is_some();
    Ok(is_known.then_some(member))
}

/// What a posted `Consent` asks for.
struct Wanted {
    reader: Address,
    record: Option<RecordId>,
    kinds: KindSet,
    purposes: PurposeSet,
    opens_at: Option<Timestamp>,
    closes_at: Option<Timestamp>,
}

impl Wanted {
    fn terms(&self, now: Timestamp) -> Result<Terms, FhirError> {
        let opens_at = self.opens_at.unwrap_or(now);
        let closes_at = self.closes_at.ok_or_else(|| {
            beyond("Consent.provision.period.end", "a grant on chain has an end; say when")
        })?;
        let period = Period::new(opens_at, closes_at).ok().filter(|_| closes_at > now);
        let period = period.ok_or_else(|| {
            beyond("Consent.provision.period", "the period is empty or over already")
        })?;
        if closes_at.since(opens_at) > PERIOD_MAX {
            let text = "a grant on chain is for ten years at most";
            return Err(beyond("Consent.provision.period", text));
        }
        Ok(Terms { period, kinds: self.kinds, purposes: self.purposes })
    }
}

/// The longest period of one grant.
///
/// # Source
///
/// `Consents.MAX_PERIOD`.
const PERIOD_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// What the chain cannot hold.
fn beyond(expression: &str, text: impl Into<String>) -> FhirError {
    let mut error = FhirError::unprocessable("business-rule", text);
    for issue in &mut error.issues {
        issue.expression = vec![expression.to_owned()];
    }
    error
}

/// What may stand in a provision that goes on chain.
const PROVISION_MEMBERS: &[&str] =
    &["id", "type", "period", "actor", "action", "purpose", "class", "data"];

/// Reads what a posted `Consent` asks for, and refuses what the chain cannot hold.
async fn wanted(
    resources: &Resources,
    patient: Address,
    value: &Value,
) -> Result<Wanted, FhirError> {
    if let Some(member) = value.as_object().and_then(|members| {
        members.keys().find(|name| {
            let name = name.as_str();
            name.starts_with("source") || matches!(name, "verification" | "modifierExtension")
        })
    }) {
        let text = "only the grant goes on chain; keep the form itself as a DocumentReference";
        return Err(beyond(&format!("Consent.{member}"), text));
    }
    let provision = &value["provision"];
    let members = provision.as_object();
    if let Some(member) = members
        .and_then(|members| members.keys().find(|name| !PROVISION_MEMBERS.contains(&name.as_str())))
    {
        let text = "the chain holds one permission without exceptions: reader, kinds, purposes, \
                    period, and one record or all";
        return Err(beyond(&format!("Consent.provision.{member}"), text));
    }
    if provision["type"].as_str().is_some_and(|kind| kind != "permit") {
        let text = "the chain refuses by default and holds permissions only; take back the grant \
                    instead of denying";
        return Err(beyond("Consent.provision.type", text));
    }
    let list = |name: &str| provision[name].as_array().cloned().unwrap_or_default();
    let actors = list("actor");
    let [actor] = actors.as_slice() else {
        return Err(beyond(
            "Consent.provision.actor",
            "a grant names one reader; post one for each",
        ));
    };
    let reader = member_named(resources, actor).await?.ok_or_else(|| {
        beyond("Consent.provision.actor", "the reader is no member of the network")
    })?;
    for action in list("action") {
        if codes(&action, ACTION_SYSTEM) != ["access"] {
            let text = "a grant on chain lets somebody read; the only action is `access`";
            return Err(beyond("Consent.provision.action", text));
        }
    }
    let record = one_record(resources, patient, &list("data")).await?;
    let mut kinds = record.map_or(KindSet::EMPTY, |(_, kind)| KindSet::of(&[kind]));
    for class in list("class") {
        let kind = class["code"].as_str().filter(|_| class["system"] == KIND_SYSTEM);
        let kind: Option<Kind> = kind.and_then(|code| code.parse().ok());
        let kind = kind.ok_or_else(|| {
            let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            let text = format!(
                "patients consent to kinds of record, of the system {KIND_SYSTEM}: {}",
                names.join(", ")
            );
            beyond("Consent.provision.class", text)
        })?;
        if record.is_some_and(|(_, of_record)| of_record != kind) {
            return Err(beyond("Consent.provision.class", "the record is of another kind"));
        }
        kinds = kinds.union(KindSet::of(&[kind]));
    }
    if kinds.is_empty() {
        return Err(beyond("Consent.provision.class", "say which kinds of record it is for"));
    }
    let mut purposes = PurposeSet::EMPTY;
    for purpose in list("purpose") {
        let code = purpose["code"].as_str().filter(|_| purpose["system"] == PURPOSE_SYSTEM);
        // A code that means less than one of ours would be widened to it.
        let known = Purpose::ALL.iter().find(|one| Some(one.hl7_code()) == code);
        let known = known.ok_or_else(|| {
            let codes: Vec<_> = Purpose::ALL.iter().map(|one| one.hl7_code()).collect();
            let text = format!("the purposes are of {PURPOSE_SYSTEM}: {}", codes.join(", "));
            beyond("Consent.provision.purpose", text)
        })?;
        purposes = purposes.union(PurposeSet::of(&[*known]));
    }
    if purposes.is_empty() {
        return Err(beyond("Consent.provision.purpose", "say for which purposes it is"));
    }
    let moment = |name: &str, is_end: bool| match provision["period"][name].as_str() {
        None => Ok(None),
        Some(text) => moment(text, is_end).map(Some).ok_or_else(|| {
            let text = "a date such as 2026-01-31, or an instant with its offset";
            beyond(&format!("Consent.provision.period.{name}"), text)
        }),
    };
    Ok(Wanted {
        reader,
        record: record.map(|(record, _)| record),
        kinds,
        purposes,
        opens_at: moment("start", false)?,
        closes_at: moment("end", true)?,
    })
}

/// The one record that a grant is for.
async fn one_record(
    resources: &Resources,
    patient: Address,
    data: &[Value],
) -> Result<Option<(RecordId, Kind)>, FhirError> {
    let one = match data {
        [] => return Ok(None),
        [one] if one["meaning"] == "instance" => one,
        _ => {
            let text = "a grant is for all records of its kinds, or for one `instance`";
            return Err(beyond("Consent.provision.data", text));
        }
    };
    let name = one["reference"]["reference"].as_str().and_then(|name| name.split_once('/'));
    let row = match name {
        Some((resource_type, id)) => resources.row(resource_type, id).await?,
        None => None,
    };
    let filed = row.and_then(|row| row.record).filter(|filed| filed.patient == patient);
    let filed = filed.ok_or_else(|| {
        beyond("Consent.provision.data", "it names no record of this patient here")
    })?;
    Ok(Some((filed.record, filed.kind)))
}

/// A moment, in whole seconds: of a day its beginning, or as an end the beginning of the next.
fn moment(text: &str, is_end: bool) -> Option<Timestamp> {
    const DAY_S: i64 = 86_400;
    let milliseconds = match text.len() {
        10 => {
            let day = instant::parse(&format!("{text}T00:00:00Z"))?;
            if is_end { day.checked_add(DAY_S * 1_000)? } else { day }
        }
        _ => instant::parse(text)?,
    };
    u64::try_from(milliseconds.div_euclid(1_000)).ok().map(Timestamp)
}

/// Files the end of a grant, or drops what waits for a signature.
pub(crate) async fn delete(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    request: &Request,
) -> Result<Reply, FhirError> {
    caller.require("Consent", Interaction::Delete)?;
    resources.gatekeeper().refresh(resources.now()).await?;
    let one = filer_of(resources, caller, id).await?;
    require_version(resources, Some(&one), request).await?;
    if !one.stands(resources.now()) {
        forget(resources, id).await?;
        return Ok(Reply::of(StatusCode::NO_CONTENT));
    }
    let Key { patient, reader, record } = one.key;
    let steps = one.steps.len();
    let filed = Filed { patient, reader, record, terms: None, steps, filed: resources.now_ms() };
    file(resources, id, &filed).await?;
    let body = outcome(&[to_be_signed(id)]).to_string();
    Ok(Reply { body: Some(body), ..Reply::of(StatusCode::ACCEPTED) })
}

/// A consent for somebody who may change it.
async fn filer_of(resources: &Resources, caller: &Caller, id: &str) -> Result<Mirrored, FhirError> {
    let one = named(resources, id).await?;
    if may_file(resources, caller, one.key.patient).await.is_some() {
        return Ok(one);
    }
    note_refusal(resources, caller, one.key.patient).await?;
    Err(FhirError::not_found())
}

/// What a patient signs.
pub(crate) async fn to_sign(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Reply, FhirError> {
    caller.require("Consent", Interaction::Read)?;
    resources.gatekeeper().refresh(resources.now()).await?;
    let one = filer_of(resources, caller, id).await?;
    let filed = one.filed.ok_or_else(nothing_waits)?;
    let gateway = &resources.inner.gateway;
    let account = one.key.patient;
    let basis = may_file(resources, caller, account).await.flatten();
    let outcome = Outcome::Allowed { records: Vec::new(), basis };
    let kinds = KindSet::of(&[Kind::Administrative]);
    let (gatekeeper, now) = (resources.gatekeeper(), resources.now());
    gatekeeper.note(caller.reading(), account, kinds, outcome, now).await?;
    let until = resources.now().after(SIGNATURE_PERIOD);
    let to_sign = filed.change().to_sign(gateway, account, until).await?;
    let chain_id = resources.gatekeeper().ledger().chain_id();
    let (to, data) = (to_sign.call.to.to_string(), to_sign.call.data.to_string());
    let field = |name: &str, of: &str| json!({ "name": name, "type": of });
    let typed_data = json!({
        "types": {
            "EIP712Domain": [
                field("name", "string"),
                field("version", "string"),
                field("chainId", "uint256"),
                field("verifyingContract", "address"),
            ],
            "Call": [field("to", "address"), field("value", "uint256"), field("data", "bytes")],
            "Execute": [
                field("calls", "Call[]"),
                field("nonce", "uint256"),
                field("deadline", "uint40"),
            ],
        },
        "primaryType": "Execute",
        "domain": {
            "name": "Salus Patient Account",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": account.to_string(),
        },
        "message": {
            "calls": [{ "to": to, "value": "0", "data": data }],
            "nonce": to_sign.nonce.to_string(),
            "deadline": until.0,
        },
    });
    let text = |name: &str, value: String| json!({ "name": name, "valueString": value });
    Ok(Reply::json(&json!({
        "resourceType": "Parameters",
        "parameter": [
            text("account", account.to_string()),
            text("digest", to_sign.digest.to_string()),
            text("nonce", to_sign.nonce.to_string()),
            text("deadline", until.0.to_string()),
            text("typedData", typed_data.to_string()),
        ],
    })))
}

fn nothing_waits() -> FhirError {
    let text = "nothing waits for the patient's signature here";
    FhirError::new(StatusCode::CONFLICT, "conflict", text)
}

/// Takes the patient's signature, and relays it.
pub(crate) async fn sign(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    request: &Request,
) -> Result<Reply, FhirError> {
    caller.require("Consent", Interaction::Update)?;
    resources.gatekeeper().refresh(resources.now()).await?;
    let one = filer_of(resources, caller, id).await?;
    let filed = one.filed.ok_or_else(nothing_waits)?;
    let parameters: Value = serde_json::from_slice(&request.body)
        .map_err(|_| FhirError::bad_request("the body is not JSON"))?;
    let parameters = parameters["parameter"].as_array().cloned().unwrap_or_default();
    let given: HashMap<&str, &str> = parameters
        .iter()
        .filter_map(|one| Some((one["name"].as_str()?, one["valueString"].as_str()?)))
        .collect();
    let signed = signed(&given).ok_or_else(|| {
        FhirError::bad_request(
            "a Parameters with `nonce` and `deadline` as $sign gave them, `signer` and `signature` \
             in hexadecimal",
        )
    })?;
    let gateway = &resources.inner.gateway;
    let relayed = filed.change().relay(gateway, one.key.patient, &signed).await;
    relayed.map_err(|error| match error {
        WorkflowError::Send(SendError::Refused(_) | SendError::Reverted { .. }) => {
            let text = "the patient's account refuses it: sign anew what $sign gives now";
            FhirError::unprocessable("business-rule", text)
        }
        error => error.into(),
    })?;
    resources.gatekeeper().refresh(resources.now()).await?;
    forget(resources, id).await?;
    let all = mirrored(resources, one.key.patient).await?;
    let one = all.into_iter().find(|other| other.id == id).ok_or_else(FhirError::not_found)?;
    let mut names = Names::new(resources);
    let versions = versions(resources, &mut names, &one, Sees::All(None)).await?;
    let newest = versions.last().ok_or_else(FhirError::not_found)?;
    Ok(Reply::read(&newest.resource()?))
}

fn signed(given: &HashMap<&str, &str>) -> Option<Signed> {
    Some(Signed {
        nonce: given.get("nonce")?.parse().ok()?,
        deadline: Timestamp(given.get("deadline")?.parse().ok()?),
        signer: given.get("signer")?.parse().ok()?,
        signature: given.get("signature")?.parse().ok()?,
    })
}

/// Keeps a change for the patient to sign, in place of an earlier one of the same grant.
async fn file(resources: &Resources, id: &str, filed: &Filed) -> Result<(), FhirError> {
    let text = serde_json::to_vec(filed).expect("what is filed has a JSON form");
    let mut rng = resources.gatekeeper().entropy().fork();
    let sealed = resources.inner.sealing.seal(id.as_bytes(), &text, &mut rng);
    let mut transaction = resources.database().begin().await?;
    sqlx::query(
        "insert into fhir_consent_requests (id, patient, sealed) values ($1, $2, $3)
        on conflict (id) do update set sealed = excluded.sealed",
    )
    .bind(id.to_owned())
    .bind(filed.patient.to_vec())
    .bind(sealed)
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

async fn forget(resources: &Resources, id: &str) -> Result<(), FhirError> {
    let mut transaction = resources.database().begin().await?;
    sqlx::query("delete from fhir_consent_requests where id = $1")
        .bind(id.to_owned())
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// What waits for a patient's signature, or for anybody's.
async fn filed_of(
    resources: &Resources,
    patient: Option<Address>,
) -> Result<Vec<Filed>, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let query = match patient {
        Some(patient) => {
            sqlx::query("select id, sealed, patient from fhir_consent_requests where patient = $1")
                .bind(patient.to_vec())
        }
        None => sqlx::query("select id, sealed, patient from fhir_consent_requests"),
    };
    let rows = query.fetch_all(&mut *connection).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, sealed): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let text = resources.inner.sealing.open(id.as_bytes(), &sealed)?;
        let filed: Filed = serde_json::from_slice(&text)
            .map_err(|_| vault::StoreError::Corrupt { what: "consent request" })?;
        // The row says whose it is only to be found; what was sealed counts.
        if filed.patient.as_slice() == row.try_get::<Vec<u8>, _>(2)? {
            all.push(filed);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_include_their_day() {
        assert_eq!(moment("1970-01-02", false), Some(Timestamp(86_400)));
        assert_eq!(moment("1970-01-02", true), Some(Timestamp(2 * 86_400)));
        assert_eq!(moment("1970-01-02T00:00:01+00:00", true), Some(Timestamp(86_401)));
        assert_eq!(moment("1970-13-02", true), None);
        assert_eq!(moment("1969-01-01", false), None);
    }

    #[test]
    fn the_id_of_a_grant_is_made_once_and_leads_back_to_its_patient() {
        let (ids, made) = (GrantIds::default(), std::cell::Cell::new(0_u8));
        let key = |patient: u8| Key {
            patient: Address::repeat_byte(patient),
            reader: Address::repeat_byte(9),
            record: None,
        };
        let digest = |name: &[u8]| {
            made.set(made.get() + 1);
            B256::repeat_byte(name[0])
        };
        assert_eq!(ids.unknown([key(1), key(1), key(2)].into_iter()).len(), 2);
        let id = ids.id_of(&key(1), digest);
        assert_eq!(ids.id_of(&key(1), digest), id);
        assert_eq!((made.get(), id.as_str()), (1, &*format!("grant-{}", "01".repeat(20))));
        assert_eq!(ids.patient_of(&id), Some(Address::repeat_byte(1)));
        assert_eq!(ids.patient_of("grant-1"), None);
        assert_eq!(ids.unknown([key(1), key(2)].into_iter()), HashSet::from([key(2)]));
    }

    #[test]
    fn ids_are_told_apart() {
        assert!(is_id(&format!("grant-{}", "0a".repeat(20))));
        assert!(!is_id(&format!("grant-{}", "0A".repeat(20))));
        assert!(!is_id("grant-1"));
    }
}
