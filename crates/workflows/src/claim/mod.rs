//! Claims: an insurer covers a patient, a provider claims for a service that was completed, an adjudicator decides by
//! rules, and the insurer pays from its purse.
//!
//! 1. The insurer offers a coverage; its policy is a record of the insurer, which the patient opens and accepts
//!    (`coverage.rs`).
//! 2. A provider may ask beforehand what is covered. For a completed service (a fill, a released laboratory order, an
//!    operation that was signed out) it claims: the claim is a record of the provider, and the contract holds it
//!    against the receipt of the workflow (`filing.rs`). The patient may contest it.
//! 3. An adjudicator of the insurer reads claim, coverage, order and the report of an operation **on the patient's
//!    consent for payment**, by signed queries to whoever keeps them or from copies that came, and decides by the tariff (`reading.rs`, `rules.rs`,
//!    `deciding.rs`). Being claimed from opens nothing: without consent the adjudicator is refused and the claim stays
//!    undecided. Laboratory orders are never opened to an insurer; they have one price.
//! 4. The decision is two records of the insurer: the response to the provider and the explanation of benefit, whose
//!    digest is on chain with that of the rules. Provider or patient may appeal; another adjudicator decides that,
//!    never lower.
//! 5. The insurer's share is paid from what it paid into the contract, the co-payment from the patient's purse, and the
//!    provider may pay back (`paying.rs`).
//!
//! On chain stand amounts, times, flags and digests; codes, reasons and words are sealed. An institution offers,
//! claims, withdraws, appeals and pays back with its own key; which of its people wrote the document stands in the
//! record.
//! Adjudicators decide with theirs. Everybody is alerted of what others did.

mod coverage;
mod deciding;
mod documents;
mod filing;
mod money;
mod paying;
mod reading;
pub mod rules;

use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent;
use bindings::{Claims, Contract, convert::timestamp};
use domain::{Reader, Timestamp};
use ledger::CallError;

pub use coverage::{Terms, accept_coverage, end_coverage, end_coverage_by_patient, offer_coverage};
pub use deciding::{Decision, adjudicate, decide_appeal, decide_authorisation};
pub use filing::{
    Filing, appeal, appeal_by_patient, contest, request_authorisation, submit, withdraw,
};
pub use money::{Cents, ParseCentsError};
pub use paying::{
    Purse, deposit, deposit_by_patient, held, pay, pay_copayment, purse, refund, take_out,
    take_out_by_patient, transfer,
};
pub use reading::{Places, Reviewed};
pub use rules::{
    Adjudication, CODE_MAX, Decided, Finding, Flags, ITEMS_MAX, Item, Line, Performed, Plan,
    Policy, RulesError, Source, Tariff, TariffError, UnknownSource,
};

use crate::{Gateway, Person, WorkflowError};

/// How long a claim can be appealed after its decision.
///
/// # Source
///
/// `APPEAL_PERIOD` in `Claims.sol`.
pub const APPEAL_PERIOD: Duration = Duration::from_secs(60 * 86_400);

/// What an insurer offered a patient, as it stands on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Who is covered.
    pub patient: Address,
    /// By whom, by member address.
    pub insurer: Address,
    /// Whether the patient accepted it.
    pub accepted: bool,
    /// From when on.
    pub from: Timestamp,
    /// The first second without.
    pub until: Timestamp,
    /// The patient's part, in hundredths of a percent.
    pub copayment: u16,
    /// The most that the insurer pays in all.
    pub limit: Cents,
    /// What it set aside so far, less refunds.
    pub used: Cents,
    /// The digest of the sealed policy.
    pub policy: B256,
}

/// What was asked beforehand, as it stands on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorisation {
    /// Under which coverage.
    pub coverage: B256,
    /// Who asked, by member address.
    pub provider: Address,
    /// For how much.
    pub requested: Cents,
    /// What was granted; zero before, and when it was refused.
    pub granted: Cents,
    /// The first second at which a service is not under it any more; nothing while undecided.
    pub until: Option<Timestamp>,
    /// Whether a claim has it.
    pub used: bool,
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for a decision.
    Submitted,
    /// It was decided, and can be appealed.
    Adjudicated,
    /// The appeal waits for a decision.
    Appealed,
    /// The appeal was decided.
    Final,
    /// The provider took it back.
    Withdrawn,
}

impl State {
    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Adjudicated => "adjudicated",
            Self::Appealed => "appealed",
            Self::Final => "final",
            Self::Withdrawn => "withdrawn",
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Submitted,
            2 => Self::Adjudicated,
            3 => Self::Appealed,
            4 => Self::Final,
            5 => Self::Withdrawn,
            _ => return None,
        })
    }
}

/// A claim as it stands on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where.
    pub state: State,
    /// Under which coverage.
    pub coverage: B256,
    /// Who claims, by member address.
    pub provider: Address,
    /// What an adjudicator and the patient said of it.
    pub flags: Flags,
    /// From when on a decision is overdue.
    pub due_at: Timestamp,
    /// Who decided, by member address.
    pub adjudicator: Option<Address>,
    /// The first second at which it cannot be appealed; nothing before a decision.
    pub appeal_until: Option<Timestamp>,
    /// What is claimed.
    pub amount: Cents,
    /// What was approved.
    pub approved: Cents,
    /// The insurer's part of that, set aside.
    pub share: Cents,
    /// What the provider was paid of it.
    pub paid: Cents,
    /// What the patient paid.
    pub copaid: Cents,
    /// What went back to the insurer.
    pub refunded: Cents,
    /// What went back to the patient.
    pub refunded_copayment: Cents,
    /// What was granted for it beforehand.
    pub authorisation: Option<B256>,
    /// The digest of the record in which the service was signed.
    pub evidence: B256,
}

impl Standing {
    /// What the patient is still to pay.
    #[must_use]
    pub const fn copayment_due(&self) -> Cents {
        self.approved.less(self.share).less(self.copaid)
    }
}

/// What a claim is for, as the provider submitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// From which workflow.
    pub source: Source,
    /// The id of the prescription, order or operation.
    pub service: B256,
    /// The fill or the round, from 1.
    pub part: u64,
    /// The digest of the sealed claim.
    pub digest: B256,
}

/// A coverage by its id.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn coverage(gateway: &Gateway, id: B256) -> Result<Coverage, WorkflowError> {
    let call = Claims::coverageOfCall { id };
    let (at, latest) = (gateway.at(Contract::Claims), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    if held.standing == 0 {
        return Err(WorkflowError::Unknown { what: "coverage", id });
    }
    Ok(Coverage {
        patient: held.terms.patient,
        insurer: held.insurer,
        accepted: held.standing == ACTIVE,
        from: timestamp(held.terms.from),
        until: timestamp(held.terms.until),
        copayment: held.terms.copayment,
        limit: Cents(held.terms.limit),
        used: Cents(held.used),
        policy: held.terms.policy,
    })
}

/// A coverage that the patient accepted.
///
/// # Source
///
/// `Standing` in `Claims.sol`.
const ACTIVE: u8 = 2;

/// Whether a coverage runs at a time.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn is_eligible(
    gateway: &Gateway,
    coverage: B256,
    time: Timestamp,
) -> Result<bool, WorkflowError> {
    let call = Claims::isEligibleCall { id: coverage, time: bindings::convert::to_uint40(time) };
    let (at, latest) = (gateway.at(Contract::Claims), Default::default());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}

/// A pre-authorisation by its id.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn authorisation(gateway: &Gateway, id: B256) -> Result<Authorisation, WorkflowError> {
    let call = Claims::authorisationOfCall { id };
    let (at, latest) = (gateway.at(Contract::Claims), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    if held.provider.is_zero() {
        return Err(WorkflowError::Unknown { what: "pre-authorisation", id });
    }
    let until = timestamp(held.until);
    Ok(Authorisation {
        coverage: held.coverage,
        provider: held.provider,
        requested: Cents(held.requested),
        granted: Cents(held.granted),
        until: (until.0 != 0).then_some(until),
        used: held.used,
    })
}

/// Where a claim stands.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn standing(gateway: &Gateway, id: B256) -> Result<Standing, WorkflowError> {
    let call = Claims::claimOfCall { id };
    let (at, latest) = (gateway.at(Contract::Claims), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let unknown = WorkflowError::Unknown { what: "claim", id };
    let state = State::from_number(held.state).ok_or(unknown)?;
    let appeal_until = timestamp(held.appealUntil);
    Ok(Standing {
        state,
        coverage: held.coverage,
        provider: held.provider,
        flags: Flags(held.flags),
        due_at: timestamp(held.dueAt),
        adjudicator: (!held.adjudicator.is_zero()).then_some(held.adjudicator),
        appeal_until: (appeal_until.0 != 0).then_some(appeal_until),
        amount: Cents(held.amount),
        approved: Cents(held.approved),
        share: Cents(held.share),
        paid: Cents(held.paid),
        copaid: Cents(held.copaid),
        refunded: Cents(held.refunded),
        refunded_copayment: Cents(held.refundedCopayment),
        authorisation: (!held.authorisation.is_zero()).then_some(held.authorisation),
        evidence: held.evidence,
    })
}

/// Whether a claim or an appeal waits longer than it may, by the time of the next block.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn is_overdue(gateway: &Gateway, id: B256) -> Result<bool, WorkflowError> {
    let call = Claims::isOverdueCall { id };
    let (at, next) = (gateway.at(Contract::Claims), alloy_eips::BlockId::pending());
    Ok(gateway.gatekeeper.ledger().call(at, &call, next).await?)
}

/// What a claim is for, by the event with which it began.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn submitted(gateway: &Gateway, id: B256) -> Result<Submitted, WorkflowError> {
    let unknown = || WorkflowError::Unknown { what: "claim", id };
    let event = begun::<Claims::ClaimSubmitted>(gateway, Contract::Claims, id).await?;
    let submission = event.ok_or_else(unknown)?.submission;
    Ok(Submitted {
        source: Source::from_number(submission.source).ok_or_else(unknown)?,
        service: submission.service,
        part: submission.part.saturating_to(),
        digest: submission.digest,
    })
}

/// The event with which something began on chain.
async fn begun<E: SolEvent>(
    gateway: &Gateway,
    contract: Contract,
    id: B256,
) -> Result<Option<E>, WorkflowError> {
    let filter = Filter::new()
        .address(gateway.at(contract))
        .event_signature(E::SIGNATURE_HASH)
        .topic1(id)
        .from_block(0);
    let logs = gateway.gatekeeper.ledger().logs(&filter).await.map_err(CallError::from)?;
    Ok(logs.iter().find_map(|log| E::decode_log(&log.inner).ok()).map(|log| log.data))
}

/// Whose claim it is.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn patient_of(gateway: &Gateway, id: B256) -> Result<Address, WorkflowError> {
    let held = standing(gateway, id).await?;
    Ok(coverage(gateway, held.coverage).await?.patient)
}

/// Whose pre-authorisation it is.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn patient_of_authorisation(
    gateway: &Gateway,
    id: B256,
) -> Result<Address, WorkflowError> {
    let held = authorisation(gateway, id).await?;
    Ok(coverage(gateway, held.coverage).await?.patient)
}

/// Somebody of the institution who writes what it signs with its own key.
///
/// The contract sees the institution only, so that its people are its people is checked here.
async fn clerk(
    gateway: &Gateway,
    author: &Person,
    now: Timestamp,
) -> Result<Person, WorkflowError> {
    gateway.gatekeeper.refresh(now).await?;
    let reader = gateway.gatekeeper.projection().await.registry.reader_of(author.member, now);
    match reader {
        Some(Reader::Professional { institution, .. }) if institution == gateway.member() => {
            Ok(Person { sender: gateway.sender().clone(), ..author.clone() })
        }
        _ => {
            let why = "who writes this has to act for the institution that signs it";
            Err(WorkflowError::Invalid(why.into()))
        }
    }
}
