//! Whom a study may learn of, and how many of them fit a question. Records are read as the source itself, for
//! research: only what the patient consented to is opened, and each patient has a receipt of it.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolEvent as _, SolValue as _};
use bindings::{Contract, DataExchange};
use domain::{
    KindSet, Outcome, ProfessionalRole, Reader, RecordDigest, RecordId, RelationshipState,
    Timestamp,
};
use gatekeeper::{Found, Versions};
use ledger::CallError;
use serde_json::Value;
use vault::{Listing, PAGE_LEN_MAX};

use super::{
    auditor::{CELL, Count, Scope},
    deidentified::codes_of,
    document::{Criterion, Document, preparing},
    memory::Memory,
    study::{require_protocol, study},
};
use crate::{Gateway, Person, Step, WorkflowError};

/// A question as a researcher signs it, for one source and study.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The question.
    pub question: Document,
    /// The researcher's signature.
    pub signature: alloy_primitives::Signature,
}

/// What a researcher signs: the question is for this source and study, in this network.
fn asking_digest(source: &Gateway, study: B256, question: &Document) -> B256 {
    let network = source.gatekeeper.domain();
    let said = (
        "salus/research-question/v1".to_owned(),
        network.chain_id,
        source.at(Contract::DataExchange),
        source.member(),
        study,
        question.digest(),
    );
    keccak256(said.abi_encode_params())
}

/// A researcher asks a source how many fit a question.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the key cannot sign.
pub async fn ask(
    source: &Gateway,
    researcher: &Person,
    study: B256,
    question: Document,
) -> Result<Asked, WorkflowError> {
    let digest = asking_digest(source, study, &question);
    let signature = researcher.sender.sign_hash(&digest).await?;
    Ok(Asked { question, signature })
}

/// A source answers how many of its patients who consented to a study fit a question: rounded down, nothing of
/// few, and only when no answer before it makes few of it. `protocol` says what kinds are looked at.
///
/// # Errors
///
/// [`WorkflowError::Withheld`] when it would tell of few people, [`WorkflowError::Invalid`] when it was not asked
/// by a researcher of the study, [`WorkflowError::Send`] when the chain refuses: the study is not approved, or over,
/// or had an answer to this question. What was not sent is asked for again with the same question, and only with that.
pub async fn count(
    source: &Gateway,
    id: B256,
    protocol: &Document,
    asked: &Asked,
    now: Timestamp,
) -> Result<(Count, Step), WorkflowError> {
    let held = study(source, id).await?;
    let kinds = require_protocol(&held, protocol)?;
    require_asked(source, id, held.institution, asked, now).await?;
    let criteria = asked.question.criteria()?;
    let query = asked.question.digest();
    let scope = scope_of(&criteria);
    // At least so many from all that it was held against; how many, is nobody's business. Fewer than five, and everybody,
    // are held against nothing, and zero promises nothing.
    let is_held_against = |count: Count| scope != Scope::Everybody && count != Count::Suppressed;
    let call = |count: Count| DataExchange::answerCall {
        study: id,
        query,
        count: count.number(),
        leastDifference: if is_held_against(count) { Count::of(CELL).number() } else { 0 },
    };
    // What the chain refuses anyway is not looked for.
    let exchange = source.at(Contract::DataExchange);
    source.sender().check(exchange, &call(Count::Suppressed)).await?;
    let memory = Memory::open(source).await?;
    let population = population(source, id, (kinds, &criteria), now).await?;
    let cohort = fitting(source, &population, kinds, &criteria, now).await?;
    let everybody = population.into_keys().collect();
    let count = memory.count((id, query), scope, &everybody, &cohort).await?;
    let outcome = source.sender().send(exchange, &call(count)).await?;
    let what = format!("answers how many fit a question: {count}");
    Ok((count, Step::new(&source.name, what, "research.answer", &outcome)))
}

/// A question comes from a researcher of the study's institution who is accredited now.
async fn require_asked(
    source: &Gateway,
    study: B256,
    institution: Address,
    asked: &Asked,
    now: Timestamp,
) -> Result<(), WorkflowError> {
    source.gatekeeper.refresh(now).await?;
    let digest = asking_digest(source, study, &asked.question);
    let signer = asked.signature.recover_address_from_prehash(&digest).ok();
    let projection = source.gatekeeper.projection().await;
    let reader = signer.and_then(|signer| projection.registry.reader(&signer, now));
    match reader {
        Some(Reader::Professional {
            role: ProfessionalRole::Researcher, institution: of, ..
        }) if of == institution => Ok(()),
        _ => {
            let text = "a question is signed by a researcher of the study, for this source";
            Err(WorkflowError::Invalid(text.into()))
        }
    }
}

/// Of whom criteria ask, whatever question they stand in.
pub(super) fn scope_of(criteria: &[Criterion]) -> Scope {
    if criteria.is_empty() {
        return Scope::Everybody;
    }
    let named = |one: &Criterion| (one.excluded, one.system.clone(), one.code.clone());
    let criteria: BTreeSet<_> = criteria.iter().map(named).collect();
    let text = serde_json::to_vec(&criteria).expect("texts have a JSON form");
    Scope::Fitting(RecordDigest::of(&text).0)
}

/// What may be read of a patient for a study: the records.
pub(super) type Permitted = Vec<RecordId>;

/// The source's patients whose consent to a study stands and who let the source read for research, each with
/// the records that may be read. Each has a receipt before anything of theirs is opened, which names what
/// [`fitting`] looks at by these criteria; whoever consented to the study and let nothing be read has one of the
/// refusal.
pub(super) async fn population(
    source: &Gateway,
    study: B256,
    (kinds, criteria): (KindSet, &[Criterion]),
    now: Timestamp,
) -> Result<BTreeMap<Address, Permitted>, WorkflowError> {
    let (keeper, reading) = (&source.gatekeeper, preparing(source));
    let is_looked_at = !criteria.is_empty();
    keeper.refresh(now).await?;
    let mut population = BTreeMap::new();
    for patient in consenting(source, study).await? {
        let (mut records, mut looked_at) = (Vec::new(), Vec::new());
        let (mut basis, mut refusal) = (None, None);
        let listing = Listing { patient, steward: Some(source.member()), kinds };
        let mut after = None;
        loop {
            let page = keeper.vault().list(&listing, after, PAGE_LEN_MAX).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.header.record);
            let ids: Vec<_> = page.iter().map(|entry| entry.header.record).collect();
            let (found, refused) = keeper.find(reading, &ids, Versions::Current, now).await?;
            basis = basis.or(found.first().map(Found::basis));
            records.extend(found.iter().map(|found| found.entry().header.record));
            let meant = found.iter().map(Found::entry).filter(|_| is_looked_at);
            looked_at.extend(meant.map(|entry| (entry.header.record, entry.digest)));
            refusal = refusal.or_else(|| refused.get(&patient).map(|(_, reason)| *reason));
        }
        let outcome = match refusal {
            Some(refusal) if records.is_empty() => Outcome::refused(refusal),
            _ if records.is_empty() => {
                keeper.outcome_of_nothing(reading, patient, kinds, now).await
            }
            _ => Outcome::Allowed { records: looked_at, basis },
        };
        let is_allowed = outcome.is_allowed();
        keeper.note(reading, patient, kinds, outcome, now).await?;
        if is_allowed {
            population.insert(patient, records);
        }
    }
    Ok(population)
}

/// The source's own patients whose consent to a study stands.
async fn consenting(source: &Gateway, study: B256) -> Result<Vec<Address>, WorkflowError> {
    let (keeper, exchange) = (&source.gatekeeper, source.at(Contract::DataExchange));
    let filter = Filter::new()
        .address(exchange)
        .event_signature(DataExchange::StudyConsented::SIGNATURE_HASH)
        .topic1(study)
        .from_block(0);
    let logs = keeper.ledger().logs(&filter).await.map_err(CallError::from)?;
    let events =
        logs.iter().filter_map(|log| DataExchange::StudyConsented::decode_log(&log.inner).ok());
    let mut patients: BTreeSet<Address> = events.map(|event| event.data.patient).collect();
    {
        // Anybody can consent; who is not a patient here costs no further look.
        let projection = keeper.projection().await;
        let is_own = |patient: &Address| {
            let held = projection.consents.relationship(*patient, source.member());
            held.is_some_and(|held| held.state == Some(RelationshipState::Active))
        };
        patients.retain(is_own);
    }
    let mut standing = Vec::new();
    for patient in patients {
        let call = DataExchange::consentsCall { study, patient };
        if keeper.ledger().call(exchange, &call, Default::default()).await? {
            standing.push(patient);
        }
    }
    Ok(standing)
}

/// Who of a population fits a question. Records are looked at and not given out; [`population`] left the receipts.
pub(super) async fn fitting(
    source: &Gateway,
    population: &BTreeMap<Address, Permitted>,
    kinds: KindSet,
    criteria: &[Criterion],
    now: Timestamp,
) -> Result<BTreeSet<Address>, WorkflowError> {
    if criteria.is_empty() {
        return Ok(population.keys().copied().collect());
    }
    let (keeper, reading) = (&source.gatekeeper, preparing(source));
    let mut cohort = BTreeSet::new();
    for (patient, permitted) in population {
        let mut has = vec![false; criteria.len()];
        for records in permitted.chunks(PAGE_LEN_MAX) {
            let (found, _) = keeper.find(reading, records, Versions::Current, now).await?;
            let looked_at = keeper.look_at(found, |entry, record| {
                let is_meant = kinds.contains(entry.header.kind);
                let body: Value = serde_json::from_str(record.body.get()).unwrap_or_default();
                let codes = if is_meant { codes_of(&body) } else { Vec::new() };
                let fits = |one: &Criterion| {
                    codes.iter().any(|(system, code)| (system, code) == (&one.system, &one.code))
                };
                criteria.iter().map(fits).collect::<Vec<_>>()
            });
            for (_, fits) in looked_at.await? {
                has.iter_mut().zip(fits).for_each(|(has, fits)| *has |= fits);
            }
        }
        if criteria.iter().zip(&has).all(|(one, has)| *has != one.excluded) {
            cohort.insert(*patient);
        }
    }
    Ok(cohort)
}
