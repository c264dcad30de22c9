//! Money that members and patients keep in the exchange.

use alloy_primitives::{Address, U256};
use bindings::{Contract, DataExchange, PaymentToken, patient_account::Call};
use domain::Timestamp;

use crate::{Gateway, PatientActor, Step, WorkflowError};

/// The most that is paid at once, in the token's smallest unit: fifteen digits, as a claim may have.
pub(super) const AMOUNT_MAX: u128 = 999_999_999_999_999;

/// An institution pays money in, which orders are paid from.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the amount is nothing or absurd, [`WorkflowError::Send`] when it has less.
pub async fn pay_in(gateway: &Gateway, amount: u128) -> Result<Vec<Step>, WorkflowError> {
    require_amount(amount)?;
    let (token, exchange) =
        (gateway.at(Contract::PaymentToken), gateway.at(Contract::DataExchange));
    let amount = U256::from(amount);
    let call = PaymentToken::approveCall { spender: exchange, value: amount };
    let approved = gateway.sender().send(token, &call).await?;
    let call = DataExchange::depositCall { holder: gateway.member(), amount };
    let deposited = gateway.sender().send(exchange, &call).await?;
    let name = &gateway.name;
    Ok(vec![
        Step::new(name, "lets the exchange take money", "money.approve", &approved),
        Step::new(name, format!("pays {amount} in"), "money.deposit", &deposited),
    ])
}

/// An institution takes its money out.
///
/// # Errors
///
/// As [`pay_in`], of what it has there.
pub async fn pay_out(gateway: &Gateway, amount: u128) -> Result<Step, WorkflowError> {
    require_amount(amount)?;
    let holder = gateway.member();
    let call = DataExchange::withdrawCall { holder, to: holder, amount: U256::from(amount) };
    let outcome = gateway.sender().send(gateway.at(Contract::DataExchange), &call).await?;
    let what = format!("takes {amount} out");
    Ok(Step::new(&gateway.name, what, "money.withdraw", &outcome))
}

/// A patient takes money out, to any address.
///
/// # Errors
///
/// As [`pay_in`], of what they have there.
pub async fn pay_out_to(
    relay: &Gateway,
    patient: &PatientActor,
    to: Address,
    amount: u128,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    require_amount(amount)?;
    let holder = patient.account();
    let call = DataExchange::withdrawCall { holder, to, amount: U256::from(amount) };
    let call = Call::to_contract(relay.at(Contract::DataExchange), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = format!("takes {amount} out");
    Ok(Step::new(&patient.name, what, "money.withdraw", &outcome))
}

/// Refuses nothing, and what is more than money there is.
fn require_amount(amount: u128) -> Result<(), WorkflowError> {
    if (1..=AMOUNT_MAX).contains(&amount) {
        return Ok(());
    }
    Err(WorkflowError::Invalid(format!("an amount is from 1 to {AMOUNT_MAX}")))
}

/// What an institution or a patient has in the exchange, in the token's smallest unit.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn balance(gateway: &Gateway, holder: Address) -> Result<U256, WorkflowError> {
    let call = DataExchange::balanceOfCall { holder };
    let (at, latest) = (gateway.at(Contract::DataExchange), Default::default());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}
