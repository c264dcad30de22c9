//! Offers, studies, and who approves them.

use alloy_primitives::{Address, B256};
use bindings::{
    Contract, DataExchange,
    convert::{make_id, timestamp, to_uint40},
};
use domain::{KindSet, Timestamp};

use super::{
    document::{Document, said},
    purse::AMOUNT_MAX,
};
use crate::{Gateway, Person, Step, WorkflowError};

/// Where a study stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for its committee.
    Proposed,
    /// It may ask for consent.
    Approved,
    /// It may use nothing any more.
    Ended,
}

/// A study as it stands on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Study {
    /// Whose.
    pub institution: Address,
    /// Where it stands.
    pub standing: Standing,
    /// How many institutions approved.
    pub approvals: u8,
    /// The first second without use.
    pub until: Timestamp,
    /// The digest of its protocol.
    pub protocol: B256,
    /// How often a consent to it was withdrawn.
    pub withdrawals: u32,
}

/// What an extract costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// In the token's smallest unit.
    pub amount: u128,
    /// Of it the patients' part, in hundredths of a percent.
    pub patient_share: u16,
}

/// An offer as it stands on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whose.
    pub source: Address,
    /// Whether it can be ordered.
    pub open: bool,
    /// What an extract costs.
    pub price: Price,
    /// The digest of what is offered.
    pub dataset: B256,
    /// The digest of the terms of use.
    pub terms: B256,
}

/// A source offers data under terms of use. An offer is never changed: other terms are another offer.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when nobody could pay the price, [`WorkflowError::Send`] when the share is more than a whole.
pub async fn offer(
    source: &Gateway,
    dataset: &Document,
    terms: &Document,
    price: Price,
) -> Result<(B256, Step), WorkflowError> {
    if price.amount > AMOUNT_MAX {
        return Err(WorkflowError::Invalid(format!("a price is at most {AMOUNT_MAX}")));
    }
    let salt = source.make_salt();
    let call = DataExchange::offerCall {
        salt,
        price: price.amount,
        patientShare: price.patient_share,
        dataset: dataset.digest(),
        terms: terms.digest(),
    };
    let outcome = source.sender().send(source.at(Contract::DataExchange), &call).await?;
    let step = Step::new(&source.name, "offers data for research", "research.offer", &outcome);
    Ok((make_id(source.member(), salt), step))
}

/// A source closes an offer of its own. What was ordered goes on.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is another's.
pub async fn close_offer(source: &Gateway, id: B256) -> Result<Step, WorkflowError> {
    let call = DataExchange::closeOfferCall { id };
    let outcome = source.sender().send(source.at(Contract::DataExchange), &call).await?;
    Ok(Step::new(&source.name, "closes the offer", "research.close-offer", &outcome))
}

/// A researcher proposes a study.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, or the time is over or too far.
pub async fn propose(
    institute: &Gateway,
    researcher: &Person,
    protocol: &Document,
    until: Timestamp,
) -> Result<(B256, Step), WorkflowError> {
    protocol.protocol_kinds()?;
    let salt = institute.make_salt();
    let call = DataExchange::proposeStudyCall {
        salt,
        until: to_uint40(until),
        protocol: protocol.digest(),
    };
    let outcome = researcher.sender.send(institute.at(Contract::DataExchange), &call).await?;
    let id = make_id(researcher.member, salt);
    protocol.keep_as(institute, id, Timestamp(outcome.time)).await;
    let step = Step::new(&researcher.name, "proposes a study", "research.propose-study", &outcome);
    Ok((id, step))
}

/// A privacy officer or auditor of another institution approves a study with exactly this protocol. The opinion stays
/// with them: the salt is what it was digested with.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the protocol is another, or names another end or sponsor than the chain,
/// [`WorkflowError::Send`] when it is their own institution's study, or they decide about none.
pub async fn approve(
    gateway: &Gateway,
    person: &Person,
    id: B256,
    protocol: &Document,
    opinion: &str,
) -> Result<(B256, Step), WorkflowError> {
    require_protocol(&study(gateway, id).await?, protocol)?;
    let (salt, opinion) = said(gateway, opinion)?;
    let call = DataExchange::approveStudyCall { id, protocol: protocol.digest(), opinion };
    let outcome = person.sender.send(gateway.at(Contract::DataExchange), &call).await?;
    let events = outcome.events::<DataExchange::StudyApproved>();
    let complete = events.first().is_some_and(|event| event.complete);
    let (what, operation) = if complete {
        ("approves the study, which may begin", "research.approve-study-last")
    } else {
        ("approves the study", "research.approve-study")
    };
    Ok((salt, Step::new(&person.name, what, operation, &outcome)))
}

/// A researcher of its institution, or an auditor of a regulator, ends a study for good.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, or it has ended.
pub async fn end(
    gateway: &Gateway,
    person: &Person,
    id: B256,
    reason: &str,
) -> Result<(B256, Step), WorkflowError> {
    let (salt, reason) = said(gateway, reason)?;
    let call = DataExchange::endStudyCall { id, reason };
    let outcome = person.sender.send(gateway.at(Contract::DataExchange), &call).await?;
    Ok((salt, Step::new(&person.name, "ends the study", "research.end-study", &outcome)))
}

/// Where a study stands.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn study(gateway: &Gateway, id: B256) -> Result<Study, WorkflowError> {
    let call = DataExchange::studyOfCall { id };
    let (at, latest) = (gateway.at(Contract::DataExchange), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let standing = match held.standing {
        1 => Standing::Proposed,
        2 => Standing::Approved,
        3 => Standing::Ended,
        _ => return Err(WorkflowError::Unknown { what: "study", id }),
    };
    Ok(Study {
        institution: held.institution,
        standing,
        approvals: held.approvals,
        until: timestamp(held.until),
        protocol: held.protocol,
        withdrawals: held.withdrawals,
    })
}

/// What is offered.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is no such offer.
pub async fn offered(gateway: &Gateway, id: B256) -> Result<Offer, WorkflowError> {
    let call = DataExchange::offerOfCall { id };
    let (at, latest) = (gateway.at(Contract::DataExchange), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    if held.source == Address::ZERO {
        return Err(WorkflowError::Unknown { what: "offer", id });
    }
    Ok(Offer {
        source: held.source,
        open: held.open,
        price: Price { amount: held.price, patient_share: held.patientShare },
        dataset: held.dataset,
        terms: held.terms,
    })
}

/// The kinds of record of a study, by its protocol. Whoever agrees to one agrees to the end and the sponsor in it: so
/// these are the chain's as well.
pub(super) fn require_protocol(
    held: &Study,
    protocol: &Document,
) -> Result<KindSet, WorkflowError> {
    if protocol.digest() != held.protocol {
        return Err(WorkflowError::Invalid("the study has another protocol".into()));
    }
    if !protocol.is_of(held.institution, held.until) {
        let text = "the protocol names another end or another sponsor than the study has on chain";
        return Err(WorkflowError::Invalid(text.into()));
    }
    protocol.protocol_kinds()
}
