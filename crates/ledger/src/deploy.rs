//! Deploys the contracts.

use alloy_primitives::{Address, TxKind};
use alloy_provider::Provider as _;
use bindings::{Contract, Deployment, Registry, contract_name};
use domain::InstitutionRole;

use crate::{EndpointError, Outcome, SendError, Sender};

/// The contracts with what deploying each of them took.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// Where they are.
    pub deployment: Deployment,
    /// The deploying transactions, in the order of [`Contract::ALL`].
    pub outcomes: Vec<(Contract, Outcome)>,
}

/// Deploys all contracts with consecutive nonces and enters them in the registry's directory.
///
/// `sender` must be one of the founders; with several founders, the others still have to vote for the
/// directory.
///
/// # Errors
///
/// [`SendError`] from the first transaction that failed. Deploying again begins anew, elsewhere.
pub async fn deploy(
    sender: &Sender,
    founders: &[(Address, InstitutionRole)],
) -> Result<Deployed, SendError> {
    let provider = sender.ledger().provider();
    let nonce = provider.get_transaction_count(sender.address()).pending().await?;
    let deployment = Deployment::by(sender.address(), nonce);
    let mut outcomes = Vec::with_capacity(Contract::ALL.len());
    for contract in Contract::ALL {
        let founders = founders
            .iter()
            .map(|(account, role)| Registry::Founder { account: *account, role: role.number() })
            .collect();
        let code = deployment.creation_code(contract, founders);
        let outcome = sender.send_input(TxKind::Create, code).await?;
        if outcome.receipt.contract_address != Some(deployment.address(contract)) {
            // Another program used the key in between, so later contracts would point nowhere.
            return Err(EndpointError::Malformed { what: "a contract's address" }.into());
        }
        outcomes.push((contract, outcome));
    }
    let others = Contract::ALL.into_iter().filter(|contract| *contract != Contract::Registry);
    let (names, wheres) =
        others.map(|contract| (contract_name(contract), deployment.address(contract))).unzip();
    let registry = deployment.address(Contract::Registry);
    sender.send(registry, &Registry::proposeContractsCall { names, wheres }).await?;
    sender.ledger().know(&deployment);
    Ok(Deployed { deployment, outcomes })
}
