//! What the contracts are, from what they were compiled from: their ABIs, and the sentences and names in their
//! sources. So what the explorer says of a function is what its author wrote over it, and cannot drift from it.

use std::{collections::BTreeMap, sync::LazyLock};

use alloy_json_abi::{Function, JsonAbi, StateMutability};
use bindings::{Contract, Deployment};
use serde::Deserialize;

/// A contract as people know it.
pub(crate) struct Interface {
    /// Its name, as the registry's directory holds it.
    pub(crate) name: &'static str,
    /// Which one; `None` for the accounts of patients, of which there are many.
    pub(crate) contract: Option<Contract>,
    /// What can be called and what it tells.
    pub(crate) abi: JsonAbi,
    /// Its source; empty where it is not ours.
    pub(crate) source: &'static str,
    sentences: BTreeMap<String, String>,
    enums: BTreeMap<String, Vec<String>>,
}

/// The name under which the accounts of patients are shown.
pub(crate) const ACCOUNT: &str = "PatientAccount";

#[derive(Deserialize)]
struct Artifact {
    abi: JsonAbi,
}

macro_rules! interfaces {
    ($($name:literal $contract:expr, $artifact:literal, $source:expr;)+) => {
        static ALL: LazyLock<Vec<Interface>> = LazyLock::new(|| {
            vec![$(Interface::new(
                $name,
                $contract,
                include_str!(concat!("../../../../../contracts/artifacts/", $artifact, ".json")),
                $source,
            ),)+]
        });
    };
}

macro_rules! source {
    ($name:literal) => {
        include_str!(concat!("../../../../../contracts/src/", $name, ".sol"))
    };
}

interfaces! {
    "Registry" Some(Contract::Registry), "Registry", source!("Registry");
    "WebAuthnVerifier" Some(Contract::WebAuthnVerifier), "ERC7913WebAuthnVerifier", "";
    "PatientAccounts" Some(Contract::PatientAccounts), "PatientAccounts", source!("PatientAccounts");
    "Relationships" Some(Contract::Relationships), "Relationships", source!("Relationships");
    "Records" Some(Contract::Records), "Records", source!("Records");
    "Consents" Some(Contract::Consents), "Consents", source!("Consents");
    "EmergencyAccess" Some(Contract::EmergencyAccess), "EmergencyAccess", source!("EmergencyAccess");
    "Prescriptions" Some(Contract::Prescriptions), "Prescriptions", source!("Prescriptions");
    "LabOrders" Some(Contract::LabOrders), "LabOrders", source!("LabOrders");
    "AccessLog" Some(Contract::AccessLog), "AccessLog", source!("AccessLog");
    "Surgeries" Some(Contract::Surgeries), "Surgeries", source!("Surgeries");
    "Trials" Some(Contract::Trials), "Trials", source!("Trials");
    "Devices" Some(Contract::Devices), "Devices", source!("Devices");
    "WaitingLists" Some(Contract::WaitingLists), "WaitingLists", source!("WaitingLists");
    "PaymentToken" Some(Contract::PaymentToken), "PaymentToken", source!("PaymentToken");
    "Claims" Some(Contract::Claims), "Claims", source!("Claims");
    "DataExchange" Some(Contract::DataExchange), "DataExchange", source!("DataExchange");
    "PatientAccount" None, "PatientAccount", source!("PatientAccount");
}

/// The vocabularies that all contracts share.
static SHARED_ENUMS: LazyLock<BTreeMap<String, Vec<String>>> =
    LazyLock::new(|| enums(source!("Types")));

/// What functions and events that contracts take over from smaller ones say of themselves.
static SHARED_SENTENCES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let mut found = sentences(source!("Purse"));
    // OpenZeppelin's, whose source is not ours.
    let together = "Makes several calls of this contract at once, all or nothing.";
    found.insert("function multicall".into(), together.into());
    found
});

/// All contracts, in the order of deployment, and the accounts of patients.
pub(crate) fn all() -> &'static [Interface] {
    &ALL
}

/// The contract of this name.
pub(crate) fn named(name: &str) -> Option<&'static Interface> {
    ALL.iter().find(|interface| interface.name == name)
}

/// Which of them a contract is.
pub(crate) fn of(contract: Contract) -> &'static Interface {
    let found = ALL.iter().find(|interface| interface.contract == Some(contract));
    found.expect("every contract has its interface; a test looks at all of them")
}

/// Where it is.
pub(crate) fn address(
    interface: &Interface,
    deployment: &Deployment,
) -> Option<alloy_primitives::Address> {
    interface.contract.map(|contract| deployment.address(contract))
}

impl Interface {
    fn new(
        name: &'static str,
        contract: Option<Contract>,
        artifact: &str,
        source: &'static str,
    ) -> Self {
        let artifact: Artifact =
            serde_json::from_str(artifact).expect("the committed artifacts are JSON with an ABI");
        let (sentences, enums) = (sentences(source), enums(source));
        Self { name, contract, abi: artifact.abi, source, sentences, enums }
    }

    /// What it is for.
    pub(crate) fn about(&self) -> &str {
        match self.sentence(&format!("contract {}", self.name)) {
            Some(about) => about,
            None => {
                "Checks the signatures of passkeys (OpenZeppelin's ERC-7913 verifier for WebAuthn)."
            }
        }
    }

    /// What a function does, in its author's words.
    pub(crate) fn function_sentence(&self, name: &str) -> Option<&str> {
        self.sentence(&format!("function {name}"))
    }

    /// What an event says, in its author's words.
    pub(crate) fn event_sentence(&self, name: &str) -> Option<&str> {
        self.sentence(&format!("event {name}"))
    }

    fn sentence(&self, key: &str) -> Option<&str> {
        self.sentences.get(key).or_else(|| SHARED_SENTENCES.get(key)).map(String::as_str)
    }

    /// The name of an enumeration's value, in words.
    pub(crate) fn value_name(
        &self,
        enumeration: &str,
        within: Option<&str>,
        value: usize,
    ) -> Option<String> {
        let elsewhere = within.and_then(named).filter(|other| other.name != self.name);
        let own = elsewhere.map_or(&self.enums, |other| &other.enums);
        let values = own.get(enumeration).or_else(|| SHARED_ENUMS.get(enumeration))?;
        values.get(value).map(|name| in_words(name))
    }

    /// What can be called without a transaction, by name.
    pub(crate) fn readers(&self) -> impl Iterator<Item = &Function> {
        self.abi.functions().filter(|function| reads(function))
    }

    /// What takes a transaction, by name.
    pub(crate) fn writers(&self) -> impl Iterator<Item = &Function> {
        self.abi.functions().filter(|function| !reads(function))
    }
}

fn reads(function: &Function) -> bool {
    matches!(function.state_mutability, StateMutability::View | StateMutability::Pure)
}

/// `AwaitingSignature` as "awaiting signature".
pub(crate) fn in_words(name: &str) -> String {
    let mut words = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// The `@notice` over each contract, function, event and public value of a source, by `kind name`.
fn sentences(source: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut notice: Option<String> = None;
    let mut continues = false;
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            let text = text.trim();
            if let Some(text) = text.strip_prefix("@notice") {
                (notice, continues) = (Some(text.trim().to_owned()), true);
            } else if text.starts_with('@') || text.is_empty() {
                continues = false;
            } else if let (true, Some(notice)) = (continues, &mut notice) {
                notice.push(' ');
                notice.push_str(text);
            }
            continue;
        }
        if let (Some(notice), Some(key)) = (notice.take(), declared(line)) {
            // Names of parameters stand in backquotes there.
            found.entry(key).or_insert_with(|| notice.replace('`', ""));
        }
    }
    found
}

/// What a line declares, as `kind name`.
fn declared(line: &str) -> Option<String> {
    let name = |rest: &str| -> String {
        rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    for (beginning, kind) in [
        ("abstract contract ", "contract"),
        ("contract ", "contract"),
        ("function ", "function"),
        ("event ", "event"),
    ] {
        if let Some(rest) = line.strip_prefix(beginning) {
            return Some(format!("{kind} {}", name(rest)));
        }
    }
    // A public value has a function of its name that reads it.
    let (before, _) = line.split_once(['=', ';'])?;
    let words: Vec<&str> = before.split_whitespace().collect();
    let last = words.last().filter(|_| words.contains(&"public"))?;
    Some(format!("function {last}"))
}

/// The values of each enumeration of a source, by its name.
fn enums(source: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut current: Option<(String, Vec<String>)> = None;
    for line in source.lines().map(str::trim) {
        match &mut current {
            None => {
                let name = line.strip_prefix("enum ").and_then(|rest| rest.strip_suffix(" {"));
                current = name.map(|name| (name.to_owned(), Vec::new()));
            }
            Some(_) if line.starts_with('}') => found.extend(current.take()),
            Some(_) if line.starts_with("//") => {}
            Some((_, values)) => values.push(line.trim_end_matches(',').to_owned()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contract_has_its_interface_under_its_name() {
        for contract in Contract::ALL {
            assert_eq!(of(contract).name, contract.name());
        }
        assert!(named(ACCOUNT).is_some_and(|account| account.contract.is_none()));
    }

    #[test]
    fn every_event_and_every_function_that_writes_says_what_it_is_about() {
        let ours = all().iter().filter(|interface| !interface.source.is_empty());
        // These are the money's, which is OpenZeppelin's token.
        for interface in ours.filter(|interface| interface.name != "PaymentToken") {
            assert!(interface.about().ends_with('.'), "{}: {}", interface.name, interface.about());
            for function in interface.writers() {
                let said = interface.function_sentence(&function.name);
                assert!(said.is_some(), "{}.{} says nothing", interface.name, function.name);
            }
            for event in interface.abi.events().filter(|event| event.name != "EIP712DomainChanged")
            {
                let said = interface.event_sentence(&event.name);
                assert!(said.is_some(), "{}.{} says nothing", interface.name, event.name);
            }
        }
    }

    #[test]
    fn values_of_enumerations_have_names() {
        let prescriptions = of(Contract::Prescriptions);
        assert_eq!(
            prescriptions.value_name("State", None, 6).as_deref(),
            Some("awaiting signature")
        );
        assert_eq!(
            prescriptions.value_name("State", Some("Prescriptions"), 1).as_deref(),
            Some("issued")
        );
        assert_eq!(
            prescriptions.value_name("State", Some("LabOrders"), 1).as_deref(),
            Some("ordered")
        );
        assert_eq!(
            of(Contract::Registry).value_name("ProfessionalRole", None, 7).as_deref(),
            Some("privacy officer")
        );
        assert_eq!(prescriptions.value_name("State", None, 200), None);
    }

    #[test]
    fn sentences_are_those_over_the_declarations() {
        let source = "/// @title T\n/// @notice Holds\n///   things.\n/// @dev No.\ncontract T {\n\
            /// @notice Where `x` is.\nuint256 public immutable X = 1;\n\
            /// @notice Does it.\n/// @param y What.\nfunction doIt(uint8 y) external {\n\
            // a comment\nfunction silent() external {\n}";
        let found = sentences(source);
        assert_eq!(found["contract T"], "Holds things.");
        assert_eq!(found["function X"], "Where x is.");
        assert_eq!(found["function doIt"], "Does it.");
        assert!(!found.contains_key("function silent"));
    }
}
