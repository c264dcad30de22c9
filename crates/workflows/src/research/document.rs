//! What is agreed on before anything is given out: data sets, terms of use, protocols, questions. Each is a FHIR
//! resource with a random number in it, and goes from hand to hand as a file; on chain is its digest, which
//! nobody can guess. Whoever agrees to one gives the file that they saw, and so its digest.

use alloy_primitives::{Address, B256};
use domain::{InstitutionRole, Kind, KindSet, Purpose, RecordDigest, Timestamp};
use serde_json::{Value, json};

use crate::{Gateway, Person, Study, WorkflowError};

/// The longest document, in bytes.
const BYTES_MAX: usize = 64 << 10;

/// The most that a question asks for.
const CRITERIA_MAX: usize = 8;

/// The longest text in a document, in bytes.
const TEXT_MAX: usize = 4_096;

/// The most conditions that terms of use have.
const CONDITIONS_MAX: usize = 32;

/// The system of the random numbers.
const SALT_SYSTEM: &str = "urn:salus:salt";

/// The system of kinds of record.
const KIND_SYSTEM: &str = "urn:salus:record-kind";

/// A document, byte for byte as it was digested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(Vec<u8>);

impl Document {
    /// Reads a document that somebody gave.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is too long or no FHIR resource.
    pub fn read(bytes: Vec<u8>) -> Result<Self, WorkflowError> {
        let invalid = || WorkflowError::Invalid("the document is no FHIR resource".into());
        if bytes.len() > BYTES_MAX {
            return Err(WorkflowError::Invalid("the document is too long".into()));
        }
        let body: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
        body["resourceType"].as_str().ok_or_else(invalid)?;
        Ok(Self(bytes))
    }

    fn of(body: &Value) -> Result<Self, WorkflowError> {
        Self::read(serde_json::to_vec_pretty(body).expect("a JSON value has a text"))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its name on chain.
    #[must_use]
    pub fn digest(&self) -> B256 {
        RecordDigest::of(&self.0).0
    }

    fn body(&self) -> Value {
        serde_json::from_slice(&self.0).unwrap_or_default()
    }

    /// What is offered.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when a text is too long.
    pub fn dataset(source: &Gateway, title: &str, about: &str) -> Result<Self, WorkflowError> {
        bounded(&[title, about])?;
        Self::of(&json!({
            "resourceType": "Library",
            "identifier": [salt(source)],
            "status": "active",
            "type": { "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/library-type",
                "code": "asset-collection",
            }] },
            "title": title,
            "description": about,
            "publisher": source.member().to_string(),
        }))
    }

    /// Under which conditions.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when there is no condition, or too much.
    pub fn terms(source: &Gateway, conditions: &[&str]) -> Result<Self, WorkflowError> {
        bounded(conditions)?;
        if !(1..=CONDITIONS_MAX).contains(&conditions.len()) {
            let text = format!("terms of use have one to {CONDITIONS_MAX} conditions");
            return Err(WorkflowError::Invalid(text));
        }
        let term = |text: &&str| json!({ "offer": { "text": text } });
        Self::of(&json!({
            "resourceType": "Contract",
            "identifier": [salt(source)],
            "status": "offered",
            "title": "Terms of use",
            "authority": [{ "reference": format!("Organization/{}", source.member()) }],
            "term": conditions.iter().map(term).collect::<Vec<_>>(),
        }))
    }

    /// What a study is for, of which kinds of record, and until when.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when a text is too long, or it wants no kinds, or some that nobody reads
    /// for research.
    pub fn protocol(
        institute: &Gateway,
        researcher: &Person,
        (title, purpose): (&str, &str),
        kinds: KindSet,
        until: Timestamp,
    ) -> Result<Self, WorkflowError> {
        bounded(&[title, purpose])?;
        require_readable(kinds)?;
        let focus =
            |kind: Kind| json!({ "coding": [{ "system": KIND_SYSTEM, "code": kind.name() }] });
        Self::of(&json!({
            "resourceType": "ResearchStudy",
            "identifier": [salt(institute)],
            "title": title,
            "status": "in-review",
            "focus": kinds.iter().map(focus).collect::<Vec<_>>(),
            "description": purpose,
            "period": { "end": until.to_string() },
            "sponsor": { "reference": format!("Organization/{}", institute.member()) },
            "principalInvestigator": { "reference": format!("Practitioner/{}", researcher.member) },
        }))
    }

    /// The kinds of record that a protocol wants.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is no protocol.
    pub fn protocol_kinds(&self) -> Result<KindSet, WorkflowError> {
        let body = self.body();
        let of_focus = |focus: &Value| focus["coding"][0]["code"].as_str()?.parse().ok();
        let focuses = body["focus"].as_array().map(Vec::as_slice).unwrap_or_default();
        let kinds: Option<KindSet> = focuses.iter().map(of_focus).collect();
        match kinds.filter(|_| body["resourceType"] == "ResearchStudy") {
            Some(kinds) => require_readable(kinds).map(|()| kinds),
            None => Err(WorkflowError::Invalid("the document is no protocol".into())),
        }
    }

    /// Keeps a protocol as the study of that name, where the study is run or gets data from.
    pub(super) async fn keep_as(&self, gateway: &Gateway, id: B256, now: Timestamp) {
        let mut resource = self.body();
        resource["id"] = format!("{id:x}").into();
        gateway.keep_study(Study { id, version: 1, resource: &resource, now }).await;
    }

    /// Whether a protocol names this institution as sponsor, and this end.
    pub(super) fn is_of(&self, institution: Address, until: Timestamp) -> bool {
        let body = self.body();
        body["period"]["end"] == until.to_string()
            && body["sponsor"]["reference"] == format!("Organization/{institution}")
    }

    /// For whom to look.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it asks for too much at once.
    pub fn question(from: &Gateway, criteria: &[Criterion]) -> Result<Self, WorkflowError> {
        if criteria.len() > CRITERIA_MAX {
            return Err(WorkflowError::Invalid(format!("at most {CRITERIA_MAX} criteria")));
        }
        let texts: Vec<&str> =
            criteria.iter().flat_map(|one| [one.system.as_str(), one.code.as_str()]).collect();
        bounded(&texts)?;
        let characteristic = |one: &Criterion| {
            json!({
                "code": { "coding": [{ "system": one.system, "code": one.code }] },
                "valueBoolean": true,
                "exclude": one.excluded,
            })
        };
        let mut body = json!({
            "resourceType": "Group",
            "identifier": [salt(from)],
            "type": "person",
            "actual": false,
        });
        if !criteria.is_empty() {
            body["characteristic"] = criteria.iter().map(characteristic).collect();
        }
        Self::of(&body)
    }

    /// What a question asks for.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is no question.
    pub fn criteria(&self) -> Result<Vec<Criterion>, WorkflowError> {
        let invalid = || WorkflowError::Invalid("the document is no question".into());
        let body = self.body();
        if body["resourceType"] != "Group" || body["actual"] != false {
            return Err(invalid());
        }
        let given = body["characteristic"].as_array().map(Vec::as_slice).unwrap_or_default();
        if given.len() > CRITERIA_MAX {
            return Err(invalid());
        }
        let criterion = |one: &Value| {
            let coding = &one["code"]["coding"][0];
            let text = |field: &str| Some(coding[field].as_str()?.to_owned());
            let is_plain = one["valueBoolean"] == true;
            let excluded = one["exclude"].as_bool().filter(|_| is_plain)?;
            Some(Criterion { system: text("system")?, code: text("code")?, excluded })
        };
        given.iter().map(criterion).collect::<Option<_>>().ok_or_else(invalid)
    }
}

/// A code that a record of a patient has, or that none has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criterion {
    /// The code's system, such as `http://snomed.info/sct`.
    pub system: String,
    /// The code.
    pub code: String,
    /// Whether the patients are those without.
    pub excluded: bool,
}

impl std::str::FromStr for Criterion {
    type Err = String;

    /// Reads `SYSTEM|CODE`, as FHIR searches write it; with `!` before it, those without.
    fn from_str(text: &str) -> Result<Self, String> {
        let (excluded, text) = text.strip_prefix('!').map_or((false, text), |text| (true, text));
        match text.split_once('|') {
            Some((system, code)) if !system.is_empty() && !code.is_empty() => {
                Ok(Self { system: system.into(), code: code.into(), excluded })
            }
            _ => Err("a criterion is SYSTEM|CODE, or !SYSTEM|CODE".into()),
        }
    }
}

/// Words that stay with who says them, by the digest of them and a random salt: with both, somebody can show
/// that it were these words.
pub(super) fn said(gateway: &Gateway, words: &str) -> Result<(B256, B256), WorkflowError> {
    bounded(&[words])?;
    let salt = gateway.make_salt();
    Ok((salt, RecordDigest::of(&[salt.as_slice(), words.as_bytes()].concat()).0))
}

/// The reader who prepares data for studies: the source itself, for research.
pub(super) fn preparing(source: &Gateway) -> gatekeeper::Reading {
    let (member, role): (Address, InstitutionRole) = (source.member(), source.role);
    let reader = domain::Reader::Institution { member, role };
    gatekeeper::Reading { reader, purpose: Purpose::Research }
}

fn require_readable(kinds: KindSet) -> Result<(), WorkflowError> {
    let readable = InstitutionRole::Research.may_read(Purpose::Research);
    if !kinds.is_empty() && kinds.without(readable).is_empty() {
        return Ok(());
    }
    let text = format!("a study is about some of these kinds of record: {readable}");
    Err(WorkflowError::Invalid(text))
}

fn salt(gateway: &Gateway) -> Value {
    json!({ "system": SALT_SYSTEM, "value": gateway.make_salt().to_string() })
}

fn bounded(texts: &[&str]) -> Result<(), WorkflowError> {
    let is_good = |text: &&str| !text.trim().is_empty() && text.len() <= TEXT_MAX;
    if texts.iter().all(is_good) {
        return Ok(());
    }
    Err(WorkflowError::Invalid(format!("a text has one to {TEXT_MAX} bytes")))
}
