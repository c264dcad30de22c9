//! The patient's side: consent to a study, withdrawal, and a share of what is paid.

use std::time::Duration;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256};
use bindings::{Consents, Contract, DataExchange, convert::to_grant, patient_account::Call};
use domain::{Grant, KindSet, Period, Purpose, PurposeSet, Terms, Timestamp};
use ledger::Outcome;

use super::{
    document::Document,
    extract::share,
    memory::Memory,
    study::{Standing, require_protocol, study},
};
use crate::{Gateway, PatientActor, Step, WorkflowError};

/// How long a transaction may take.
const MOMENT: Duration = Duration::from_secs(3_600);

/// The patient lets a study use data about them that the source has, under exactly this protocol: in one
/// signature, consent to the study, and that the source reads the protocol's kinds for research until the
/// study's end. Whoever runs the study reads nothing by it; they get extracts.
///
/// A patient has one grant to a reader: with another study at this source, it is of what both want, until the later
/// of both ends.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when it is another protocol or a grant to the source for other purposes stands,
/// [`WorkflowError::Send`] when the study is not approved or over.
pub async fn opt_in(
    source: &Gateway,
    patient: &PatientActor,
    id: B256,
    protocol: &Document,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let held = study(source, id).await?;
    let kinds = require_protocol(&held, protocol)?;
    source.gatekeeper.refresh(now).await?;
    let standing = standing_grant(source, patient.account(), now).await;
    if standing.is_some_and(|grant| grant.terms.purposes != research()) {
        // There is one grant to a reader: widened by a study, it would be wider for treatment, too.
        let text = "a consent to this source stands for other purposes, which no study widens";
        return Err(WorkflowError::Invalid(text.into()));
    }
    // Of a study that is over, the contract says so.
    let until = held.until.max(now.after(Duration::from_secs(1)));
    let others = other_studies(source, patient.account(), id, now).await?;
    let terms = terms_of(others.into_iter().chain([(kinds, until)]), now)?;
    let mut calls = Vec::new();
    if standing.is_none_or(|grant| !covers(&grant.terms, &terms)) {
        calls.push(granting(source, &terms));
    }
    // Remembered first: what the chain does not know of as well, counts for nothing.
    Memory::open(source).await?.consent(patient.account(), id, kinds).await?;
    let consent = DataExchange::consentCall { study: id, protocol: protocol.digest() };
    calls.push(Call::to_contract(source.at(Contract::DataExchange), &consent));
    let outcome = patient.act(source.sender(), calls, now).await?;
    let what = format!("lets the study use {kinds}, through the {} only", source.name);
    Ok(Step::new(&patient.name, what, "research.consent", &outcome))
}

/// The patient withdraws from a study, from this block on. What the source reads for research by studies ends too; when
/// others of theirs go on at this source, exactly what these want begins anew, in the same signature.
///
/// # Errors
///
/// [`WorkflowError::Send`] only when the transaction cannot be sent: the contracts never refuse to withdraw. What they
/// refuse to grant anew is not granted.
pub async fn withdraw(
    source: &Gateway,
    patient: &PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    source.gatekeeper.refresh(now).await?;
    let account = patient.account();
    let withdraw = DataExchange::withdrawConsentCall { study: id };
    let mut calls = vec![Call::to_contract(source.at(Contract::DataExchange), &withdraw)];
    let standing = standing_grant(source, account, now).await;
    let mut anew = None;
    if standing.is_some_and(|grant| grant.terms.purposes == research()) {
        let revoke = Consents::revokeCall { reader: source.member(), record: B256::ZERO };
        calls.push(Call::to_contract(source.at(Contract::Consents), &revoke));
        // What cannot be read keeps nobody from withdrawing.
        let others = other_studies(source, account, id, now).await.unwrap_or_default();
        if !others.is_empty() {
            anew = Some(granting(source, &terms_of(others, now)?));
        }
    }
    let what = "withdraws from the study";
    let step =
        |outcome: Outcome| Step::new(&patient.name, what, "research.withdraw-consent", &outcome);
    if let Some(anew) = anew {
        let with_anew = calls.iter().cloned().chain([anew]).collect();
        let acted = patient.act(source.sender(), with_anew, now).await;
        match acted.map_err(WorkflowError::from) {
            Err(error) if error.is_refusal() => {}
            acted => {
                let outcome = acted?;
                forget(source, account, id).await;
                return Ok(step(outcome));
            }
        }
    }
    let outcome = patient.act(source.sender(), calls, now).await?;
    forget(source, account, id).await;
    Ok(step(outcome))
}

/// Whether there is something for [`withdraw`] to end, which sends transactions in any case: consent to the study, or a
/// grant to the source that no other study needs.
///
/// # Errors
///
/// [`WorkflowError`] when chain or database cannot be asked: nobody is then told that there is nothing.
pub async fn takes_part(
    source: &Gateway,
    patient: Address,
    id: B256,
    now: Timestamp,
) -> Result<bool, WorkflowError> {
    source.gatekeeper.refresh(now).await?;
    let call = DataExchange::consentsCall { study: id, patient };
    let (at, next) = (source.at(Contract::DataExchange), BlockId::pending());
    if source.gatekeeper.ledger().call(at, &call, next).await? {
        return Ok(true);
    }
    let standing = standing_grant(source, patient, now).await;
    let is_left = standing.is_some_and(|grant| grant.terms.purposes == research());
    Ok(is_left && other_studies(source, patient, id, now).await?.is_empty())
}

/// Forgets that a patient let a study use data through this source. They have withdrawn, whatever the database says.
async fn forget(source: &Gateway, patient: Address, study: B256) {
    if let Ok(memory) = Memory::open(source).await {
        let _ = memory.forget_consent(patient, study).await;
    }
}

fn research() -> PurposeSet {
    PurposeSet::of(&[Purpose::Research])
}

/// The patient's grant to the source about all records, when it is not over.
async fn standing_grant(source: &Gateway, patient: Address, now: Timestamp) -> Option<Grant> {
    let projection = source.gatekeeper.projection().await;
    let grants = projection.consents.grants(patient).iter();
    let mut own = grants.filter(|grant| grant.reader == source.member() && grant.record.is_none());
    own.next().copied().filter(|grant| grant.terms.period.closes_at() > now)
}

/// What studies want together, from now on: kinds, and until when, of each.
fn terms_of(
    studies: impl IntoIterator<Item = (KindSet, Timestamp)>,
    now: Timestamp,
) -> Result<Terms, WorkflowError> {
    let none = (KindSet::EMPTY, now);
    let (kinds, until) = studies
        .into_iter()
        .fold(none, |(kinds, until), (wanted, end)| (kinds.union(wanted), until.max(end)));
    let period = Period::new(now, until);
    let period = period.map_err(|error| WorkflowError::Invalid(error.to_string()))?;
    Ok(Terms { period, kinds, purposes: research() })
}

/// Whether a grant that stands lets somebody read all that others terms would.
fn covers(standing: &Terms, wanted: &Terms) -> bool {
    let (held, period) = (standing.period, wanted.period);
    wanted.kinds.without(standing.kinds).is_empty()
        && held.opens_at() <= period.opens_at()
        && held.closes_at() >= period.closes_at()
}

fn granting(source: &Gateway, terms: &Terms) -> Call {
    let grant =
        Consents::grantCall { reader: source.member(), record: B256::ZERO, terms: to_grant(terms) };
    Call::to_contract(source.at(Contract::Consents), &grant)
}

/// The other studies that a patient lets use data through this source, and that go on: what each wants, and until
/// when. One that ends at any moment now is left out: a grant until then might be over when it comes.
async fn other_studies(
    source: &Gateway,
    patient: Address,
    but: B256,
    now: Timestamp,
) -> Result<Vec<(KindSet, Timestamp)>, WorkflowError> {
    let (keeper, exchange) = (&source.gatekeeper, source.at(Contract::DataExchange));
    let mut others = Vec::new();
    for (id, kinds) in Memory::open(source).await?.consents(patient).await? {
        if id == but {
            continue;
        }
        let call = DataExchange::consentsCall { study: id, patient };
        let stands = keeper.ledger().call(exchange, &call, Default::default()).await?;
        let other = study(source, id).await?;
        if stands && other.standing == Standing::Approved && other.until > now.after(MOMENT) {
            others.push((kinds, other.until));
        }
    }
    Ok(others)
}

/// The patient takes their share of what was paid for an extract that they are in. The source says where in the
/// extract they are.
///
/// Whoever reads the chain then sees that this account was in this extract. The buyer knows besides what was asked for:
/// of an extract of those with a condition, that the account's holder has it. A patient who minds takes no share.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when they are not in it, [`WorkflowError::Send`] when it is not settled, they had their
/// share, or it is too late.
pub async fn claim_share(
    source: &Gateway,
    patient: &PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let place = share(source, id, patient.account()).await?;
    let claim = DataExchange::claimShareCall { id, salt: place.salt, proof: place.proof };
    let call = Call::to_contract(source.at(Contract::DataExchange), &claim);
    let outcome = patient.act(source.sender(), vec![call], now).await?;
    let paid = outcome.events::<DataExchange::PatientPaid>();
    let what = match paid.first() {
        Some(paid) => format!("takes a share of the price: {}", paid.amount),
        None => "shows that the source said too few patients".into(),
    };
    Ok(Step::new(&patient.name, what, "research.claim-share", &outcome))
}
