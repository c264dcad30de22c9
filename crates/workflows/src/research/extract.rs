//! Extracts: ordered, made, delivered, used, and held against the chain.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolEvent as _, SolValue as _};
use bindings::{Contract, DataExchange, convert::make_id};
use domain::{Kind, KindSet, RecordDigest, RecordVersion, Timestamp, merkle};
use gatekeeper::Versions;
use ledger::CallError;
use serde_json::{Value, json};
use vault::{Content, NewRecord, PAGE_LEN_MAX, PublicKey, answer};

use super::{
    auditor::{CELL, Count, Withheld},
    cohort::{Permitted, fitting, population},
    deidentified::deidentify,
    document::{Document, preparing, said},
    memory::{Manifest, Memory},
    study::{offered, require_protocol, study},
};
use crate::{Gateway, Person, Step, WorkflowError};

/// What an extract is sealed for, beside the order's id.
const SEALED_FOR: &[u8] = b"salus/research-extract/v1";

/// The system of orders' ids in the records that tell patients of an extract.
const ORDER_SYSTEM: &str = "urn:salus:research-order";

/// The system of the salts of leaves there.
const SALT_SYSTEM: &str = "urn:salus:salt";

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Ordered, the price set aside.
    Placed,
    /// Delivered; the buyer can settle or dispute.
    Delivered,
    /// The buyer does not accept it.
    Disputed,
    /// The price is shared.
    Settled,
    /// The price is the buyer's again.
    Refunded,
}

/// An order as it stands on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// For which study.
    pub study: B256,
    /// Of which offer.
    pub offer: B256,
    /// Whose.
    pub buyer: Address,
    /// Where it stands.
    pub state: State,
    /// Whether somebody showed a patient without consent, or more patients than there should be.
    pub breached: bool,
    /// What it costs.
    pub price: u128,
    /// What each patient is paid, once it is settled.
    pub for_each: u128,
    /// The digest of the sealed extract; zero before there is one.
    pub extract: B256,
    /// How many patients are in it.
    pub patients: u32,
    /// How many of them have their share.
    pub paid: u32,
    /// How many uses were recorded.
    pub uses: u32,
    /// What chains the uses.
    pub use_head: B256,
}

/// Where a patient is in an extract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The salt of their leaf.
    pub salt: B256,
    /// The siblings from the leaf up.
    pub proof: Vec<B256>,
}

/// A recorded use of an extract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Its number, from 1.
    pub number: u32,
    /// Who used it, by member address.
    pub by: Address,
    /// The digest of what for.
    pub receipt: B256,
}

/// An institution orders an extract for a study of its own, of those who fit a question, under the terms that it
/// saw. The price is set aside from its balance.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the offer has other terms or it is no question, [`WorkflowError::Send`] when the
/// chain refuses: the offer is closed, the study another's or over, or there is too little money.
pub async fn order(
    buyer: &Gateway,
    study: B256,
    offer: B256,
    terms: &Document,
    question: &Document,
) -> Result<(B256, Step), WorkflowError> {
    question.criteria()?;
    if offered(buyer, offer).await?.terms != terms.digest() {
        return Err(WorkflowError::Invalid("the offer has other terms of use".into()));
    }
    let salt = buyer.make_salt();
    let query = question.digest();
    let call = DataExchange::orderCall { salt, study, offer_: offer, query };
    let outcome = buyer.sender().send(buyer.at(Contract::DataExchange), &call).await?;
    let what = "accepts the terms and orders an extract, with the price set aside";
    Ok((make_id(buyer.member(), salt), Step::new(&buyer.name, what, "research.order", &outcome)))
}

/// The source makes the extract that was ordered and delivers it: of those whose consent stands, de-identified,
/// sealed to the key that the buyer registered, and kept. Each patient in it is told in a record of their own.
///
/// # Errors
///
/// [`WorkflowError::Withheld`] when it would be of few people, [`WorkflowError::Invalid`] when protocol or question
/// are others or the buyer has no key, [`WorkflowError::Send`] when the chain refuses: it is late, or another's,
/// or somebody withdrew meanwhile. When only the records for the patients fail, the delivery stands, and
/// [`tell_patients`] tells them.
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
    let memory = Memory::open(source).await?;
    let recipient = registered_key(source, held.buyer, now).await?;
    let population = population(source, held.study, kinds, now).await?;
    let cohort = fitting(source, &population, kinds, &question.criteria()?, now).await?;
    let everybody = population.keys().copied().collect();
    memory.may_extract((held.study, id), &everybody, &cohort).await?;
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
    let root = tree(id, &manifest).ok_or(Withheld::TooFew)?.root();
    let digest = RecordDigest::of(&sealed).0;
    memory.keep(digest, &sealed, &manifest).await?;
    let sent = source.sender().send(exchange, &call(digest, root, count)).await;
    let outcome = match sent.map_err(WorkflowError::from) {
        Err(error) if error.is_refusal() => {
            memory.forget(digest).await?;
            return Err(error);
        }
        sent => sent?,
    };
    let what = format!("delivers an extract of {count} patients, sealed to the buyer");
    let delivered = Step::new(&source.name, what, "research.deliver", &outcome);
    let told = tell_patients(source, id, now).await?;
    Ok((sealed, vec![delivered, told]))
}

/// What may be given out of some patients' records, and whose it is.
async fn make(
    source: &Gateway,
    study: B256,
    population: &std::collections::BTreeMap<Address, Permitted>,
    cohort: &BTreeSet<Address>,
    kinds: KindSet,
    now: Timestamp,
) -> Result<(Vec<u8>, BTreeSet<Address>), WorkflowError> {
    let (keeper, reading) = (&source.gatekeeper, preparing(source));
    let mut resources: Vec<(Address, Value)> = Vec::new();
    for (patient, permitted) in population.iter().filter(|(patient, _)| cohort.contains(*patient)) {
        for records in permitted.records.chunks(PAGE_LEN_MAX) {
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
    if patients.len() < CELL {
        return Err(Withheld::TooFew.into());
    }
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
/// all.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when nothing was made for this order here.
pub async fn tell_patients(
    source: &Gateway,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let held = order_of(source, id).await?;
    let (_, manifest) = kept(source, id).await?;
    let record = |(patient, salt): &(Address, B256)| {
        let record = source.make_record_id();
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
    let records: Vec<NewRecord> = manifest.patients.iter().map(record).collect();
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
    Ok(Step::new(&source.name, what, "record.anchor-batch", &outcome))
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

/// The price is shared: the buyer says so, or anybody once the time to dispute is over.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else and too early, or it does not stand so.
pub async fn settle(gateway: &Gateway, id: B256) -> Result<Step, WorkflowError> {
    let call = DataExchange::settleCall { id };
    let outcome = gateway.sender().send(gateway.at(Contract::DataExchange), &call).await?;
    let events = outcome.events::<DataExchange::OrderSettled>();
    let what = events.first().map_or_else(String::new, |settled| {
        format!(
            ": {} to the source, {} to each of {} patients, {} back",
            settled.toSource, settled.forEach, settled.count, settled.toBuyer
        )
    });
    Ok(Step::new(&gateway.name, format!("settles{what}"), "research.settle", &outcome))
}

/// The buyer disputes a delivery. The reason stays with the buyer; the salt is what it was digested with.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, or too late.
pub async fn dispute(
    buyer: &Gateway,
    id: B256,
    reason: &str,
) -> Result<(B256, Step), WorkflowError> {
    let (salt, reason) = said(buyer, reason)?;
    let call = DataExchange::disputeCall { id, reason };
    let outcome = buyer.sender().send(buyer.at(Contract::DataExchange), &call).await?;
    Ok((salt, Step::new(&buyer.name, "disputes the delivery", "research.dispute", &outcome)))
}

/// An auditor of a regulator decides a dispute, or about a delivery to a buyer who was expelled.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, or of a party, or there is nothing to decide.
pub async fn resolve(
    regulator: &Gateway,
    auditor: &Person,
    id: B256,
    refund: bool,
) -> Result<Step, WorkflowError> {
    let call = DataExchange::resolveCall { id, refund };
    let outcome = auditor.sender.send(regulator.at(Contract::DataExchange), &call).await?;
    let (what, operation) = if refund {
        ("decides for the buyer", "research.resolve")
    } else {
        ("decides for the source", "research.resolve-for-source")
    };
    Ok(Step::new(&auditor.name, what, operation, &outcome))
}

/// Anybody gives the buyer the price back for what was not delivered in time.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is too early, or was delivered.
pub async fn reclaim(gateway: &Gateway, id: B256) -> Result<Step, WorkflowError> {
    let call = DataExchange::reclaimCall { id };
    let outcome = gateway.sender().send(gateway.at(Contract::DataExchange), &call).await?;
    let what = "takes the price back: nothing was delivered";
    Ok(Step::new(&gateway.name, what, "research.reclaim", &outcome))
}

/// Anybody gives the buyer what no patient claimed in time.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is too early, or nothing is left.
pub async fn return_shares(gateway: &Gateway, id: B256) -> Result<Step, WorkflowError> {
    let call = DataExchange::returnSharesCall { id };
    let outcome = gateway.sender().send(gateway.at(Contract::DataExchange), &call).await?;
    let what = "gives back what nobody claimed";
    Ok(Step::new(&gateway.name, what, "research.return-shares", &outcome))
}

/// Anybody who knows a patient's place shows that the patient was in an extract without consent.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the consent stood, or the patient is not there.
pub async fn challenge(
    gateway: &Gateway,
    id: B256,
    patient: Address,
    place: &Place,
) -> Result<Step, WorkflowError> {
    let (salt, proof) = (place.salt, place.proof.clone());
    let call = DataExchange::challengeCall { id, patient, salt, proof };
    let outcome = gateway.sender().send(gateway.at(Contract::DataExchange), &call).await?;
    let what = "shows a patient in the extract who had not consented";
    Ok(Step::new(&gateway.name, what, "research.challenge", &outcome))
}

/// A researcher of the buyer records a use, knowing of so many withdrawals. What for stays with them; the salt is
/// what it was digested with.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, nothing may be used any more, or somebody withdrew since.
pub async fn record_use(
    buyer: &Gateway,
    researcher: &Person,
    id: B256,
    what_for: &str,
    withdrawals: u32,
) -> Result<(B256, Step), WorkflowError> {
    let (salt, receipt) = said(buyer, what_for)?;
    let call = DataExchange::recordUseCall { id, receipt, withdrawals };
    let outcome = researcher.sender.send(buyer.at(Contract::DataExchange), &call).await?;
    let step = Step::new(&researcher.name, "records a use", "research.record-use", &outcome);
    Ok((salt, step))
}

/// The recorded uses of an extract, held against what chains them on chain.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the endpoint left one out or changed one.
pub async fn uses(gateway: &Gateway, id: B256) -> Result<Vec<Use>, WorkflowError> {
    let held = order_of(gateway, id).await?;
    let filter = Filter::new()
        .address(gateway.at(Contract::DataExchange))
        .event_signature(DataExchange::ExtractUsed::SIGNATURE_HASH)
        .topic1(id)
        .from_block(0);
    let ledger = gateway.gatekeeper.ledger();
    let logs = ledger.logs(&filter).await.map_err(CallError::from)?;
    let events =
        logs.iter().filter_map(|log| DataExchange::ExtractUsed::decode_log(&log.inner).ok());
    let (mut uses, mut head) = (Vec::new(), B256::ZERO);
    for event in events {
        let DataExchange::ExtractUsed { by, number, receipt, .. } = event.data;
        head = keccak256((head, number, receipt).abi_encode());
        uses.push(Use { number, by, receipt });
    }
    if head == held.use_head {
        return Ok(uses);
    }
    Err(WorkflowError::Invalid("the uses are not those that the chain holds".into()))
}

/// Where an order stands.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn order_of(gateway: &Gateway, id: B256) -> Result<Order, WorkflowError> {
    let call = DataExchange::orderOfCall { id };
    let (at, latest) = (gateway.at(Contract::DataExchange), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let state = match held.state {
        1 => State::Placed,
        2 => State::Delivered,
        3 => State::Disputed,
        4 => State::Settled,
        5 => State::Refunded,
        _ => return Err(WorkflowError::Unknown { what: "order", id }),
    };
    Ok(Order {
        study: held.study,
        offer: held.offer,
        buyer: held.buyer,
        state,
        breached: held.breached,
        price: held.price,
        for_each: held.forEach,
        extract: held.extract,
        patients: held.count,
        paid: held.paid,
        uses: held.uses,
        use_head: held.useHead,
    })
}

/// The digest of what was ordered, which only the event holds.
async fn ordered_query(gateway: &Gateway, id: B256) -> Result<B256, WorkflowError> {
    let filter = Filter::new()
        .address(gateway.at(Contract::DataExchange))
        .event_signature(DataExchange::ExtractOrdered::SIGNATURE_HASH)
        .topic1(id)
        .from_block(0);
    let logs = gateway.gatekeeper.ledger().logs(&filter).await.map_err(CallError::from)?;
    let mut events =
        logs.iter().filter_map(|log| DataExchange::ExtractOrdered::decode_log(&log.inner).ok());
    let event = events.next().ok_or(WorkflowError::Unknown { what: "order", id })?;
    Ok(event.data.query)
}
