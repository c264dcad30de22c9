//! Which account stands behind a `Patient` resource.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use axum::http::StatusCode;
use domain::RelationshipState;
use fhir::{ACCOUNT_SYSTEM, FhirError, Patients};
use futures_util::future::BoxFuture;
use serde_json::Value;
use workflows::{Gateway, laboratory_messages::NumberDigest};

/// The digest under which the registry knows an identity number, to this institution only.
pub(crate) fn identity_digest(authority: &Gateway, system: &str, value: &str) -> B256 {
    authority.keyed_digest("salus/identity/v1", format!("{system}|{value}").as_bytes())
}

/// The same for numbers in messages.
pub(crate) fn number_digest() -> NumberDigest {
    Arc::new(|authority, number| identity_digest(authority, &number.system, &number.value))
}

/// Patients by the account that they name, who must be in a relationship with the institution. Identity
/// numbers do not count here: whoever could try them by writing would learn whose they are. They are looked
/// up by `/api/resolve`, which counts and logs that.
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
        let named = identifiers.iter().filter(|one| one["system"] == ACCOUNT_SYSTEM);
        for account in named.filter_map(|one| one["value"].as_str()?.parse().ok()) {
            if found.is_some_and(|other| other != account) {
                let text = "the identifiers are those of different accounts";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(FhirError::new(status, "business-rule", text));
            }
            found = Some(account);
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
