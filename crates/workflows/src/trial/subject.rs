//! What subjects do, and what a site does with them: consent, screening, arm, visits, adverse events.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use bindings::{
    Contract, Trials,
    convert::{timestamp, to_uint40},
    patient_account::Call,
};
use domain::{Anchor, Kind, RecordId, Timestamp};
use ledger::Outcome;
use serde_json::{Value, json};

use super::{Dossier, ITEMS_MAX, Nonce, Standing, check, protocol::worded, subject_of, trial_of};
use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    record::{Draft, Written},
    surgery::DIGEST_SYSTEM,
};

/// Says that something belongs to a study.
///
/// # Source
///
/// [FHIR R4, extension workflow-researchStudy](https://hl7.org/fhir/R4/extension-workflow-researchstudy.html).
const STUDY_EXTENSION: &str = "http://hl7.org/fhir/StructureDefinition/workflow-researchStudy";

/// What a patient agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Where they take part.
    pub site: Address,
    /// The version of the protocol that they read.
    pub version: u16,
    /// The commitment to their nonce. It counts with the first consent only.
    pub commitment: B256,
}

/// The patient consents to the version of the protocol that they read, at a site; also again, to a later one.
///
/// # Errors
///
/// [`WorkflowError::Send`] when another version is in force, the site does not take part, or the patient withdrew
/// or was excluded.
pub async fn consent(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    agreement: &Agreement,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let Agreement { site, version, commitment } = *agreement;
    let is_first = subject_of(relay, id, patient.account()).await?.0 == Standing::None;
    let call = Trials::consentCall { id, site, version, commitment };
    let outcome = act(relay, patient, &call, now).await?;
    let operation = if is_first { "trial.consent" } else { "trial.consent-again" };
    let what = format!("consents to version {version} of the protocol");
    Ok(Step::new(&patient.name, what, operation, &outcome))
}

async fn act<C: SolCall>(
    relay: &Gateway,
    patient: &PatientActor,
    call: &C,
    now: Timestamp,
) -> Result<Outcome, WorkflowError> {
    let call = Call::to_contract(relay.at(Contract::Trials), call);
    Ok(patient.act(relay.sender(), vec![call], now).await?)
}

/// A physician or researcher of the site, who told the patient what the trial is about, seals the form of a
/// consent that stands on chain: once for each version. The site proposes it; its author's key signs nothing.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the patient's consent here is not to this version or does not stand, its form was
/// filed before, the document is not what was fixed, or it is somebody else who says so.
pub async fn file_consent(
    site: &Gateway,
    person: &Person,
    patient: &PatientActor,
    dossier: &Dossier,
    now: Timestamp,
) -> Result<(Anchor, Step), WorkflowError> {
    use domain::ProfessionalRole::{Physician, Researcher};
    let id = dossier.trial;
    let (standing, held) = subject_of(site, id, patient.account()).await?;
    if !matches!(person.role, Physician | Researcher) || held.site != site.member() {
        let why = "a physician or researcher of the site says what the patient was told";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let stands = matches!(standing, Standing::Consented | Standing::Enrolled);
    if !stands || held.version != dossier.version {
        let why = "no consent of the patient to this version stands here";
        return Err(WorkflowError::Invalid(why.into()));
    }
    if !check(site, dossier, None).await?.is_empty() {
        let why = "this is not the protocol that was fixed";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let (account, version) = (patient.account(), dossier.version.to_be_bytes());
    let about = [id.as_slice(), account.as_slice(), &version].concat();
    let form = RecordId(site.keyed_digest("salus/trial-consent-form/v1", &about));
    if site.gatekeeper.vault().head(form).await?.is_some() {
        let why = "the form of this consent was filed before";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let resource = json!({
        "resourceType": "Consent",
        "status": "active",
        "scope": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/consentscope",
            "code": "research",
        }] },
        "category": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/consentcategorycodes",
            "code": "research",
        }] }],
        "patient": subject(patient),
        "dateTime": now.to_string(),
        "performer": [subject(patient)],
        "organization": [{ "reference": format!("Organization/{}", site.member()) }],
        "policyRule": { "text": "consent to take part in a trial" },
        "verification": [{
            "verified": true,
            "verifiedWith": subject(patient),
            "verificationDate": now.to_string(),
        }],
        "provision": {
            "type": "permit",
            "actor": [{
                "role": { "text": "told the patient what the trial is about" },
                "reference": practitioner(person),
            }],
            "data": [{ "meaning": "instance", "reference": {
                "reference": format!("ResearchStudy/{id:x}"),
                "identifier": {
                    "system": DIGEST_SYSTEM,
                    "value": dossier.protocol_digest().to_string(),
                },
            } }],
        },
    });
    let draft = Draft { kind: Kind::Administrative, resource };
    let new = draft.first_version(form, person, patient, now);
    let along = site.along(&new);
    let (anchor, outcome) = site.gatekeeper.put_and_propose_along(new, None, along).await?;
    site.keep_study(dossier.kept_at(now)).await;
    let what = "proposes the record of the consent form";
    Ok((anchor, Step::new(&site.name, what, "record.propose", &outcome)))
}

/// An enrolled patient opens the nonce: with both seeds it gives their arm.
///
/// # Errors
///
/// [`WorkflowError::Send`] when they are not enrolled, committed to another, or opened it before.
pub async fn open_nonce(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    nonce: &Nonce,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Trials::openNonceCall { id, nonce: nonce.expose() };
    let outcome = act(relay, patient, &call, now).await?;
    Ok(Step::new(&patient.name, "opens the nonce", "trial.open-nonce", &outcome))
}

/// The patient withdraws, for good, and owes nobody a reason. It never fails.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the chain does not take it.
pub async fn withdraw(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    keep_data: bool,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let outcome =
        act(relay, patient, &Trials::withdrawCall { id, keepData: keep_data }, now).await?;
    let what = match keep_data {
        true => "withdraws from the trial; what was entered may be used",
        false => "withdraws from the trial; what was entered may not be used",
    };
    Ok(Step::new(&patient.name, what, "trial.withdraw", &outcome))
}

/// What came of a screening.
#[derive(Clone, Debug)]
pub struct Screening {
    /// Whether the patient is enrolled.
    pub is_eligible: bool,
    /// The record.
    pub record: Anchor,
    /// The steps.
    pub steps: Vec<Step>,
}

/// A physician or researcher of the site holds a patient against the criteria of the protocol: one answer to each.
/// The answers decide; they are sealed, and the patient is enrolled or excluded.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when a criterion has not exactly one answer; [`WorkflowError`] when the chain refuses:
/// other criteria are in force, or the patient did not consent to this version. Nothing is sealed then.
pub async fn screen(
    site: &Gateway,
    person: &Person,
    patient: &PatientActor,
    dossier: &Dossier,
    answers: &[(&str, bool)],
    now: Timestamp,
) -> Result<Screening, WorkflowError> {
    let id = dossier.trial;
    let criteria = dossier.criteria()?;
    if answers.iter().any(|(key, _)| criteria.iter().all(|criterion| criterion.key != *key)) {
        return Err(WorkflowError::Invalid("an answer is to no criterion".into()));
    }
    let (mut items, mut is_eligible) = (Vec::new(), true);
    for criterion in &criteria {
        let mut given = answers.iter().filter(|(key, _)| *key == criterion.key);
        let (Some((_, answer)), None) = (given.next(), given.next()) else {
            let why = format!("criterion {} takes exactly one answer", criterion.key);
            return Err(WorkflowError::Invalid(why));
        };
        is_eligible &= *answer != criterion.excludes;
        items.push(json!({
            "linkId": criterion.key,
            "text": criterion.text,
            "answer": [{ "valueBoolean": answer }],
        }));
    }
    let status = if is_eligible { "on-study" } else { "ineligible" };
    let resource = json!({
        "resourceType": "ResearchSubject",
        "contained": [{
            "resourceType": "QuestionnaireResponse",
            "id": "screening",
            "status": "completed",
            "subject": subject(patient),
            "authored": now.to_string(),
            "author": practitioner(person),
            "item": items,
        }],
        // No element of a subject takes the answers.
        "extension": [{
            "url": "urn:salus:trial-screening",
            "valueReference": { "reference": "#screening" },
        }],
        "status": status,
        "period": { "start": now.to_string() },
        "study": study(id),
        "individual": subject(patient),
    });
    let draft = Draft { kind: Kind::Research, resource };
    let (account, criteria) = (patient.account(), dossier.criteria_digest());
    let call = |screening| Trials::screenCall {
        id,
        patient: account,
        eligible: is_eligible,
        criteria,
        screening,
    };
    let written = Written { gateway: site, author: person, patient, now };
    let (record, sealed, screened) =
        written.and_send(site.make_record_id(), &draft, Contract::Trials, call).await?;
    site.keep_study(dossier.kept_at(now)).await;
    let what = if is_eligible { "enrols the patient" } else { "excludes the patient" };
    let step = Step::new(&person.name, what, "trial.screen", &screened);
    Ok(Screening { is_eligible, record, steps: vec![sealed, step] })
}

/// A pharmacist of the site commits to the arm of an enrolled subject, as [`super::Seeds::allocation`] makes it.
/// Nothing of it is sealed: there is no record to read it from.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, the nonce is not open, or an arm was committed to before.
pub async fn allocate(
    site: &Gateway,
    pharmacist: &Person,
    id: B256,
    patient: Address,
    allocation: B256,
) -> Result<Step, WorkflowError> {
    let call = Trials::allocateCall { id, patient, allocation };
    let outcome = pharmacist.sender.send(site.at(Contract::Trials), &call).await?;
    let what = "commits to what the subject gets, and tells nobody";
    Ok(Step::new(&pharmacist.name, what, "trial.allocate", &outcome))
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// In words.
    Text(String),
    /// Measured.
    Quantity {
        /// How much.
        value: f64,
        /// Of what, such as `mg/dl`.
        unit: String,
    },
    /// Yes or no.
    Is(bool),
}

/// One item of a visit.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// How programs call it.
    pub key: String,
    /// What is asked or measured.
    pub text: String,
    /// What was found.
    pub finding: Finding,
}

impl Item {
    fn to_json(&self) -> Result<Value, WorkflowError> {
        worded("key of an item", &self.key)?;
        worded("text of an item", &self.text)?;
        let answer = match &self.finding {
            Finding::Text(text) => {
                worded("finding", text)?;
                json!({ "valueString": text })
            }
            Finding::Quantity { value, unit } if value.is_finite() => {
                worded("unit", unit)?;
                json!({ "valueQuantity": { "value": value, "unit": unit } })
            }
            Finding::Quantity { .. } => {
                return Err(WorkflowError::Invalid("a quantity is a finite number".into()));
            }
            Finding::Is(is) => json!({ "valueBoolean": is }),
        };
        Ok(json!({
            "linkId": self.key,
            "text": self.text,
            "answer": [answer],
        }))
    }
}

/// A researcher, physician or nurse of the site enters what was found at a visit: sealed, and its digest in the
/// trial's chain of data.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] for items that make no sense; [`WorkflowError`] when the chain refuses: nobody
/// committed to the subject's arm, the subject has not consented to the version in force, withdrew, or is none of
/// this site. Nothing is sealed then.
pub async fn enter(
    site: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    items: &[Item],
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    if !(1..=ITEMS_MAX).contains(&items.len()) {
        return Err(WorkflowError::Invalid("a visit has 1 to 100 items".into()));
    }
    let items = items.iter().map(Item::to_json).collect::<Result<Vec<_>, _>>()?;
    let resource = json!({
        "resourceType": "QuestionnaireResponse",
        "extension": [{ "url": STUDY_EXTENSION, "valueReference": study(id) }],
        "status": "completed",
        "subject": subject(patient),
        "authored": now.to_string(),
        "author": practitioner(person),
        "item": items,
    });
    let is_first = trial_of(site, id).await?.1.entries == 0;
    let draft = Draft { kind: Kind::Social, resource };
    let account = patient.account();
    let call = |digest| Trials::enterCall { id, patient: account, digest };
    let written = Written { gateway: site, author: person, patient, now };
    let (record, sealed, entered) =
        written.and_send(site.make_record_id(), &draft, Contract::Trials, call).await?;
    let visit = entered.events::<Trials::DataEntered>().first().map_or(0, |event| event.visit);
    let operation = if is_first { "trial.enter-first" } else { "trial.enter" };
    let what = format!("enters the data of visit {visit}");
    Ok((record, vec![sealed, Step::new(&person.name, what, operation, &entered)]))
}

/// A physician of the site has to know a subject's arm, and says why: the reason is sealed, and the results show
/// that it happened. The arm itself is told by who has both seeds ([`super::Seeds::tell`]).
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses: it is somebody else, or everybody knows already.
pub async fn unblind(
    site: &Gateway,
    physician: &Person,
    patient: &PatientActor,
    id: B256,
    reason: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    worded("reason", reason)?;
    let resource = json!({
        "resourceType": "Communication",
        "extension": [{ "url": STUDY_EXTENSION, "valueReference": study(id) }],
        "status": "completed",
        "category": [{ "text": "unblinding" }],
        "subject": subject(patient),
        "sender": practitioner(physician),
        "sent": now.to_string(),
        "payload": [{ "contentString": reason }],
    });
    let draft = Draft { kind: Kind::Order, resource };
    let account = patient.account();
    let call = |reason| Trials::unblindCall { id, patient: account, reason };
    let written = Written { gateway: site, author: physician, patient, now };
    let (record, sealed, unblinded) =
        written.and_send(site.make_record_id(), &draft, Contract::Trials, call).await?;
    let what = "has to know the subject's arm, and says why";
    let step = Step::new(&physician.name, what, "trial.unblind", &unblinded);
    Ok((record, vec![sealed, step]))
}

/// Something that happened to a subject.
#[derive(Clone, Debug)]
pub struct AdverseEvent {
    /// What, in words.
    pub what: String,
    /// Whether it is serious: then it is reported within 24 hours, and has to be acknowledged.
    pub is_serious: bool,
    /// When the site became aware.
    pub aware_at: Timestamp,
}

/// What came of a report.
#[derive(Clone, Debug)]
pub struct Reported {
    /// Its number in the trial, from 0.
    pub number: U256,
    /// Whether it was serious, and came more than 24 hours after the site became aware.
    pub is_late: bool,
    /// The record.
    pub record: Anchor,
    /// The steps.
    pub steps: Vec<Step>,
}

/// A researcher, physician or nurse of the site reports an adverse event. It goes on after lock, stop and
/// withdrawal: safety has no end.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses: it is somebody else, the patient is no subject of this site, or the
/// time lies in the future.
pub async fn report_adverse_event(
    site: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    event: &AdverseEvent,
    now: Timestamp,
) -> Result<Reported, WorkflowError> {
    worded("adverse event", &event.what)?;
    let serious = event.is_serious;
    let resource = json!({
        "resourceType": "AdverseEvent",
        "actuality": "actual",
        "event": { "text": event.what },
        "subject": subject(patient),
        "detected": event.aware_at.to_string(),
        "recordedDate": now.to_string(),
        "seriousness": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/adverse-event-seriousness",
            "code": if serious { "Serious" } else { "Non-serious" },
        }] },
        "recorder": practitioner(person),
        "study": [study(id)],
    });
    let draft = Draft { kind: Kind::Research, resource };
    let (account, aware_at) = (patient.account(), to_uint40(event.aware_at));
    let call = |digest| Trials::reportAdverseEventCall {
        id,
        patient: account,
        serious,
        awareAt: aware_at,
        digest,
    };
    let written = Written { gateway: site, author: person, patient, now };
    let (record, sealed, outcome) =
        written.and_send(site.make_record_id(), &draft, Contract::Trials, call).await?;
    let told = outcome.events::<Trials::AdverseEventReported>();
    let told = told.first().map(|told| (told.number, told.late));
    let (number, is_late) = told.ok_or(WorkflowError::Unknown { what: "adverse event", id })?;
    let what = match (serious, is_late) {
        (false, _) => "reports an adverse event",
        (true, false) => "reports a serious adverse event within 24 hours",
        (true, true) => "reports a serious adverse event LATE",
    };
    let step = Step::new(&person.name, what, "trial.report-adverse-event", &outcome);
    Ok(Reported { number, is_late, record, steps: vec![sealed, step] })
}

/// Whether a serious adverse event waits for the sponsor longer than it may.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none with that number.
pub async fn is_overdue(gateway: &Gateway, id: B256, number: U256) -> Result<bool, WorkflowError> {
    let ledger = gateway.gatekeeper.ledger();
    let at = gateway.at(Contract::Trials);
    let count = ledger.call(at, &Trials::adverseEventsCall { id }, Default::default()).await?;
    if number >= count {
        return Err(WorkflowError::Unknown { what: "adverse event of trial", id });
    }
    // By the time of the next block: the last one may be old.
    let next = alloy_eips::BlockId::pending();
    Ok(ledger.call(at, &Trials::isOverdueCall { id, number }, next).await?)
}

/// The adverse events of a trial in order, each with when it was reported and what came of it.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn adverse_events(
    gateway: &Gateway,
    id: B256,
) -> Result<Vec<(Trials::AdverseEvent, Timestamp)>, WorkflowError> {
    let ledger = gateway.gatekeeper.ledger();
    let (at, latest) = (gateway.at(Contract::Trials), alloy_eips::BlockId::latest());
    let count = ledger.call(at, &Trials::adverseEventsCall { id }, latest).await?;
    let mut found = Vec::new();
    let mut number = U256::ZERO;
    while number < count {
        let call = Trials::adverseEventOfCall { id, number };
        let event = ledger.call(at, &call, latest).await?;
        let reported_at = timestamp(event.reportedAt);
        found.push((event, reported_at));
        number += U256::ONE;
    }
    Ok(found)
}

fn study(id: B256) -> Value {
    json!({ "reference": format!("ResearchStudy/{id:x}") })
}

fn subject(patient: &PatientActor) -> Value {
    json!({ "reference": format!("Patient/{}", patient.account()) })
}

fn practitioner(person: &Person) -> Value {
    json!({ "reference": format!("Practitioner/{}", person.member) })
}
