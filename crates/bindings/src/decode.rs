//! Calls and events in words, for people who want to see a transaction as it stands.

use alloy_primitives::{Address, Bytes, Log, U256};
use alloy_sol_types::{SolEventInterface, SolInterface, SolValue as _};

use crate::{
    AccessLog, Claims, Consents, Contract, DataExchange, Deployment, Devices, EmergencyAccess,
    LabOrders, PatientAccount, PatientAccounts, PaymentToken, Prescriptions, Records, Registry,
    Relationships, Surgeries, Trials, WaitingLists, WebAuthnVerifier,
};

/// A call in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedCall {
    /// What is called: a contract by name, a patient's account, or an address.
    pub to: String,
    /// The function with its arguments, or what is known when it is none of ours.
    pub call: String,
    /// The calls that a patient's account makes when this one runs.
    pub inner: Vec<DecodedCall>,
}

/// Puts a call into words.
#[must_use]
pub fn decode_call(deployment: &Deployment, to: Option<Address>, input: &Bytes) -> DecodedCall {
    let Some(to) = to else {
        let call = format!("deploys a contract, {} bytes", input.len());
        return DecodedCall { to: "(new contract)".into(), call, inner: Vec::new() };
    };
    if input.is_empty() {
        return DecodedCall { to: to.to_string(), call: "sends ether".into(), inner: Vec::new() };
    }
    if let Some(contract) = deployment.contract_at(&to) {
        let call = contract_call(contract, input).unwrap_or_else(|| unknown(input));
        return DecodedCall { to: contract.name().into(), call, inner: Vec::new() };
    }
    match PatientAccount::PatientAccountCalls::abi_decode_validate(input) {
        Ok(PatientAccount::PatientAccountCalls::execute(execute)) => {
            let inner = batch(&execute.executionData).unwrap_or_default();
            let inner = inner.iter().map(|(callee, data)| {
                let callee = if callee.is_zero() { to } else { *callee };
                decode_call(deployment, Some(callee), data)
            });
            DecodedCall {
                to: format!("patient account {to}"),
                call: "execute, signed by the patient".into(),
                inner: inner.collect(),
            }
        }
        Ok(other) => DecodedCall {
            to: format!("patient account {to}"),
            call: inner_text(&other),
            inner: Vec::new(),
        },
        Err(_) => DecodedCall { to: to.to_string(), call: unknown(input), inner: Vec::new() },
    }
}

/// The contracts that a call is for: the one that is called, or those that a patient's account calls for it.
#[must_use]
pub fn called(deployment: &Deployment, to: &Address, input: &[u8]) -> Vec<Contract> {
    if let Some(contract) = deployment.contract_at(to) {
        return vec![contract];
    }
    let Ok(PatientAccount::PatientAccountCalls::execute(execute)) =
        PatientAccount::PatientAccountCalls::abi_decode_validate(input)
    else {
        return Vec::new();
    };
    let inner = batch(&execute.executionData).unwrap_or_default();
    inner.iter().filter_map(|(to, _)| deployment.contract_at(to)).collect()
}

/// The calls in an account's batch.
fn batch(execution: &Bytes) -> Option<Vec<(Address, Bytes)>> {
    type Batch = (Vec<(Address, U256, Bytes)>, Bytes);
    let (calls, _) = Batch::abi_decode_params_validate(execution).ok()?;
    Some(calls.into_iter().map(|(to, _, data)| (to, data)).collect())
}

fn contract_call(contract: Contract, input: &Bytes) -> Option<String> {
    fn text<T: SolInterface + std::fmt::Debug>(input: &Bytes) -> Option<String> {
        T::abi_decode_validate(input).ok().map(|call| inner_text(&call))
    }
    match contract {
        Contract::Registry => text::<Registry::RegistryCalls>(input),
        Contract::WebAuthnVerifier => text::<WebAuthnVerifier::WebAuthnVerifierCalls>(input),
        Contract::PatientAccounts => text::<PatientAccounts::PatientAccountsCalls>(input),
        Contract::Relationships => text::<Relationships::RelationshipsCalls>(input),
        Contract::Records => text::<Records::RecordsCalls>(input),
        Contract::Consents => text::<Consents::ConsentsCalls>(input),
        Contract::EmergencyAccess => text::<EmergencyAccess::EmergencyAccessCalls>(input),
        Contract::Prescriptions => text::<Prescriptions::PrescriptionsCalls>(input),
        Contract::LabOrders => text::<LabOrders::LabOrdersCalls>(input),
        Contract::AccessLog => text::<AccessLog::AccessLogCalls>(input),
        Contract::Surgeries => text::<Surgeries::SurgeriesCalls>(input),
        Contract::Trials => text::<Trials::TrialsCalls>(input),
        Contract::Devices => text::<Devices::DevicesCalls>(input),
        Contract::WaitingLists => text::<WaitingLists::WaitingListsCalls>(input),
        Contract::PaymentToken => text::<PaymentToken::PaymentTokenCalls>(input),
        Contract::Claims => text::<Claims::ClaimsCalls>(input),
        Contract::DataExchange => text::<DataExchange::DataExchangeCalls>(input),
    }
}

/// Puts an event into words; `None` when it is none of ours.
#[must_use]
pub fn decode_event(deployment: &Deployment, log: &Log) -> Option<String> {
    fn text<T: SolEventInterface + std::fmt::Debug>(log: &Log) -> Option<String> {
        T::decode_log(log).ok().map(|event| inner_text(&event.data))
    }
    match deployment.contract_at(&log.address) {
        Some(Contract::Registry) => text::<Registry::RegistryEvents>(log),
        Some(Contract::PatientAccounts) => text::<PatientAccounts::PatientAccountsEvents>(log),
        Some(Contract::Relationships) => text::<Relationships::RelationshipsEvents>(log),
        Some(Contract::Records) => text::<Records::RecordsEvents>(log),
        Some(Contract::Consents) => text::<Consents::ConsentsEvents>(log),
        Some(Contract::EmergencyAccess) => text::<EmergencyAccess::EmergencyAccessEvents>(log),
        Some(Contract::Prescriptions) => text::<Prescriptions::PrescriptionsEvents>(log),
        Some(Contract::LabOrders) => text::<LabOrders::LabOrdersEvents>(log),
        Some(Contract::AccessLog) => text::<AccessLog::AccessLogEvents>(log),
        Some(Contract::Surgeries) => text::<Surgeries::SurgeriesEvents>(log),
        Some(Contract::Trials) => text::<Trials::TrialsEvents>(log),
        Some(Contract::Devices) => text::<Devices::DevicesEvents>(log),
        Some(Contract::WaitingLists) => text::<WaitingLists::WaitingListsEvents>(log),
        Some(Contract::PaymentToken) => text::<PaymentToken::PaymentTokenEvents>(log),
        Some(Contract::Claims) => text::<Claims::ClaimsEvents>(log),
        Some(Contract::DataExchange) => text::<DataExchange::DataExchangeEvents>(log),
        Some(Contract::WebAuthnVerifier) => None,
        None => text::<PatientAccount::PatientAccountEvents>(log),
    }
}

/// `variant(Call { … })` without the variant around it.
fn inner_text(value: &impl std::fmt::Debug) -> String {
    let debug = format!("{value:?}");
    let inner = debug.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    let inner = inner.unwrap_or(&debug);
    inner.replacen("Call {", " {", 1)
}

fn unknown(input: &Bytes) -> String {
    let selector = input.get(..4).map(alloy_primitives::hex::encode_prefixed);
    format!("unknown call {}, {} bytes", selector.unwrap_or_default(), input.len())
}
