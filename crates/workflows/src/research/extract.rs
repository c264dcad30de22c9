//! Extracts: made, delivered, and held against the chain.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::{Contract, DataExchange};
use domain::{Kind, KindSet, RecordDigest, RecordId, RecordVersion, Timestamp, merkle};
use gatekeeper::Versions;
use serde_json::{Value, json};
use vault::{Content, NewRecord, PAGE_LEN_MAX, PublicKey, answer};

use super::{
    auditor::{CELL, Count, Withheld},
    cohort::{Permitted, fitting, population, scope_of},
    deidentified::deidentify,
    document::{Document, preparing},
    memory::{Manifest, Memory},
    orders::{order_of, ordered_query},
    study::{require_protocol, study},
};
use crate::{Gateway, Step, WorkflowError};

/// What an extract is sealed for, beside the order's id.
const SEALED_FOR: &[u8] = b"salus/research-extract/v1";

/// The system of orders' ids in the records that tell patients of an extract.
const ORDER_SYSTEM: &str = "urn:salus:research-order";

/// The system of the salts of leaves there.
const SALT_SYSTEM: &str = "urn:salus:salt";

/// Where a patient is in an extract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The salt of their leaf.
    pub salt: B256,
    /// The siblings from the leaf up.
    pub proof: Vec<B256>,
}

/// The source makes the extract that was ordered and delivers it: of those whose consent stands, de-identified,
/// sealed to the key that the buyer registered, and kept. Each patient in it is told in a record of their own. What
/// broke off after the chain had taken it is finished, and the same extract is given back.
///
/// # Errors
///
/// [`WorkflowError::Withheld`] when it would be of few people, [`WorkflowError::Invalid`] when protocol or question
/// are others or the buyer has no key, [`WorkflowError::Send`] when the chain refuses: it is late, or another's,
/// or somebody withdrew meanwhile. When only the records for the patients fail, the delivery stands, and the same
/// again, or [`tell_patients`], tells them.
pub async fn deliver(
    source: &Gateway,
    id: B256,
    protocol: &Document,
    question: &Document,
    now: Timestamp,
) -> Result<(Vec<u8>, Vec<Step>), WorkflowError> {
    let held = order_of(source, id).await?;
    let studied = study(source, held.study).await?;
    let kinds = require_protocol(&studied, protocol)?;
    if ordered_query(source, id).await? != question.digest() {
        return Err(WorkflowError::Invalid("something else was ordered".into()));
    }
    let memory = Memory::open(source).await?;
    if let Some((sealed, _)) = memory.extract(held.extract).await? {
        return Ok((sealed, tell_patients(source, id, now).await?));
    }
    let exchange = source.at(Contract::DataExchange);
    let call = |extract, patients, count| DataExchange::deliverCall {
        id,
        extract,
        patients,
        count,
        withdrawals: studied.withdrawals,
    };
    // Nothing is read for what the contract refuses anyway.
    let any = B256::repeat_byte(1);
    source.sender().check(exchange, &call(any, any, Count::of(CELL).number())).await?;
    let recipient = registered_key(source, held.buyer, now).await?;
    let criteria = question.criteria()?;
    let population = population(source, held.study, (kinds, &criteria), now).await?;
    let cohort = fitting(source, &population, kinds, &criteria, now).await?;
    let (scope, everybody) = (scope_of(&criteria), population.keys().copied().collect());
    memory.may_extract(held.study, scope, &everybody, &cohort).await?;
    let (extract, patients) = make(source, held.study, &population, &cohort, kinds, now).await?;
    let count = u32::try_from(patients.len())
        .map_err(|_| WorkflowError::Invalid("an extract has fewer patients than 2^32".into()))?;
    let mut rng = source.gatekeeper.entropy().fork();
    let network = source.gatekeeper.domain();
    let sealed = answer::seal(&recipient, network, &sealed_for(id), &extract, &mut rng);
    let mut placed: Vec<(Address, B256)> =
        patients.into_iter().map(|patient| (patient, source.make_salt())).collect();
    // By what nobody but the two knows, so that a place says nothing of who it is.
    placed.sort_by_key(|(patient, salt)| leaf(id, *patient, *salt));
    let manifest = Manifest { patients: placed };
    let digest = RecordDigest::of(&sealed).0;
    let asked = (scope, &everybody, &cohort);
    memory.keep((held.study, digest), asked, &sealed, &manifest).await?;
    let root = tree(id, &manifest).ok_or(Withheld::TooFew)?.root();
    let sent = source.sender().send(exchange, &call(digest, root, count)).await;
    let outcome = match sent.map_err(WorkflowError::from) {
        Err(error) if error.is_refusal() => {
            memory.forget(held.study, digest).await?;
            return Err(error);
        }
        sent => sent?,
    };
    let what = format!("delivers an extract of {count} patients, sealed to the buyer");
    let delivered = Step::new(&source.name, what, "research.deliver", &outcome);
    protocol.keep_as(source, held.study, now).await;
    let mut steps = vec![delivered];
    steps.extend(tell_patients(source, id, now).await?);
    Ok((sealed, steps))
}

/// What may be given out of some patients' records, and whose it is.
async fn make(
    source: &Gateway,
    study: B256,
    population: &BTreeMap<Address, Permitted>,
    cohort: &BTreeSet<Address>,
    kinds: KindSet,
    now: Timestamp,
) -> Result<(Vec<u8>, BTreeSet<Address>), WorkflowError> {
    let (keeper, reading) = (&source.gatekeeper, preparing(source));
    let mut resources: Vec<(Address, Value)> = Vec::new();
    for (patient, permitted) in population.iter().filter(|(patient, _)| cohort.contains(*patient)) {
        for records in permitted.chunks(PAGE_LEN_MAX) {
            let (mut found, _) = keeper.find(reading, records, Versions::Current, now).await?;
            found.retain(|found| kinds.contains(found.entry().header.kind));
            let given = keeper.give(reading, found, now).await?;
            let bodies = given.iter().filter_map(|one| serde_json::from_str(one.body.get()).ok());
            resources.extend(bodies.map(|body| (*patient, body)));
        }
    }
    let pseudonym = |patient: Address| {
        let digest = source.keyed_digest(
            "salus/research-pseudonym/v1",
            &[study.as_slice(), patient.as_slice()].concat(),
        );
        alloy_primitives::hex::encode(&digest[..16])
    };
    let kept = deidentify(&resources, pseudonym);
    let patients: BTreeSet<Address> = kept.iter().map(|(patient, _)| *patient).collect();
    let entries: Vec<_> = kept.into_iter().map(|(_, one)| json!({ "resource": one })).collect();
    let bundle = json!({
        "resourceType": "Bundle",
        "meta": { "security": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
            "code": "PSEUDED",
        }] },
        "type": "collection",
        "entry": entries,
    });
    Ok((serde_json::to_vec(&bundle).expect("a JSON value has a text"), patients))
}

/// Tells each patient in a delivered extract in a record of their own, with the salt of their leaf: one batch for
/// all who were not told yet. No step when all were.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when nothing was made for this order here.
pub async fn tell_patients(
    source: &Gateway,
    id: B256,
    now: Timestamp,
) -> Result<Vec<Step>, WorkflowError> {
    let held = order_of(source, id).await?;
    let (_, manifest) = kept(source, id).await?;
    // The record has the same name each time, which nobody but the source can make: so nobody is told twice.
    let named = |patient: Address| {
        let about = [id.as_slice(), patient.as_slice()].concat();
        RecordId(source.keyed_digest("salus/research-told/v1", &about))
    };
    let record = |(patient, salt): &(Address, B256)| {
        let record = named(*patient);
        let resource = json!({
            "resourceType": "ResearchSubject",
            "id": format!("{:x}", record.0),
            "identifier": [
                { "system": ORDER_SYSTEM, "value": id.to_string() },
                { "system": SALT_SYSTEM, "value": salt.to_string() },
            ],
            "status": "on-study",
            "period": { "start": now.to_string() },
            "study": { "reference": format!("ResearchStudy/{:x}", held.study) },
            "individual": { "reference": format!("Patient/{patient}") },
        });
        NewRecord {
            record,
            version: RecordVersion::FIRST,
            patient: *patient,
            kind: Kind::Research,
            content: Content::FhirJson,
            author: source.member(),
            created: now,
            body: serde_json::to_vec(&resource).expect("a JSON value has a text"),
        }
    };
    let mut records: Vec<NewRecord> = Vec::new();
    for place in &manifest.patients {
        if source.gatekeeper.vault().head(named(place.0)).await?.is_none() {
            records.push(record(place));
        }
    }
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let catalogued: Vec<_> = records.iter().map(|record| source.along(record)).collect();
    let along: vault::Along<'_> = Box::new(move |transaction| {
        Box::pin(async move {
            for one in catalogued {
                one(transaction).await?;
            }
            Ok(())
        })
    });
    let (_, _, outcome) = source.gatekeeper.put_and_anchor_along(records, along).await?;
    let what = "tells the patients, each in a record of their own";
    Ok(vec![Step::new(&source.name, what, "record.anchor-batch", &outcome)])
}

fn sealed_for(id: B256) -> Vec<u8> {
    [SEALED_FOR, id.as_slice()].concat()
}

/// The key that a member registered to have things sealed to.
async fn registered_key(
    source: &Gateway,
    member: Address,
    now: Timestamp,
) -> Result<PublicKey, WorkflowError> {
    source.gatekeeper.refresh(now).await?;
    let projection = source.gatekeeper.projection().await;
    let profile = projection.registry.profile(&member);
    let key = profile.and_then(|profile| PublicKey::from_bytes(&profile.hpke_key).ok());
    key.ok_or_else(|| WorkflowError::Invalid("the buyer has registered no key".into()))
}

/// The leaf of a patient.
///
/// # Source
///
/// The header of `DataExchange.sol`.
fn leaf(order: B256, patient: Address, salt: B256) -> B256 {
    merkle::leaf(keccak256((order, patient, salt).abi_encode()))
}

fn tree(order: B256, manifest: &Manifest) -> Option<merkle::Tree> {
    let leaves = manifest.patients.iter().map(|(patient, salt)| leaf(order, *patient, *salt));
    merkle::Tree::new(leaves.collect())
}

async fn kept(source: &Gateway, id: B256) -> Result<(Vec<u8>, Manifest), WorkflowError> {
    let digest = order_of(source, id).await?.extract;
    let kept = Memory::open(source).await?.extract(digest).await?;
    kept.ok_or(WorkflowError::Unknown { what: "extract", id })
}

/// Where a patient is in an extract that a source made: what they need for their share, and nobody else has.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is no such extract here, or the patient is not in it.
pub async fn share(source: &Gateway, id: B256, patient: Address) -> Result<Place, WorkflowError> {
    let (_, manifest) = kept(source, id).await?;
    let place = manifest.patients.iter().position(|(held, _)| *held == patient);
    let found = place.and_then(|place| {
        let proof = tree(id, &manifest)?.proof(place)?;
        Some(Place { salt: manifest.patients[place].1, proof })
    });
    found.ok_or(WorkflowError::Unknown { what: "extract with this patient", id })
}

/// The sealed extract of an order, which its source keeps to give out again.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when none was made here.
pub async fn sealed(source: &Gateway, id: B256) -> Result<Vec<u8>, WorkflowError> {
    Ok(kept(source, id).await?.0)
}

/// The buyer opens an extract: a FHIR Bundle, once it was held against the chain.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when it is not what was delivered, or for somebody else.
pub async fn open(buyer: &Gateway, id: B256, sealed: &[u8]) -> Result<Vec<u8>, WorkflowError> {
    if !verify(buyer, id, sealed).await? {
        return Err(WorkflowError::Invalid("this is not the extract that was delivered".into()));
    }
    let network = buyer.gatekeeper.domain();
    answer::open(&buyer.secret, network, &sealed_for(id), sealed)
        .map_err(|error| WorkflowError::Invalid(error.to_string()))
}

/// Whether bytes are the extract that was delivered, as it was sealed. Anybody who has them can ask.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when nothing was ordered under this id.
pub async fn verify(gateway: &Gateway, id: B256, sealed: &[u8]) -> Result<bool, WorkflowError> {
    order_of(gateway, id).await?;
    let call = DataExchange::verifyCall { id, extract: RecordDigest::of(sealed).0 };
    let (at, latest) = (gateway.at(Contract::DataExchange), Default::default());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}
