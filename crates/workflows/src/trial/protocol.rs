//! The protocol of a trial, as a document whose digests are on chain.
//!
//! It is about no patient, so it is no record: a [`Dossier`] is a file of the sponsor, which goes sealed to
//! regulator and sites, and may be published once there is nothing to hide. On chain are three digests of it,
//! each under a salt of its own that only the file holds (S1):
//!
//! ```text
//! digest     SHA-256(label | 0 u8 | trial id [32] | salt [32] | canonical JSON)
//! protocol   "salus/trial-protocol/v1", the whole ResearchStudy
//! endpoints  "salus/trial-endpoints/v1", its `objective`
//! criteria   "salus/trial-criteria/v1", its contained Group
//! ```
//!
//! Canonical JSON has no white space, and the fields of each object in the order of their names, so that a
//! file that was only laid out anew is the same document.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use domain::{QueryDomain, RecordDigest, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vault::{PublicKey, SecretKey, answer};

use crate::{Gateway, Study, WorkflowError};

/// The most endpoints, criteria, or items of a visit.
pub const ITEMS_MAX: usize = 100;

/// The longest text, in bytes.
pub const TEXT_MAX: usize = 4_000;

/// The longest file, in bytes.
pub const DOSSIER_MAX: usize = 1 << 20;

/// The most arms.
///
/// # Source
///
/// `MAX_ARMS` in `Trials.sol`.
pub const ARMS_MAX: usize = 16;

/// How criteria are named.
const CRITERIA: &str = "urn:salus:trial-criterion";

/// Under which trials have their numbers.
const TRIALS: &str = "urn:salus:trial";

const DOSSIER: &[u8] = b"salus/trial-dossier/v1";

/// How much depends on an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rank {
    /// What the trial is for.
    Primary,
    /// What it is for besides.
    Secondary,
    /// What may be worth another trial.
    Exploratory,
}

/// What is measured at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// In words; no two the same.
    pub name: String,
    /// How much depends on it.
    pub rank: Rank,
}

/// Who takes part, or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// How programs call it.
    pub key: String,
    /// What has to be so, or must not be so.
    pub text: String,
    /// Whether it excludes.
    #[serde(default)]
    pub excludes: bool,
}

/// What a trial is registered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// What it is called.
    pub title: String,
    /// What is done, in words.
    pub description: String,
    /// What is compared, 2 to [`ARMS_MAX`]; arm 0 is the first.
    pub arms: Vec<String>,
    /// What is measured. It never changes.
    pub endpoints: Vec<Endpoint>,
    /// Who takes part.
    pub criteria: Vec<Criterion>,
}

impl Protocol {
    /// Whether it can be registered.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when something is missing, too long, too many, or there twice.
    pub fn check(&self) -> Result<(), WorkflowError> {
        let invalid = |why: &str| Err(WorkflowError::Invalid(why.into()));
        worded("title", &self.title)?;
        worded("description", &self.description)?;
        if !(2..=ARMS_MAX).contains(&self.arms.len()) {
            return invalid("a trial has 2 to 16 arms");
        }
        let several = 1..=ITEMS_MAX;
        if !several.contains(&self.endpoints.len()) || !several.contains(&self.criteria.len()) {
            return invalid("a trial has 1 to 100 endpoints and 1 to 100 criteria");
        }
        for text in self.arms.iter().chain(self.endpoints.iter().map(|endpoint| &endpoint.name)) {
            worded("name of an arm or endpoint", text)?;
        }
        for criterion in &self.criteria {
            worded("criterion", &criterion.text)?;
            let is_key =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if !(1..=64).contains(&criterion.key.len()) || !criterion.key.bytes().all(is_key) {
                return invalid("the key of a criterion is of 1 to 64 small letters, digits and -");
            }
        }
        let arms: BTreeSet<_> = self.arms.iter().collect();
        let endpoints: BTreeSet<_> = self.endpoints.iter().map(|endpoint| &endpoint.name).collect();
        let keys: BTreeSet<_> = self.criteria.iter().map(|criterion| &criterion.key).collect();
        let given = [self.arms.len(), self.endpoints.len(), self.criteria.len()];
        if [arms.len(), endpoints.len(), keys.len()] != given {
            return invalid("two arms, endpoints or criteria have the same name");
        }
        Ok(())
    }

    fn study(&self, trial: B256, version: u16, sponsor: Address, by: Address) -> Value {
        let characteristics: Vec<_> = self
            .criteria
            .iter()
            .map(|criterion| {
                json!({
                    "code": {
                        "coding": [{ "system": CRITERIA, "code": criterion.key }],
                        "text": criterion.text,
                    },
                    "valueBoolean": true,
                    "exclude": criterion.excludes,
                })
            })
            .collect();
        let objectives: Vec<_> = self
            .endpoints
            .iter()
            .map(|endpoint| {
                json!({
                    "name": endpoint.name,
                    "type": { "coding": [{
                        "system": "http://terminology.hl7.org/CodeSystem/research-study-objective-type",
                        "code": endpoint.rank,
                    }] },
                })
            })
            .collect();
        let arms: Vec<_> = self.arms.iter().map(|arm| json!({ "name": arm })).collect();
        json!({
            "resourceType": "ResearchStudy",
            "id": format!("{trial:x}"),
            "contained": [{
                "resourceType": "Group",
                "id": "criteria",
                "type": "person",
                "actual": false,
                "characteristic": characteristics,
            }],
            "identifier": [{ "system": TRIALS, "value": trial.to_string() }],
            "title": self.title,
            // As it stood when its digest was fixed.
            "status": "in-review",
            "description": self.description,
            "enrollment": [{ "reference": "#criteria" }],
            "sponsor": { "reference": format!("Organization/{sponsor}") },
            "principalInvestigator": { "reference": format!("Practitioner/{by}") },
            "note": [{ "text": format!("version {version}") }],
            "arm": arms,
            "objective": objectives,
        })
    }
}

/// What makes the digests on chain such that nobody can guess what they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Salts {
    /// Of the whole protocol.
    pub protocol: B256,
    /// Of the endpoints; the same in all versions.
    pub endpoints: B256,
    /// Of the criteria.
    pub criteria: B256,
}

impl Salts {
    pub(super) fn make(gateway: &Gateway) -> Self {
        let [protocol, endpoints, criteria] = [(); 3].map(|()| gateway.make_salt());
        Self { protocol, endpoints, criteria }
    }
}

/// One version of a protocol, with what its digests on chain are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dossier {
    /// Of which trial.
    pub trial: B256,
    /// Which version, from 1.
    pub version: u16,
    /// The salts of the digests.
    pub salts: Salts,
    /// The protocol, as a FHIR ResearchStudy.
    pub study: Value,
}

impl Dossier {
    pub(super) fn write(
        protocol: &Protocol,
        trial: B256,
        version: u16,
        salts: Salts,
        (sponsor, by): (Address, Address),
    ) -> Self {
        Self { trial, version, salts, study: protocol.study(trial, version, sponsor, by) }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is too long, or no protocol.
    pub fn read(bytes: &[u8]) -> Result<Self, WorkflowError> {
        let invalid = || WorkflowError::Invalid("the file is no protocol of a trial".into());
        if bytes.len() > DOSSIER_MAX {
            return Err(invalid());
        }
        let dossier: Self = serde_json::from_slice(bytes).map_err(|_| invalid())?;
        dossier.criteria()?;
        Ok(dossier)
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a protocol has a text")
    }

    /// The digest of the whole protocol.
    #[must_use]
    pub fn protocol_digest(&self) -> B256 {
        digest("salus/trial-protocol/v1", self.trial, self.salts.protocol, &self.study)
    }

    /// The digest of the endpoints.
    #[must_use]
    pub fn endpoints_digest(&self) -> B256 {
        let objectives = &self.study["objective"];
        digest("salus/trial-endpoints/v1", self.trial, self.salts.endpoints, objectives)
    }

    /// The digest of the criteria.
    #[must_use]
    pub fn criteria_digest(&self) -> B256 {
        digest("salus/trial-criteria/v1", self.trial, self.salts.criteria, self.group())
    }

    fn group(&self) -> &Value {
        &self.study["contained"][0]
    }

    /// The endpoints' names, in their order.
    #[must_use]
    pub fn endpoints(&self) -> Vec<&str> {
        let objectives = self.study["objective"].as_array().into_iter().flatten();
        objectives.filter_map(|objective| objective["name"].as_str()).collect()
    }

    /// The arms' names, in their order.
    #[must_use]
    pub fn arms(&self) -> Vec<&str> {
        let arms = self.study["arm"].as_array().into_iter().flatten();
        arms.filter_map(|arm| arm["name"].as_str()).collect()
    }

    /// Who takes part.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when that cannot be read from it, or it names several.
    pub fn criteria(&self) -> Result<Vec<Criterion>, WorkflowError> {
        let invalid = || WorkflowError::Invalid("the protocol has no criteria to read".into());
        // What people read as criteria and what has the digest is one thing.
        let is_only = self.study["contained"].as_array().is_some_and(|all| all.len() == 1)
            && self.group()["id"] == "criteria"
            && self.study["enrollment"] == json!([{ "reference": "#criteria" }])
            && self.study["id"] == format!("{:x}", self.trial);
        if !is_only {
            return Err(invalid());
        }
        let found = self.group()["characteristic"].as_array().into_iter().flatten();
        let read: Option<Vec<_>> = found
            .map(|one| {
                Some(Criterion {
                    key: one["code"]["coding"][0]["code"].as_str()?.to_owned(),
                    text: one["code"]["text"].as_str()?.to_owned(),
                    excludes: one["exclude"].as_bool()?,
                })
            })
            .collect();
        let read = read.filter(|criteria| (1..=ITEMS_MAX).contains(&criteria.len()));
        read.ok_or_else(invalid)
    }

    /// The protocol as an institution keeps it that runs the trial or takes part.
    pub(super) const fn kept_at(&self, now: Timestamp) -> Study<'_> {
        Study { id: self.trial, version: self.version, resource: &self.study, now }
    }

    /// Seals it for one of the network, who opens it with [`Dossier::open`].
    #[must_use]
    pub fn seal_for(&self, from: &Gateway, recipient: &PublicKey) -> Vec<u8> {
        let keeper = &from.gatekeeper;
        let (bytes, mut rng) = (self.to_bytes(), keeper.entropy().fork());
        answer::seal(recipient, keeper.domain(), DOSSIER, &bytes, &mut rng)
    }

    /// Opens what [`Dossier::seal_for`] sealed. Who sealed it does not follow: the chain has the digests.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is for somebody else, or no protocol.
    pub fn open(
        secret: &SecretKey,
        network: QueryDomain,
        sealed: &[u8],
    ) -> Result<Self, WorkflowError> {
        let opened = answer::open(secret, network, DOSSIER, sealed)
            .map_err(|error| WorkflowError::Invalid(error.to_string()))?;
        Self::read(&opened)
    }
}

/// The digest of a document, as drawn above.
pub(super) fn digest(label: &str, trial: B256, salt: B256, document: &Value) -> B256 {
    let mut text = String::new();
    canonical(document, &mut text);
    let parts = [label.as_bytes(), &[0], trial.as_slice(), salt.as_slice(), text.as_bytes()];
    RecordDigest::of(&parts.concat()).0
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            // Whether a map of JSON keeps an order depends on who else is in the build.
            let sorted: BTreeMap<_, _> = fields.iter().collect();
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                text.push(if index == 0 { '{' } else { ',' });
                *text += &json!(name).to_string();
                text.push(':');
                canonical(value, text);
            }
            *text += if fields.is_empty() { "{}" } else { "}" };
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                text.push(if index == 0 { '[' } else { ',' });
                canonical(item, text);
            }
            *text += if items.is_empty() { "[]" } else { "]" };
        }
        _ => *text += &value.to_string(),
    }
}

/// Refuses a text that is empty or too long, without quoting it.
pub(super) fn worded(what: &str, text: &str) -> Result<(), WorkflowError> {
    if text.trim().is_empty() {
        return Err(WorkflowError::Invalid(format!("the {what} is empty")));
    }
    if text.len() > TEXT_MAX {
        return Err(WorkflowError::Invalid(format!("the {what} is longer than {TEXT_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol() -> Protocol {
        Protocol {
            title: "a title".into(),
            description: "words".into(),
            arms: vec!["one".into(), "two".into()],
            endpoints: vec![Endpoint { name: "death".into(), rank: Rank::Primary }],
            criteria: vec![Criterion {
                key: "adult".into(),
                text: "18 or older".into(),
                excludes: false,
            }],
        }
    }

    fn dossier() -> Dossier {
        let salt = B256::repeat_byte;
        let salts = Salts { protocol: salt(1), endpoints: salt(2), criteria: salt(3) };
        let by = (Address::repeat_byte(4), Address::repeat_byte(5));
        Dossier::write(&protocol(), B256::repeat_byte(6), 1, salts, by)
    }

    #[test]
    fn canonical_text_knows_no_order_and_no_space() {
        let text = |json: &str| {
            let mut text = String::new();
            canonical(&serde_json::from_str(json).unwrap(), &mut text);
            text
        };
        let expected = r#"{"a":[1,true,null,{}],"b":{"c":"\"\n","d":[]}}"#;
        assert_eq!(text(r#"{ "b": {"d": [], "c": "\"\n"}, "a": [1, true, null, {}] }"#), expected);
    }

    #[test]
    fn another_layout_is_the_same_document_and_another_word_is_not() {
        let held = dossier();
        let laid_out = Dossier::read(&serde_json::to_vec(&held).unwrap()).unwrap();
        assert_eq!(laid_out.protocol_digest(), held.protocol_digest());
        let mut other = held.clone();
        other.study["objective"][0]["name"] = json!("another");
        assert_ne!(other.endpoints_digest(), held.endpoints_digest());
        assert_ne!(other.protocol_digest(), held.protocol_digest());
        assert_eq!(other.criteria_digest(), held.criteria_digest());
        let salted = Salts { endpoints: B256::repeat_byte(9), ..held.salts };
        let salted = Dossier { salts: salted, ..held.clone() };
        assert_ne!(salted.endpoints_digest(), held.endpoints_digest());
        assert_ne!(
            Dossier { trial: B256::ZERO, ..held.clone() }.criteria_digest(),
            held.criteria_digest()
        );
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut Protocol)) {
        let mut changed = protocol();
        change(&mut changed);
        assert!(matches!(changed.check(), Err(WorkflowError::Invalid(_))));
    }

    #[test]
    fn protocols_have_bounds() {
        protocol().check().unwrap();
        refused(|it| it.title.clear());
        refused(|it| it.description = "x".repeat(TEXT_MAX + 1));
        refused(|it| it.arms.truncate(1));
        refused(|it| it.arms = (0..17).map(|arm| arm.to_string()).collect());
        refused(|it| it.arms[1] = it.arms[0].clone());
        refused(|it| it.endpoints.clear());
        refused(|it| it.endpoints.extend(it.endpoints.clone()));
        refused(|it| it.criteria = vec![it.criteria[0].clone(); ITEMS_MAX + 1]);
        refused(|it| it.criteria[0].key = "Two words".into());
        refused(|it| it.criteria[0].text = " ".into());
    }

    #[test]
    fn criteria_come_back_as_they_were_written() {
        assert_eq!(dossier().criteria().unwrap(), protocol().criteria);
        assert_eq!((dossier().endpoints(), dossier().arms()), (vec!["death"], vec!["one", "two"]));
        assert!(Dossier::read(b"{}").is_err());
        let read = |dossier: &Dossier| Dossier::read(&dossier.to_bytes());
        read(&dossier()).unwrap();
        let mut several = dossier();
        let group = several.study["contained"][0].clone();
        several.study["contained"] = json!([group.clone(), group]);
        read(&several).unwrap_err();
        let mut elsewhere = dossier();
        elsewhere.study["enrollment"][0]["reference"] = json!("Group/1");
        read(&elsewhere).unwrap_err();
        read(&Dossier { trial: B256::ZERO, ..dossier() }).unwrap_err();
        assert!(Dossier::read(&vec![b' '; DOSSIER_MAX + 1]).is_err());
    }
}
