//! What a workflow uses in gas from its first to its last transaction, as the chain has it.
//!
//! `contracts/workflows.json` holds the figures, which are the same in every run; a difference fails. With
//! `SALUS_WRITE_GAS` set, which is what `cargo xtask gas` does, the workflow's part of the file is written instead.
//! Nothing here says what a step should be: the steps are the transactions that the workflow sent.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::{fs, path::PathBuf};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolValue as _;
use bindings::{
    AccessLog, Claims, Consents, Contract, DataExchange, Devices, EmergencyAccess, LabOrders,
    PatientAccount, PatientAccounts, PaymentToken, Prescriptions, Records, Registry, Relationships,
    Surgeries, Trials, WaitingLists, WebAuthnVerifier,
};
use serde::{Deserialize, Serialize};

use crate::common::{GUESTS, INSTITUTIONS, PEOPLE, World, address};

/// A workflow from its first to its last step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Workflow {
    name: String,
    /// What happens in it.
    summary: String,
    /// Of all steps.
    gas: u64,
    steps: Vec<Step>,
}

/// A transaction. `gas` is the receipt's figure, after refunds; the three fields after it are what it consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    /// The operation, as in `contracts/gas.json`; of several calls in one signature, the last.
    name: String,
    /// Who signed what is done: the patient, or whoever sent the transaction.
    actor: String,
    /// Who sent the transaction, and would pay for its gas.
    payer: String,
    gas: u64,
    /// What any transaction costs.
    intrinsic: u64,
    /// 4 gas for each byte of call data that is zero, 16 for each other.
    calldata_gas: u64,
    execution: u64,
}

/// What any transaction costs before it begins.
const INTRINSIC: u64 = 21_000;

/// Takes down a workflow's transactions.
pub struct Journal {
    /// The last block that was looked at.
    seen: u64,
    steps: Vec<Step>,
}

impl Journal {
    /// Begins at the present block.
    pub fn new(world: &World) -> Self {
        Self { seen: world.chain().head().header.number, steps: Vec::new() }
    }

    /// Takes down what was sent since.
    pub fn take(&mut self, world: &World) {
        let head = world.chain().head().header.number;
        for number in self.seen + 1..=head {
            let block = world.chain().block(number).unwrap().unwrap();
            for (index, transaction) in block.transactions.iter().enumerate() {
                assert!(block.receipts[index].success, "a step was refused");
                let (to, input) = (transaction.envelope().to(), transaction.envelope().input());
                let (name, by_patient) = operation(world, to.unwrap(), input);
                let payer = name_of(transaction.sender());
                let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
                let calldata_gas = 4 * zeros + 16 * (input.len() as u64 - zeros);
                let gas = block.gas_used(index);
                self.steps.push(Step {
                    name,
                    actor: if by_patient { "patient".into() } else { payer.clone() },
                    payer,
                    gas,
                    intrinsic: INTRINSIC,
                    calldata_gas,
                    execution: gas - INTRINSIC - calldata_gas,
                });
            }
        }
        self.seen = head;
    }

    /// Leaves out what was sent since: it is not of the workflow.
    pub fn skip(&mut self, world: &World) {
        self.seen = world.chain().head().header.number;
    }

    /// Takes down the rest, and holds it against the file.
    #[track_caller]
    pub fn assert_listed(mut self, world: &World, name: &str, summary: &str) {
        self.take(world);
        let gas = self.steps.iter().map(|step| step.gas).sum();
        let measured =
            Workflow { name: name.into(), summary: summary.into(), gas, steps: self.steps };
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts/workflows.json");
        if std::env::var_os("SALUS_WRITE_GAS").is_some() {
            return write(&path, measured);
        }
        let listed = read(&fs::read_to_string(path).unwrap());
        let listed = listed.into_iter().find(|one| one.name == name);
        assert_eq!(
            Some(measured),
            listed,
            "contracts/workflows.json is not what was measured; if the change is meant, run `cargo xtask gas`"
        );
    }
}

fn read(text: &str) -> Vec<Workflow> {
    serde_json::from_str(text).unwrap()
}

/// Puts one workflow into the file. Tests that run beside this one do the same.
fn write(path: &std::path::Path, measured: Workflow) {
    use std::io::{Read as _, Seek as _, Write as _};
    let mut options = fs::OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
    file.lock().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let mut all = if text.is_empty() { Vec::new() } else { read(&text) };
    all.retain(|one| one.name != measured.name);
    all.push(measured);
    all.sort_by(|one, other| one.name.cmp(&other.name));
    file.set_len(0).unwrap();
    file.rewind().unwrap();
    file.write_all((serde_json::to_string_pretty(&all).unwrap() + "\n").as_bytes()).unwrap();
}

/// What a call is listed as, and whether a patient signed it.
fn operation(world: &World, to: Address, input: &Bytes) -> (String, bool) {
    if let Some(contract) = world.deployment.contract_at(&to) {
        return (listed_as(contract.name(), function(contract, input)), false);
    }
    // Otherwise it is a patient's account, which makes the calls that the patient signed.
    type Batch = (Vec<(Address, U256, Bytes)>, Bytes);
    let execute = <PatientAccount::executeCall as alloy_sol_types::SolCall>::abi_decode(input);
    let (calls, _) = Batch::abi_decode_params(&execute.unwrap().executionData).unwrap();
    let (callee, _, data) = calls.last().unwrap();
    let contract = world.deployment.contract_at(callee).unwrap();
    (listed_as(contract.name(), function(contract, data)), true)
}

/// The shortest name under which `contracts/gas.json` lists a function: longer ones tell special cases.
fn listed_as(contract: &str, function: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts/gas.json");
    let listed: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let found =
        listed.iter().filter(|one| one["contract"] == contract && one["function"] == function);
    let names = found.map(|one| one["name"].as_str().unwrap());
    let name = names.min_by_key(|name| (name.len(), name.to_string()));
    name.unwrap_or_else(|| panic!("{contract}.{function} is not in gas.json")).into()
}

fn function(contract: Contract, input: &[u8]) -> &'static str {
    let selector: [u8; 4] = input[..4].try_into().unwrap();
    let name = match contract {
        Contract::Registry => Registry::RegistryCalls::name_by_selector(selector),
        Contract::WebAuthnVerifier => {
            WebAuthnVerifier::WebAuthnVerifierCalls::name_by_selector(selector)
        }
        Contract::PatientAccounts => {
            PatientAccounts::PatientAccountsCalls::name_by_selector(selector)
        }
        Contract::Relationships => Relationships::RelationshipsCalls::name_by_selector(selector),
        Contract::Records => Records::RecordsCalls::name_by_selector(selector),
        Contract::Consents => Consents::ConsentsCalls::name_by_selector(selector),
        Contract::EmergencyAccess => {
            EmergencyAccess::EmergencyAccessCalls::name_by_selector(selector)
        }
        Contract::Prescriptions => Prescriptions::PrescriptionsCalls::name_by_selector(selector),
        Contract::LabOrders => LabOrders::LabOrdersCalls::name_by_selector(selector),
        Contract::AccessLog => AccessLog::AccessLogCalls::name_by_selector(selector),
        Contract::Surgeries => Surgeries::SurgeriesCalls::name_by_selector(selector),
        Contract::Trials => Trials::TrialsCalls::name_by_selector(selector),
        Contract::Devices => Devices::DevicesCalls::name_by_selector(selector),
        Contract::WaitingLists => WaitingLists::WaitingListsCalls::name_by_selector(selector),
        Contract::PaymentToken => PaymentToken::PaymentTokenCalls::name_by_selector(selector),
        Contract::Claims => Claims::ClaimsCalls::name_by_selector(selector),
        Contract::DataExchange => DataExchange::DataExchangeCalls::name_by_selector(selector),
    };
    name.unwrap()
}

/// Whose account it is: every key of a test follows from a name.
fn name_of(account: Address) -> String {
    let institutions = INSTITUTIONS.map(|(name, _)| name);
    let people = PEOPLE.map(|(name, ..)| name);
    let mut names = institutions.into_iter().chain(people).chain(GUESTS);
    names.find(|name| address(name) == account).unwrap().into()
}
