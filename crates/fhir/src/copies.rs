//! Copies of other stewards' records that arrived here, as resources of this server.
//!
//! What a copy says of itself was said at its steward's server, where the same type and id may be somebody
//! else's. So everything in it is given a name of this server that no resource of its own has:
//!
//! ```text
//! copy.0123456789abcdef.ID        of the steward whose address begins with these 8 bytes, the resource
//!                                 with that id there; a longer id than fits is 32 digits of its hash
//! copy.0123456789abcdef.ACCOUNT   as a Patient: whoever the chain says the record is about
//! ```
//!
//! References inside are changed in the same way, so that what refers to each other there does so here,
//! and nothing refers to what happens to have that name here. Whom a record is about the chain says, not
//! the steward: its subject is the patient of that account. Whoever searches for a patient of this server
//! finds what is said of the same account in copies. `meta.source` names the steward. All else is the text
//! that came.
//!
//! A later version of a copy has the type and the id of the one that is kept, or says that it was deleted.
//! One that is another resource is neither found nor given out: what a token lets somebody read goes by the
//! type and the id that are known here.
//!
//! Copies are read here and written at their steward: such ids are given to nothing else. What is found is
//! decided on as ever; a copy that does not open any more is not found, though the index knows it.

use std::borrow::Cow;

use alloy_primitives::keccak256;
use axum::http::StatusCode;
use domain::{Address, Purpose, RecordDigest};
use gatekeeper::{Reading, Versions};
use serde_json::Value;
use sqlx::Row as _;
use vault::{Entry, StoreError};

use crate::{
    caller::reader_at,
    catalogue::{account_in, patient_with},
    derived::MEMBER_SYSTEM,
    dispatch::TYPES,
    json::RawObject,
    outcome::FhirError,
    resources::Resources,
    subject::subjects,
    tables::{Deletion, Filed, Row},
};

/// What the ids of copies begin with.
const PREFIX: &str = "copy.";

/// The longest id.
///
/// # Source
///
/// FHIR R4, data type `id`.
const ID_LEN_MAX: usize = 64;

/// How many copies that are not indexed are looked for at a time.
const INDEXED_AT_ONCE: i64 = 500;

/// For what an institution may hold copies.
const PURPOSES: [Purpose; 6] = [
    Purpose::Treatment,
    Purpose::Payment,
    Purpose::Research,
    Purpose::Operations,
    Purpose::PublicHealth,
    Purpose::Legal,
];

/// Whether a resource with this id is a copy.
pub(crate) fn is_copy(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// Refuses to write what is a copy, or would look like one.
pub(crate) fn refuse_to_write(id: &str) -> Result<(), FhirError> {
    if !is_copy(id) {
        return Ok(());
    }
    let text =
        "such ids are those of copies, which are changed at the institution that keeps the record";
    Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text))
}

/// The names that one steward's resources have here, in a record about one account.
struct Names<'a> {
    prefix: String,
    account: Address,
    /// How the record refers to the patient whom it is about.
    subject: Option<&'a str>,
}

impl<'a> Names<'a> {
    fn new(steward: Address, account: Address, resource: &'a Value) -> Self {
        let prefix = format!("{PREFIX}{}.", hex::encode(&steward[..8]));
        let subject = subjects(resource).find(|reference| reference.contains("Patient/"));
        Self { prefix, account, subject }
    }

    /// The id here of what has that id there.
    fn id(&self, id: &str) -> String {
        if self.prefix.len() + id.len() <= ID_LEN_MAX {
            return format!("{}{id}", self.prefix);
        }
        let digest = keccak256(id.as_bytes());
        format!("{}{}", self.prefix, hex::encode(&digest[..16]))
    }

    fn patient_id(&self) -> String {
        format!("{}{}", self.prefix, hex::encode(self.account))
    }

    /// The type and the id here of what came; `None` when it is none of the types that are served.
    fn name_of<'r>(&self, resource: &'r Value) -> Option<(&'r str, String)> {
        let resource_type =
            resource["resourceType"].as_str().filter(|name| TYPES.contains(name))?;
        let id = match resource_type {
            "Patient" => self.patient_id(),
            _ => self.id(resource["id"].as_str().filter(|id| r4::is_id(id))?),
        };
        Some((resource_type, id))
    }

    /// The reference here; `None` when it is none of that server's resources.
    fn reference(&self, reference: &str) -> Option<String> {
        if Some(reference) == self.subject {
            return Some(format!("Patient/{}", self.patient_id()));
        }
        let (resource_type, rest) = reference.split_once('/')?;
        let (id, version) =
            rest.split_once('/').map_or((rest, None), |(id, rest)| (id, Some(rest)));
        if !TYPES.contains(&resource_type) || !r4::is_id(id) {
            return None;
        }
        // The same patient, named again or with a version.
        let subject = self.subject.and_then(|subject| subject.strip_prefix("Patient/"));
        let subject = subject.and_then(|subject| subject.split('/').next());
        if resource_type == "Patient" && subject == Some(id) {
            return Some(format!("Patient/{}", self.patient_id()));
        }
        let version = version.map(|version| format!("/{version}")).unwrap_or_default();
        Some(format!("{resource_type}/{}{version}", self.id(id)))
    }

    /// A resource with its references as they are here. Nothing else of the text changes.
    fn localise(&self, text: &str) -> String {
        let mut localised = String::with_capacity(text.len() + 256);
        let mut rest = text;
        // The name of the member whose value comes next.
        let mut member = Cow::Borrowed("");
        while let Some(start) = rest.find('"') {
            let token = &rest[start..start + string_len(&rest[start..])];
            let after = &rest[start + token.len()..];
            localised.push_str(&rest[..start]);
            let is_name = after.trim_start().starts_with(':');
            let string: String = serde_json::from_str(token).unwrap_or_default();
            if is_name {
                member = Cow::Owned(string);
                localised.push_str(token);
            } else {
                let is_address = matches!(&*member, "reference" | "url");
                match self.reference(&string).filter(|_| is_address) {
                    Some(here) => localised.push_str(&Value::from(here).to_string()),
                    None => localised.push_str(token),
                }
                member = Cow::Borrowed("");
            }
            rest = after;
        }
        localised.push_str(rest);
        localised
    }
}

/// The length of the JSON string at the beginning of a text, with its quotes.
fn string_len(text: &str) -> usize {
    let mut is_escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// What came, when it can be given out: a resource in which no name comes twice.
fn resource_in(text: &str) -> Option<Value> {
    let object = RawObject::parse(text.as_bytes()).ok()?;
    if let Some(meta) = object.get("meta") {
        RawObject::parse(meta.get().as_bytes()).ok()?;
    }
    serde_json::from_str(text).ok()
}

/// The text of a version of a copy as it is given out here, before the server sets what it sets; `None` when
/// it is not the resource that the row says, or none.
pub(crate) fn text_of(row: &Row, text: &str, steward: Address, account: Address) -> Option<String> {
    let resource = resource_in(text)?;
    let names = Names::new(steward, account, &resource);
    let (resource_type, id) = names.name_of(&resource)?;
    (row.resource_type == resource_type && row.id == id).then(|| names.localise(text))
}

/// What `meta.source` of a copy says: whose server it came from.
pub(crate) fn source_of(steward: Address) -> String {
    format!("{MEMBER_SYSTEM}:{steward}")
}

/// A copy as it is to be found.
struct Copy {
    row: Row,
    /// The resource with its names here; `None` in a version that says that it was deleted.
    value: Option<Value>,
}

impl Copy {
    /// Whether it is a version of the resource that is kept.
    fn is_version_of(&self, kept: &Row) -> bool {
        let Row { resource_type, id, .. } = &self.row;
        self.value.is_none() || *resource_type == kept.resource_type && *id == kept.id
    }
}

impl Resources {
    /// Makes copies that arrived findable; returns how many were. What is not a copy of a resource, or may
    /// not be read by this institution now, is left out.
    ///
    /// # Errors
    ///
    /// [`FhirError`] when the database failed, or too little is known of the chain.
    pub async fn index_copies(&self, digests: &[RecordDigest]) -> Result<u64, FhirError> {
        let mut indexed = 0;
        for digest in digests {
            let found = self.gatekeeper().vault().find(*digest).await?;
            let Some(entry) = found.filter(|entry| !entry.is_erased) else { continue };
            if entry.header.steward == self.gatekeeper().member() {
                continue;
            }
            let Some(copy) = self.copy_of(&entry).await? else { continue };
            indexed += u64::from(self.index_copy(copy).await?);
        }
        Ok(indexed)
    }

    /// Makes every copy findable that is not; returns how many were.
    ///
    /// # Errors
    ///
    /// As [`Resources::index_copies`].
    pub async fn index_all_copies(&self) -> Result<u64, FhirError> {
        let (mut indexed, mut after) = (0, Vec::new());
        loop {
            let rows = sqlx::query(
                "select r.digest from records r where r.steward <> $1 and r.digest > $2
                and not exists (select 1 from fhir_resources f
                    where f.patient = r.patient and f.record = r.record and f.version >= r.version)
                order by r.digest limit $3",
            )
            .bind(self.gatekeeper().member().to_vec())
            .bind(after)
            .bind(INDEXED_AT_ONCE)
            .fetch_all(self.database().readers())
            .await?;
            let Some(last) = rows.last() else { return Ok(indexed) };
            after = last.try_get(0)?;
            let digests = rows.iter().filter_map(|row| {
                let bytes: Vec<u8> = row.try_get(0).ok()?;
                Some(RecordDigest(bytes.as_slice().try_into().ok()?))
            });
            let digests: Vec<_> = digests.collect();
            indexed += self.index_copies(&digests).await?;
        }
    }

    /// What a copy is, when this institution may read it now for any purpose. Nothing of it is given out:
    /// the index has keyed digests only.
    async fn copy_of(&self, entry: &Entry) -> Result<Option<Copy>, FhirError> {
        let gatekeeper = self.gatekeeper();
        let (now, own) = (self.now(), gatekeeper.member());
        let reader = reader_at(&*gatekeeper.projection().await, own, own, now);
        let Some(reader) = reader else { return Ok(None) };
        let mut found = Vec::new();
        for purpose in PURPOSES {
            let reading = Reading { reader, purpose };
            let records = [entry.header.record];
            (found, _) = gatekeeper.find(reading, &records, Versions::Newest, now).await?;
            if !found.is_empty() {
                break;
            }
        }
        let looked = gatekeeper.look_at(found, |entry, record| copy(entry, record.body.get()));
        Ok(looked.await?.into_iter().next().and_then(|(_, copy)| copy))
    }

    async fn index_copy(&self, copy: Copy) -> Result<bool, FhirError> {
        let Copy { row, value } = &copy;
        let Some(filed) = row.record else { return Ok(false) };
        let mut transaction = self.database().begin().await?;
        let kept = Row::of_record(&mut transaction, filed.patient, filed.record).await?;
        let number = match kept {
            None if value.is_none() => return Ok(false),
            None => {
                let number = Row::next_number(&mut transaction).await?;
                match row.insert(&mut transaction, number).await {
                    Ok(()) => number,
                    Err(StoreError::Overtaken) => {
                        let record = filed.record;
                        tracing::warn!(%record, "a copy has the id of another one and is not found");
                        return Ok(false);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // A record of this server's own, or what is known already.
            Some(kept) if !is_copy(&kept.id) || kept.version >= row.version => return Ok(false),
            Some(kept) if !copy.is_version_of(&kept) => {
                let record = filed.record;
                tracing::warn!(%record, "a version of a copy is another resource and is not found");
                return Ok(false);
            }
            Some(kept) => {
                row.bring_up(&mut transaction, kept.number).await?;
                kept.number
            }
        };
        let index = &self.inner.index;
        match value {
            Some(value) => {
                index.put(&mut transaction, number, &row.resource_type, value).await?;
            }
            None => index.remove(&mut transaction, number).await?,
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// The pairs of a search, with the patients of copies and of workflows' documents beside those of this
    /// server who have the same account.
    ///
    /// # Errors
    ///
    /// [`FhirError`] when the database failed.
    pub(crate) async fn with_patients_of_copies(
        &self,
        pairs: &[(String, String)],
    ) -> Result<Vec<(String, String)>, FhirError> {
        let mut with = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let relative = self.relative(value);
            let others = match patient_named(name, &relative) {
                Some(id) => self.same_patients(id).await?,
                None => Vec::new(),
            };
            let others = others.iter().map(|other| format!(",{other}"));
            with.push((name.clone(), relative + &others.collect::<String>()));
        }
        Ok(with)
    }

    /// Who else has the account of a patient, as `Patient/id`: those of copies, and whoever workflows name by
    /// the account. An institution's own patients stay apart, though they may have one account: it keeps them
    /// so. Whoever is named by the account is all of them.
    pub(crate) async fn same_patients(&self, id: &str) -> Result<Vec<String>, FhirError> {
        let mut connection = self.database().readers().acquire().await?;
        let by_account = account_in(id);
        let account = match by_account {
            Some(account) => account,
            None => {
                let row = Row::find(&mut connection, "Patient", id).await?;
                let Some(filed) = row.and_then(|row| row.record) else { return Ok(Vec::new()) };
                filed.patient
            }
        };
        let rows = Row::patients_with(&mut connection, account).await?;
        let others = rows.into_iter().map(|row| row.id);
        let others = others.filter(|other| by_account.is_some() || is_copy(other));
        let others = others.filter(|other| other != id).map(|other| format!("Patient/{other}"));
        Ok(others.chain([patient_with(account)]).collect())
    }
}

/// The one patient whom a search parameter names.
fn patient_named<'v>(name: &str, value: &'v str) -> Option<&'v str> {
    let named = value.strip_prefix("Patient/");
    let id = match name {
        "patient" | "patient:Patient" | "subject:Patient" | "beneficiary" => {
            Some(named.unwrap_or(value))
        }
        "subject" | "individual" | "actor" => named,
        _ => None,
    };
    id.filter(|id| r4::is_id(id))
}

/// What a version of a copy is here; `None` when it is none of the types that are served.
fn copy(entry: &Entry, text: &str) -> Option<Copy> {
    let (steward, patient) = (entry.header.steward, entry.patient);
    let filed = Filed { record: entry.header.record, patient, kind: entry.header.kind };
    let row = |resource_type: &str, id: String, deletion| Row {
        number: 0,
        resource_type: resource_type.into(),
        id,
        record: Some(filed),
        version: entry.header.version.get(),
        updated: i64::try_from(entry.header.created.0).unwrap_or_default().saturating_mul(1_000),
        deletion,
        status: None,
    };
    if !text.starts_with('{') {
        // Of which type it was, only the version before says, if it is here.
        return Some(Copy { row: row("", String::new(), Deletion::Done), value: None });
    }
    let resource = resource_in(text)?;
    let names = Names::new(steward, patient, &resource);
    let (resource_type, id) = names.name_of(&resource)?;
    let value = serde_json::from_str(&names.localise(text)).ok()?;
    Some(Copy { row: row(resource_type, id, Deletion::No), value: Some(value) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STEWARD: Address = Address::repeat_byte(0x11);
    const ACCOUNT: Address = Address::repeat_byte(0xaa);

    fn patient() -> String {
        format!("Patient/copy.1111111111111111.{}", "aa".repeat(20))
    }

    fn localised(text: &str, steward: Address, account: Address) -> String {
        let resource: Value = serde_json::from_str(text).unwrap_or_default();
        Names::new(steward, account, &resource).localise(text)
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(localised(text, STEWARD, ACCOUNT), expected.replace("PATIENT", &patient()));
    }

    #[test]
    fn references_lead_to_copies_and_nothing_else_changes() {
        check(
            r#"{ "subject": {"reference": "Patient/7"}, "value": 1.10, "note": "Patient/7" }"#,
            r#"{ "subject": {"reference": "PATIENT"}, "value": 1.10, "note": "Patient/7" }"#,
        );
        check(
            r#"{"subject":{"reference":"Patient\/7"},"focus":[{"reference":"Patient/7/_history/2"}]}"#,
            r#"{"subject":{"reference":"PATIENT"},"focus":[{"reference":"PATIENT"}]}"#,
        );
        check(
            r#"{"subject":{"reference":"https://x/fhir/Patient/7"}}"#,
            r#"{"subject":{"reference":"PATIENT"}}"#,
        );
        check(
            r#"{"performer":[{"reference":"Practitioner/a"}],"content":{"url":"Binary/b"}}"#,
            r#"{"performer":[{"reference":"Practitioner/copy.1111111111111111.a"}],"content":{"url":"Binary/copy.1111111111111111.b"}}"#,
        );
        let others = [
            r##"{"a":{"reference":"#p"},"b":{"reference":"urn:uuid:1"},"url":"http://x/Binary/1"}"##,
            r#"{"reference":{"display":"Patient/7"},"b":"a\"reference\":\"Patient/7"}"#,
            r#"{"a":{"reference":"Nothing/7"},"b":{"reference":"Patient/not an id"}}"#,
        ];
        for text in others {
            check(text, text);
        }
    }

    #[test]
    fn no_id_of_a_copy_is_longer_than_an_id() {
        let resource = Value::Null;
        let names = Names::new(STEWARD, ACCOUNT, &resource);
        for length in 1..=64 {
            let id = names.id(&"x".repeat(length));
            assert!(r4::is_id(&id) && is_copy(&id), "{id}");
        }
        assert_ne!(names.id(&"x".repeat(63)), names.id(&"x".repeat(64)));
        assert!(r4::is_id(&names.patient_id()));
        assert!(refuse_to_write(&names.id("1")).is_err() && refuse_to_write("1").is_ok());
    }

    #[test]
    fn searches_name_patients_in_these_ways() {
        let check = |name, value, expected| {
            assert_eq!(patient_named(name, value), expected, "{name}={value}");
        };
        check("patient", "7", Some("7"));
        check("patient", "Patient/7", Some("7"));
        check("subject", "Patient/7", Some("7"));
        check("subject", "7", None);
        check("subject", "Group/7", None);
        check("patient", "7,8", None);
        check("patient.name", "7", None);
        check("code", "7", None);
    }

    /// What a token allows goes by type and id, which a steward must not change behind it.
    #[test]
    fn a_version_that_is_another_resource_is_not_given_out() {
        let filed = Filed {
            record: domain::RecordId(alloy_primitives::B256::ZERO),
            patient: ACCOUNT,
            kind: domain::Kind::Laboratory,
        };
        let row = |resource_type: &str, id: &str| Row {
            number: 1,
            resource_type: resource_type.into(),
            id: id.into(),
            record: Some(filed),
            version: 1,
            updated: 0,
            deletion: Deletion::No,
            status: None,
        };
        let kept = row("Observation", "copy.1111111111111111.1");
        let check = |text: &str, is_version: bool| {
            assert_eq!(text_of(&kept, text, STEWARD, ACCOUNT).is_some(), is_version, "{text}");
        };
        let result = r#"{"resourceType":"Observation","id":"1"}"#;
        check(result, true);
        check(r#"{"resourceType":"Condition","id":"1"}"#, false);
        check(r#"{"resourceType":"Observation","id":"2"}"#, false);
        check(r#"{"resourceType":"Observation"}"#, false);
        // What readers would differ on is as if it had not come.
        check(r#"{"resourceType":"Condition","resourceType":"Observation","id":"1"}"#, false);
        check(r#"{"resourceType":"Observation","id":"1","meta":"none"}"#, false);
        // One that says that it was deleted has neither type nor id, and is one all the same.
        check("", false);
        let copy = |value: Option<&str>, row: Row| Copy {
            row,
            value: value.map(|text| serde_json::from_str(text).unwrap()),
        };
        assert!(copy(None, row("", "")).is_version_of(&kept));
        assert!(copy(Some(result), kept.clone()).is_version_of(&kept));
        assert!(!copy(Some(result), row("Condition", &kept.id)).is_version_of(&kept));
        assert!(
            !copy(Some(result), row("Observation", "copy.1111111111111111.2")).is_version_of(&kept)
        );
    }

    #[test]
    fn a_copy_without_an_id_is_not_found() {
        let text = json!({ "resourceType": "Observation" }).to_string();
        let resource: Value = serde_json::from_str(&text).unwrap();
        assert!(Names::new(STEWARD, ACCOUNT, &resource).subject.is_none());
        assert_eq!(localised("no JSON", STEWARD, ACCOUNT), "no JSON");
    }
}
