//! Which account stands behind a `Patient` resource.

use alloy_primitives::{Address, B256};
use axum::http::StatusCode;
use domain::RelationshipState;
use fhir::{ACCOUNT_SYSTEM, FhirError, Patients};
use futures_util::future::BoxFuture;
use serde_json::Value;
use workflows::Gateway;

/// The digest under which the registry knows an identity number, to this institution only.
pub(crate) fn identity_digest(authority: &Gateway, system: &str, value: &str) -> B256 {
    authority.keyed_digest("salus/identity/v1", format!("{system}|{value}").as_bytes())
}

/// Patients as the registry knows them: by account, or by an identity number that this institution bound
/// to one. Either way the patient must be in a relationship with the institution.
pub(crate) struct RegisteredPatients {
    gateway: Gateway,
}

impl RegisteredPatients {
    /// The patients of an institution.
    pub(crate) const fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }

    async fn find(&self, patient: &Value) -> Result<Option<Address>, FhirError> {
        let projection = self.gateway.gatekeeper.projection().await;
        let member = self.gateway.member();
        let mut found: Option<Address> = None;
        let identifiers = patient["identifier"].as_array().map(Vec::as_slice).unwrap_or_default();
        for identifier in identifiers {
            let (Some(system), Some(value)) =
                (identifier["system"].as_str(), identifier["value"].as_str())
            else {
                continue;
            };
            let account = if system == ACCOUNT_SYSTEM {
                value.parse().ok()
            } else {
                let digest = identity_digest(&self.gateway, system, value);
                projection.registry.resolve(member, digest)
            };
            match (account, found) {
                (Some(account), Some(other)) if account != other => {
                    let text = "the identifiers are those of different accounts";
                    return Err(FhirError::new(
                        StatusCode::UNPROCESSABLE_ENTITY,
                        "business-rule",
                        text,
                    ));
                }
                (account, _) => found = found.or(account),
            }
        }
        Ok(found.filter(|account| {
            let relationship = projection.consents.relationship(*account, member);
            relationship.and_then(|relationship| relationship.state)
                == Some(RelationshipState::Active)
        }))
    }
}

impl Patients for RegisteredPatients {
    fn account_of<'a>(
        &'a self,
        patient: &'a Value,
    ) -> BoxFuture<'a, Result<Option<Address>, FhirError>> {
        Box::pin(self.find(patient))
    }
}
