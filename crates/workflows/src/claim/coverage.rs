//! Coverage: offered by an insurer, accepted by the patient, ended by either.

use alloy_primitives::B256;
use bindings::{
    Claims, Contract,
    convert::{make_id, to_uint40},
    patient_account::Call,
};
use domain::{Anchor, Kind, RecordId, Timestamp};

use super::{
    Cents, clerk,
    documents::{self, Offered},
    money::WHOLE,
};
use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    record::{Draft, Written, accept_call},
};

/// What an insurer offers.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Of which plan of its tariff it is.
    pub plan: String,
    /// From when on; after the patient accepted.
    pub from: Timestamp,
    /// The first second without.
    pub until: Timestamp,
    /// The patient's part, in hundredths of a percent.
    pub copayment: u16,
    /// The most that the insurer pays in all.
    pub limit: Cents,
}

/// An insurer offers a patient a coverage; `author`, one of its people, writes the policy. Its record id is the
/// coverage's id on chain.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses: an institution that is no insurer or keeps no records for the patient, or
/// terms that are out of bounds. It is asked before anything is kept.
pub async fn offer_coverage(
    insurer: &Gateway,
    author: &Person,
    patient: &PatientActor,
    terms: &Terms,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    documents::require_plan(&terms.plan)?;
    terms.limit.require_writable()?;
    if terms.copayment > WHOLE || terms.from >= terms.until {
        let why = "a co-payment is at most a whole, and a coverage ends after it begins";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let author = clerk(insurer, author, now).await?;
    let salt = insurer.make_salt();
    let id = RecordId(make_id(insurer.member(), salt));
    let offered = Offered {
        plan: &terms.plan,
        from: terms.from,
        until: terms.until,
        copayment: terms.copayment,
        limit: terms.limit,
    };
    let resource = documents::coverage(&offered, patient, insurer.member());
    let draft = Draft { kind: Kind::Financial, resource };
    let call = |policy| Claims::offerCoverageCall {
        salt,
        terms: Claims::Terms {
            patient: patient.account(),
            from: to_uint40(terms.from),
            until: to_uint40(terms.until),
            copayment: terms.copayment,
            limit: terms.limit.0,
            policy,
        },
    };
    let written = Written { gateway: insurer, author: &author, patient, now };
    let (anchor, sealed, offered) = written.and_send(id, &draft, Contract::Claims, call).await?;
    let what = format!("offers a coverage up to {}", terms.limit);
    let step = Step::new(&insurer.name, what, "claim.offer-coverage", &offered);
    Ok((anchor, vec![sealed, step]))
}

/// The patient accepts the policy's record and the coverage, in one signature. It runs from the next second on at the
/// earliest.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is not this patient's, was accepted before, or is over.
pub async fn accept_coverage(
    relay: &Gateway,
    patient: &PatientActor,
    policy: &Anchor,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let accept = Claims::acceptCoverageCall { id: policy.record.0, policy: policy.digest.0 };
    let mut calls = Vec::from_iter(accept_call(relay, policy).await?);
    calls.push(Call::to_contract(relay.at(Contract::Claims), &accept));
    let outcome = patient.act(relay.sender(), calls, now).await?;
    let what = "accepts the policy and the coverage";
    Ok(Step::new(&patient.name, what, "claim.accept-coverage", &outcome))
}

/// The insurer ends a coverage, from the next block on. What was granted beforehand stands.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is another insurer's.
pub async fn end_coverage(insurer: &Gateway, id: B256) -> Result<Step, WorkflowError> {
    let call = Claims::endCoverageCall { id };
    let outcome = insurer.sender().send(insurer.at(Contract::Claims), &call).await?;
    Ok(Step::new(&insurer.name, "ends the coverage", "claim.end-coverage", &outcome))
}

/// The patient ends a coverage, from the next block on. What was granted beforehand stands.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is not theirs.
pub async fn end_coverage_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Claims::endCoverageCall { id };
    let call = Call::to_contract(relay.at(Contract::Claims), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "ends the coverage", "claim.end-coverage", &outcome))
}
