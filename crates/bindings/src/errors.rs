//! Why a contract refused, as a Rust value, and in words.

use std::fmt;

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::{Panic, Revert, SolError as _, SolInterface as _};

use crate::{
    AccessLog::AccessLogErrors, Claims::ClaimsErrors, Consents::ConsentsErrors,
    DataExchange::DataExchangeErrors, Devices::DevicesErrors,
    EmergencyAccess::EmergencyAccessErrors, LabOrders::LabOrdersErrors,
    PatientAccount::PatientAccountErrors, PatientAccounts::PatientAccountsErrors,
    PaymentToken::PaymentTokenErrors, Prescriptions::PrescriptionsErrors, Records::RecordsErrors,
    Registry::RegistryErrors, Relationships::RelationshipsErrors, Surgeries::SurgeriesErrors,
    Trials::TrialsErrors, WaitingLists::WaitingListsErrors, deployment::Contract,
    words::Words as _,
};

macro_rules! contract_errors {
    ($($(#[$meta:meta])* $variant:ident($errors:ty),)+) => {
        /// Why a contract refused: one of its errors, or one of a contract that it called.
        ///
        /// Some errors exist in several contracts with the same fields. [`ContractError::decode_from`] names
        /// the contract that was called; without it, the first in the order of the variants is named.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum ContractError {
            $($(#[$meta])* $variant($errors),)+
            /// `require` with a text.
            Text(String),
            /// An `assert` that failed, an overflow, or the like: a defect of the contract.
            Panic(u64),
            /// Nothing that any of the contracts says.
            Unknown(Bytes),
        }

        impl ContractError {
            /// Reads revert data.
            #[must_use]
            pub fn decode(data: &[u8]) -> Self {
                $(if let Ok(error) = <$errors>::abi_decode_validate(data) {
                    return Self::$variant(error);
                })+
                if let Ok(revert) = Revert::abi_decode_validate(data) {
                    return Self::Text(revert.reason);
                }
                if let Ok(panic) = Panic::abi_decode_validate(data) {
                    return Self::Panic(panic.code.saturating_to());
                }
                Self::Unknown(Bytes::copy_from_slice(data))
            }

            /// As `data` means it in the contract of this variant's name.
            fn decode_in(contract: &str, data: &[u8]) -> Option<Self> {
                match contract {
                    $(stringify!($variant) => {
                        <$errors>::abi_decode_validate(data).ok().map(Self::$variant)
                    })+
                    _ => None,
                }
            }

            /// Reads revert data of a call to one of these contracts: what only another contract says, one of
            /// them called that.
            #[must_use]
            pub fn decode_from(called: &[Contract], data: &[u8]) -> Self {
                let mut meant = called.iter().filter_map(|of| Self::decode_in(of.name(), data));
                meant.next().unwrap_or_else(|| Self::decode(data))
            }
        }

        impl fmt::Display for ContractError {
            /// What it means to whoever asked, and the error's name.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(error) => {
                        write!(f, "{} ({})", error.words(), variant_name(&format!("{error:?}")))
                    })+
                    Self::Text(reason) => f.write_str(reason),
                    Self::Panic(code) => write!(f, "panic {code:#x}"),
                    Self::Unknown(data) if data.is_empty() => f.write_str("no reason given"),
                    Self::Unknown(data) => write!(f, "unknown error {}", hex::encode_prefixed(data)),
                }
            }
        }
    };
}

contract_errors! {
    /// An error of the registry.
    Registry(RegistryErrors),
    /// An error of a patient's account.
    PatientAccount(PatientAccountErrors),
    /// An error of the factory of patients' accounts.
    PatientAccounts(PatientAccountsErrors),
    /// An error of the relationships.
    Relationships(RelationshipsErrors),
    /// An error of the anchors.
    Records(RecordsErrors),
    /// An error of the consents.
    Consents(ConsentsErrors),
    /// An error of emergency access.
    EmergencyAccess(EmergencyAccessErrors),
    /// An error of the prescriptions.
    Prescriptions(PrescriptionsErrors),
    /// An error of the laboratory orders.
    LabOrders(LabOrdersErrors),
    /// An error of the access log.
    AccessLog(AccessLogErrors),
    /// An error of the surgeries.
    Surgeries(SurgeriesErrors),
    /// An error of the trials.
    Trials(TrialsErrors),
    /// An error of the devices.
    Devices(DevicesErrors),
    /// An error of the waiting lists.
    WaitingLists(WaitingListsErrors),
    /// An error of the demonstration's money.
    PaymentToken(PaymentTokenErrors),
    /// An error of the claims.
    Claims(ClaimsErrors),
    /// An error of the research exchange.
    DataExchange(DataExchangeErrors),
}

impl std::error::Error for ContractError {}

/// The name in `Name(Error { … })`, which is the error's in the contract: whoever looks it up finds it by that.
fn variant_name(debug: &str) -> &str {
    debug.split_once('(').map_or(debug, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, U256};

    use super::*;
    use crate::{LabOrders, Prescriptions, Registry};

    #[test]
    fn errors_come_back_as_what_they_are() {
        let signer = Address::repeat_byte(1);
        let data = Registry::NotInstitution { signer }.abi_encode();
        let expected = RegistryErrors::NotInstitution(Registry::NotInstitution { signer });
        assert_eq!(ContractError::decode(&data), ContractError::Registry(expected));

        let error = Prescriptions::NotPermitted { id: B256::ZERO, pharmacy: signer };
        let text = ContractError::decode(&error.abi_encode()).to_string();
        assert!(text.ends_with("(NotPermitted)"), "{text}");
        assert!(
            text.starts_with("0x0101010101010101010101010101010101010101 may not have"),
            "{text}"
        );
    }

    #[test]
    fn an_error_of_several_contracts_is_that_of_the_one_that_was_called() {
        let data = LabOrders::WrongState { id: B256::ZERO, state: 4 }.abi_encode();
        let said = |called: &[Contract]| ContractError::decode_from(called, &data).to_string();
        assert!(said(&[Contract::LabOrders]).contains("is released, and"));
        assert!(said(&[Contract::Prescriptions]).contains("is cancelled, and"));
        assert!(said(&[Contract::Records, Contract::Claims]).contains("claim 0x"));
        // A contract that a called one called.
        let signer = Address::repeat_byte(1);
        let data = Registry::NotInstitution { signer }.abi_encode();
        let error = ContractError::decode_from(&[Contract::Claims], &data);
        assert!(matches!(error, ContractError::Registry(_)), "{error:?}");
    }

    #[test]
    fn plain_reverts_and_panics_are_told_apart() {
        let text = Revert::from("no").abi_encode();
        assert_eq!(ContractError::decode(&text), ContractError::Text("no".into()));
        let panic = Panic { code: U256::from(0x11) }.abi_encode();
        assert_eq!(ContractError::decode(&panic), ContractError::Panic(0x11));
        assert_eq!(ContractError::decode(&[]).to_string(), "no reason given");
        assert_eq!(ContractError::decode(&[1, 2]).to_string(), "unknown error 0x0102");
    }
}
