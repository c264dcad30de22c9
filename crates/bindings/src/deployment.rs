//! Where the contracts are, and what deploying them takes.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolConstructor as _;

use crate::{
    AccessLog, Claims, Consents, DataExchange, Devices, EmergencyAccess, LabOrders,
    PatientAccounts, PaymentToken, Prescriptions, Records, Registry, Relationships, Surgeries,
    Trials, WaitingLists, WebAuthnVerifier,
};

/// A contract that is deployed once, in the order of deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contract {
    /// Members, keys, identities, and the directory of the others.
    Registry,
    /// Checks passkeys (OpenZeppelin's ERC-7913 verifier).
    WebAuthnVerifier,
    /// Makes patients' accounts.
    PatientAccounts,
    /// Patients and their stewards.
    Relationships,
    /// Anchors.
    Records,
    /// Patients' consents.
    Consents,
    /// Breaking the glass.
    EmergencyAccess,
    /// Prescriptions.
    Prescriptions,
    /// Laboratory orders.
    LabOrders,
    /// Roots of the gatekeepers' access logs.
    AccessLog,
    /// Operations, with their checklists and implants.
    Surgeries,
    /// Clinical trials.
    Trials,
    /// Devices at patients, and their readings.
    Devices,
    /// Waiting lists and the monthly census.
    WaitingLists,
    /// The money of a demonstration.
    PaymentToken,
    /// Coverages, claims and their payment.
    Claims,
    /// Data for research, and its price.
    DataExchange,
}

impl Contract {
    /// All of them, in the order of deployment.
    pub const ALL: [Self; 17] = [
        Self::Registry,
        Self::WebAuthnVerifier,
        Self::PatientAccounts,
        Self::Relationships,
        Self::Records,
        Self::Consents,
        Self::EmergencyAccess,
        Self::Prescriptions,
        Self::LabOrders,
        Self::AccessLog,
        Self::Surgeries,
        Self::Trials,
        Self::Devices,
        Self::WaitingLists,
        Self::PaymentToken,
        Self::Claims,
        Self::DataExchange,
    ];

    /// Its name, as the registry's directory holds it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registry => "Registry",
            Self::WebAuthnVerifier => "WebAuthnVerifier",
            Self::PatientAccounts => "PatientAccounts",
            Self::Relationships => "Relationships",
            Self::Records => "Records",
            Self::Consents => "Consents",
            Self::EmergencyAccess => "EmergencyAccess",
            Self::Prescriptions => "Prescriptions",
            Self::LabOrders => "LabOrders",
            Self::AccessLog => "AccessLog",
            Self::Surgeries => "Surgeries",
            Self::Trials => "Trials",
            Self::Devices => "Devices",
            Self::WaitingLists => "WaitingLists",
            Self::PaymentToken => "PaymentToken",
            Self::Claims => "Claims",
            Self::DataExchange => "DataExchange",
        }
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A contract's name as the registry's directory wants it.
#[must_use]
pub fn contract_name(contract: Contract) -> B256 {
    let mut name = B256::ZERO;
    name[..contract.name().len()].copy_from_slice(contract.name().as_bytes());
    name
}

/// Where each contract is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment([Address; Contract::ALL.len()]);

impl Deployment {
    /// Where the contracts come to be when `deployer` deploys them in order, beginning with `nonce`.
    #[must_use]
    pub fn by(deployer: Address, nonce: u64) -> Self {
        let mut addresses = [Address::ZERO; Contract::ALL.len()];
        for (address, nonce) in addresses.iter_mut().zip(nonce..) {
            *address = deployer.create(nonce);
        }
        Self(addresses)
    }

    /// The addresses, in the order of [`Contract::ALL`].
    #[must_use]
    pub const fn from_addresses(addresses: [Address; Contract::ALL.len()]) -> Self {
        Self(addresses)
    }

    /// Where a contract is.
    #[must_use]
    pub const fn address(&self, contract: Contract) -> Address {
        self.0[contract as usize]
    }

    /// Which contract is at an address.
    #[must_use]
    pub fn contract_at(&self, address: &Address) -> Option<Contract> {
        Contract::ALL.into_iter().find(|contract| self.address(*contract) == *address)
    }

    /// All addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.0.to_vec()
    }

    /// The code and arguments that deploy a contract.
    ///
    /// `founders` are the first institutions of the registry, and have all the money of a demonstration.
    #[must_use]
    pub fn creation_code(&self, contract: Contract, founders: Vec<Registry::Founder>) -> Bytes {
        let registry = self.address(Contract::Registry);
        let relationships = self.address(Contract::Relationships);
        let records = self.address(Contract::Records);
        let token = self.address(Contract::PaymentToken);
        let (code, arguments) = match contract {
            Contract::Registry => {
                (&Registry::BYTECODE, Registry::constructorCall { founders }.abi_encode())
            }
            Contract::WebAuthnVerifier => (&WebAuthnVerifier::BYTECODE, Vec::new()),
            Contract::PatientAccounts => (&PatientAccounts::BYTECODE, Vec::new()),
            Contract::Relationships => {
                let call = Relationships::constructorCall { registry, records };
                (&Relationships::BYTECODE, call.abi_encode())
            }
            Contract::Records => {
                let call = Records::constructorCall { registry, relationships };
                (&Records::BYTECODE, call.abi_encode())
            }
            Contract::Consents => {
                let call = Consents::constructorCall { registry, relationships };
                (&Consents::BYTECODE, call.abi_encode())
            }
            Contract::EmergencyAccess => {
                let call = EmergencyAccess::constructorCall { registry };
                (&EmergencyAccess::BYTECODE, call.abi_encode())
            }
            Contract::Prescriptions => {
                let call = Prescriptions::constructorCall { registry, relationships };
                (&Prescriptions::BYTECODE, call.abi_encode())
            }
            Contract::LabOrders => {
                let call = LabOrders::constructorCall { registry, relationships };
                (&LabOrders::BYTECODE, call.abi_encode())
            }
            Contract::AccessLog => {
                let call = AccessLog::constructorCall { registry };
                (&AccessLog::BYTECODE, call.abi_encode())
            }
            Contract::Surgeries => {
                let call = Surgeries::constructorCall { registry, relationships };
                (&Surgeries::BYTECODE, call.abi_encode())
            }
            Contract::Trials => {
                let call = Trials::constructorCall { registry };
                (&Trials::BYTECODE, call.abi_encode())
            }
            Contract::Devices => {
                let call = Devices::constructorCall { registry, relationships };
                (&Devices::BYTECODE, call.abi_encode())
            }
            Contract::WaitingLists => {
                let call = WaitingLists::constructorCall { registry, relationships };
                (&WaitingLists::BYTECODE, call.abi_encode())
            }
            Contract::PaymentToken => {
                let founders = founders.into_iter().map(|founder| founder.account).collect();
                let call = PaymentToken::constructorCall { founders };
                (&PaymentToken::BYTECODE, call.abi_encode())
            }
            Contract::Claims => {
                let call = Claims::constructorCall {
                    registry,
                    token,
                    prescriptions: self.address(Contract::Prescriptions),
                    labOrders: self.address(Contract::LabOrders),
                    surgeries: self.address(Contract::Surgeries),
                };
                (&Claims::BYTECODE, call.abi_encode())
            }
            Contract::DataExchange => {
                let call = DataExchange::constructorCall { registry, token };
                (&DataExchange::BYTECODE, call.abi_encode())
            }
        };
        [code.as_ref(), &arguments].concat().into()
    }
}
