//! Money: paid into the contract, paid from there, and taken out again.
//!
//! What an institution or a patient has in the contract is their purse. Claims are paid from purse to purse, so that
//! no token is asked while they are.

use alloy_primitives::{Address, B256};
use bindings::{Claims, Contract, PaymentToken, patient_account::Call};
use domain::Timestamp;

use super::Cents;
use crate::{Gateway, PatientActor, Person, Step, WorkflowError};

/// What somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purse {
    /// In the contract, for claims.
    pub inside: Cents,
    /// In the token, at their own address.
    pub outside: Cents,
}

/// What an institution or a patient has.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn purse(gateway: &Gateway, who: Address) -> Result<Purse, WorkflowError> {
    let (ledger, latest) = (gateway.gatekeeper.ledger(), Default::default());
    let claims = gateway.at(Contract::Claims);
    let holder = ledger.call(claims, &Claims::holderOfCall { holder: who }, latest).await?;
    let inside = ledger.call(claims, &Claims::balanceOfCall { holder }, latest).await?;
    let token = gateway.at(Contract::PaymentToken);
    let outside = PaymentToken::balanceOfCall { account: who };
    let outside = ledger.call(token, &outside, latest).await?;
    Ok(Purse { inside: Cents::of_units(inside), outside: Cents::of_units(outside) })
}

/// All money in the contract: every purse, and what is set aside for claims.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn held(gateway: &Gateway) -> Result<Cents, WorkflowError> {
    let (ledger, latest) = (gateway.gatekeeper.ledger(), Default::default());
    let held = ledger.call(gateway.at(Contract::Claims), &Claims::heldCall {}, latest).await?;
    Ok(Cents::of_units(held))
}

/// An institution gives tokens to somebody.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it has less.
pub async fn transfer(from: &Gateway, to: Address, amount: Cents) -> Result<Step, WorkflowError> {
    let call = PaymentToken::transferCall { to, value: amount.to_units() };
    let outcome = from.sender().send(from.at(Contract::PaymentToken), &call).await?;
    let what = format!("gives {amount} to {to}");
    Ok(Step::new(&from.name, what, "money.transfer", &outcome))
}

/// An institution pays tokens into somebody's purse, such as its own.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it has less, or pays nothing in.
pub async fn deposit(
    from: &Gateway,
    holder: Address,
    amount: Cents,
) -> Result<Vec<Step>, WorkflowError> {
    let (claims, token) = (from.at(Contract::Claims), from.at(Contract::PaymentToken));
    let mut steps = Vec::new();
    if amount > Cents::ZERO {
        let call = PaymentToken::approveCall { spender: claims, value: amount.to_units() };
        let outcome = from.sender().send(token, &call).await?;
        let what = format!("lets the contract take {amount}");
        steps.push(Step::new(&from.name, what, "money.approve", &outcome));
    }
    let call = Claims::depositCall { holder, amount: amount.to_units() };
    let outcome = from.sender().send(claims, &call).await?;
    let whose = match holder == from.member() {
        true => "its own purse".into(),
        false => format!("the purse of {holder}"),
    };
    let what = format!("pays {amount} into {whose}");
    steps.push(Step::new(&from.name, what, "money.deposit", &outcome));
    Ok(steps)
}

/// A patient pays tokens of their account into their purse, in one signature.
///
/// # Errors
///
/// [`WorkflowError::Send`] as of [`deposit`].
pub async fn deposit_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    amount: Cents,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let (claims, token) = (relay.at(Contract::Claims), relay.at(Contract::PaymentToken));
    let approve = PaymentToken::approveCall { spender: claims, value: amount.to_units() };
    let deposit = Claims::depositCall { holder: patient.account(), amount: amount.to_units() };
    let calls = vec![Call::to_contract(token, &approve), Call::to_contract(claims, &deposit)];
    let outcome = patient.act(relay.sender(), calls, now).await?;
    let what = format!("pays {amount} into their purse");
    Ok(Step::new(&patient.name, what, "money.deposit", &outcome))
}

/// An institution takes money of its purse out, to its own key.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it has less in it.
pub async fn take_out(from: &Gateway, amount: Cents) -> Result<Step, WorkflowError> {
    let (holder, to) = (from.member(), from.sender().address());
    let call = Claims::withdrawCall { holder, to, amount: amount.to_units() };
    let outcome = from.sender().send(from.at(Contract::Claims), &call).await?;
    let what = format!("takes {amount} out of its purse");
    Ok(Step::new(&from.name, what, "money.withdraw", &outcome))
}

/// A patient takes money of their purse out, to their account.
///
/// # Errors
///
/// [`WorkflowError::Send`] when they have less in it.
pub async fn take_out_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    amount: Cents,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let account = patient.account();
    let call = Claims::withdrawCall { holder: account, to: account, amount: amount.to_units() };
    let call = Call::to_contract(relay.at(Contract::Claims), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = format!("takes {amount} out of their purse");
    Ok(Step::new(&patient.name, what, "money.withdraw", &outcome))
}

/// Anybody has the provider paid what is set aside for a claim: it was decided.
///
/// # Errors
///
/// [`WorkflowError::Send`] when nothing is, or it was paid.
pub async fn pay(gateway: &Gateway, person: &Person, id: B256) -> Result<Step, WorkflowError> {
    let call = Claims::payCall { id };
    let outcome = person.sender.send(gateway.at(Contract::Claims), &call).await?;
    let paid = outcome.events::<Claims::ClaimPaid>();
    let amount = Cents(paid.first().map_or(0, |paid| paid.amount));
    let what = format!("has the provider paid {amount}");
    Ok(Step::new(&person.name, what, "claim.pay", &outcome))
}

/// The patient pays what is due of the co-payment, from their purse.
///
/// # Errors
///
/// [`WorkflowError::Send`] when nothing is due, their purse has less, or the claim is not about them.
pub async fn pay_copayment(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Claims::payCopaymentCall { id };
    let call = Call::to_contract(relay.at(Contract::Claims), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let paid = outcome.events::<Claims::CopaymentPaid>();
    let amount = Cents(paid.first().map_or(0, |paid| paid.amount));
    let what = format!("pays the co-payment of {amount}");
    Ok(Step::new(&patient.name, what, "claim.pay-copayment", &outcome))
}

/// The provider pays back from its purse, to insurer and patient, at most what each paid.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is more, nothing, or another provider's claim.
pub async fn refund(
    provider: &Gateway,
    id: B256,
    to_insurer: Cents,
    to_patient: Cents,
) -> Result<Step, WorkflowError> {
    let call = Claims::refundCall { id, toInsurer: to_insurer.0, toPatient: to_patient.0 };
    let outcome = provider.sender().send(provider.at(Contract::Claims), &call).await?;
    let what = format!("pays back {to_insurer} to the insurer and {to_patient} to the patient");
    Ok(Step::new(&provider.name, what, "claim.refund", &outcome))
}
