//! The patient's side: consent to a study, withdrawal, and a share of what is paid.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent as _;
use bindings::{Consents, Contract, DataExchange, convert::to_grant, patient_account::Call};
use domain::{Grant, Period, Purpose, PurposeSet, Terms, Timestamp};
use ledger::CallError;

use super::{
    document::Document,
    extract::share,
    study::{Standing, require_protocol, study},
};
use crate::{Gateway, PatientActor, Step, WorkflowError};

/// The patient lets a study use data about them that the source has, under exactly this protocol: in one
/// signature, consent to the study, and that the source reads the protocol's kinds for research until the
/// study's end. Whoever runs the study reads nothing by it; they get extracts.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when it is another protocol or a grant to the source for other purposes stands, [`WorkflowError::Send`] when the study is not approved
/// or over.
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
    let period =
        Period::new(now, until).map_err(|error| WorkflowError::Invalid(error.to_string()))?;
    let wanted = Terms { period, kinds, purposes: research() };
    let terms = standing.map_or(wanted, |grant| both(&grant.terms, &wanted));
    let mut calls = Vec::new();
    if standing.is_none_or(|grant| grant.terms != terms) {
        let grant = Consents::grantCall {
            reader: source.member(),
            record: B256::ZERO,
            terms: to_grant(&terms),
        };
        calls.push(Call::to_contract(source.at(Contract::Consents), &grant));
    }
    let consent = DataExchange::consentCall { study: id, protocol: protocol.digest() };
    calls.push(Call::to_contract(source.at(Contract::DataExchange), &consent));
    let outcome = patient.act(source.sender(), calls, now).await?;
    let what = format!("lets the study use {kinds}, through the {} only", source.name);
    Ok(Step::new(&patient.name, what, "research.consent", &outcome))
}

/// The patient withdraws from a study, from this block on. That the source reads for research ends too, when no
/// other study of theirs needs it.
///
/// # Errors
///
/// [`WorkflowError::Send`] only when the transaction cannot be sent: the contracts never refuse.
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
    let is_of_studies = standing.is_some_and(|grant| grant.terms.purposes == research());
    if is_of_studies && !has_other_studies(source, account, id, now).await? {
        let revoke = Consents::revokeCall { reader: source.member(), record: B256::ZERO };
        calls.push(Call::to_contract(source.at(Contract::Consents), &revoke));
    }
    let outcome = patient.act(source.sender(), calls, now).await?;
    let what = "withdraws from the study";
    Ok(Step::new(&patient.name, what, "research.withdraw-consent", &outcome))
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

/// What covers both studies: a patient has one grant to a reader, and a new one takes the place of the old.
fn both(standing: &Terms, wanted: &Terms) -> Terms {
    let opens_at = standing.period.opens_at().min(wanted.period.opens_at());
    let closes_at = standing.period.closes_at().max(wanted.period.closes_at());
    Terms {
        period: Period::new(opens_at, closes_at).unwrap_or(wanted.period),
        kinds: standing.kinds.union(wanted.kinds),
        purposes: standing.purposes.union(wanted.purposes),
    }
}

/// Whether a patient's consent to another study stands, which goes on.
async fn has_other_studies(
    gateway: &Gateway,
    patient: Address,
    but: B256,
    now: Timestamp,
) -> Result<bool, WorkflowError> {
    let (keeper, exchange) = (&gateway.gatekeeper, gateway.at(Contract::DataExchange));
    let filter = Filter::new()
        .address(exchange)
        .event_signature(DataExchange::StudyConsented::SIGNATURE_HASH)
        .topic2(patient.into_word())
        .from_block(0);
    let logs = keeper.ledger().logs(&filter).await.map_err(CallError::from)?;
    for log in logs {
        let Ok(event) = DataExchange::StudyConsented::decode_log(&log.inner) else { continue };
        let id = event.data.study;
        if id == but {
            continue;
        }
        let call = DataExchange::consentsCall { study: id, patient };
        let stands = keeper.ledger().call(exchange, &call, Default::default()).await?;
        let other = study(gateway, id).await?;
        if stands && other.standing == Standing::Approved && other.until > now {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The patient takes their share of what was paid for an extract that they are in. The source says where in the
/// extract they are.
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
