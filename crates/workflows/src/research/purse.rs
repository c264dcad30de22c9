//! Money that members and patients keep in the exchange.

use alloy_primitives::{Address, U256};
use bindings::{Contract, DataExchange, PaymentToken, patient_account::Call};
use domain::Timestamp;

use crate::{Gateway, PatientActor, Step, WorkflowError};

/// An institution pays money in, which orders are paid from.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it has less.
pub async fn pay_in(gateway: &Gateway, amount: u128) -> Result<Vec<Step>, WorkflowError> {
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
/// [`WorkflowError::Send`] when it has less there.
pub async fn pay_out(gateway: &Gateway, amount: u128) -> Result<Step, WorkflowError> {
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
/// [`WorkflowError::Send`] when they have less there.
pub async fn pay_out_to(
    relay: &Gateway,
    patient: &PatientActor,
    to: Address,
    amount: u128,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let holder = patient.account();
    let call = DataExchange::withdrawCall { holder, to, amount: U256::from(amount) };
    let call = Call::to_contract(relay.at(Contract::DataExchange), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = format!("takes {amount} out");
    Ok(Step::new(&patient.name, what, "money.withdraw", &outcome))
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
