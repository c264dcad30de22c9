//! Orders of extracts: placed, settled or disputed, and what was used. What an extract is made of, `extract.rs` says.

use alloy_primitives::{Address, B256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolEvent as _, SolValue as _};
use bindings::{Contract, DataExchange, convert::make_id};
use ledger::CallError;

use super::{
    document::{Document, said},
    extract::Place,
    study::offered,
};
use crate::{Gateway, Person, Step, WorkflowError};

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
pub(super) async fn ordered_query(gateway: &Gateway, id: B256) -> Result<B256, WorkflowError> {
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
