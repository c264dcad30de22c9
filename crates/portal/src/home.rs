//! What the portal has to be told by the process it runs in.

use std::{future::Future, path::Path, pin::Pin};

use alloy_primitives::{Address, B256, Bytes};
use bindings::Deployment;
use domain::{InstitutionRole, Reader};
use serde_json::{Value, json};

/// A future that may be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The institution whose gateway serves the portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Institution {
    /// What people call it.
    pub name: String,
    /// What it is.
    pub role: InstitutionRole,
    /// Its member address.
    pub member: Address,
}

/// What only the process knows that the portal runs in.
pub trait Home: Send + Sync {
    /// Whose portal it is.
    fn institution(&self) -> &Institution;

    /// The chain that signatures are for.
    fn chain_id(&self) -> u64;

    /// The time, in milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Random bytes, new at each call.
    fn random(&self) -> [u8; 32];

    /// Who an address is for this institution now, as the registry says; `None` for nobody.
    fn who(&self, address: Address) -> BoxFuture<'_, Result<Option<Reader>, HomeError>>;

    /// The member who signs with this key now, when it is another address than the member's own.
    fn member_of_key(&self, key: Address) -> BoxFuture<'_, Result<Option<Address>, HomeError>>;

    /// Whether a patient's account has this signer now (ERC-7913 bytes).
    fn has_signer(&self, account: Address, signer: Bytes)
    -> BoxFuture<'_, Result<bool, HomeError>>;

    /// The contract that checks passkeys: the first twenty bytes of a passkey's signer.
    fn passkey_verifier(&self) -> Address;

    /// A bearer token for somebody, that the gateway's own interfaces believe and nobody outside ever sees. It lasts
    /// a minute or longer.
    fn token(&self, reader: &Reader) -> Result<String, HomeError>;

    /// What people call a member or a patient, when that is known.
    fn name(&self, address: Address) -> Option<String>;

    /// Institutions and professionals in force, as the registry has them: whom patients may share with.
    fn members(&self) -> BoxFuture<'_, Result<Vec<Member>, HomeError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Asks the chain, in JSON-RPC: methods that read.
    fn rpc<'a>(&'a self, method: &'a str, params: Value)
    -> BoxFuture<'a, Result<Value, HomeError>>;

    /// A call in words: an object with `to`, `call` and `inner`, as `/api/steps` says what something `does`.
    fn words(&self, to: Option<Address>, data: &[u8]) -> Value;

    /// An event in words: an object with `contract` and `event`, or null when it is of no contract of ours.
    fn event(&self, log: &Value) -> Value;

    /// How this gateway fares, as `/readyz` says it.
    fn health(&self) -> BoxFuture<'_, Value>;

    /// Where the contracts are; `None` when the explorer is not to be shown.
    fn deployment(&self) -> Option<&Deployment> {
        None
    }

    /// Asks the chain, and gives its whole answer as JSON-RPC has it: an object with `result`, or with `error`, which
    /// has a `code`, a `message`, and for a call that reverted its `data`.
    fn answer<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Value> {
        Box::pin(async move {
            match self.rpc(method, params).await {
                Ok(result) => json!({ "result": result }),
                Err(error) => json!({ "error": { "code": -32_000, "message": error.to_string() } }),
            }
        })
    }

    /// The folder that `salus study` wrote, when one is configured.
    fn study(&self) -> Option<&Path> {
        None
    }

    /// This gateway's figures, as `/metrics` gives them to Prometheus, without those of others in the same process.
    fn figures(&self) -> BoxFuture<'_, String> {
        Box::pin(async { String::new() })
    }

    /// The demonstration, when this is one.
    fn demonstration(&self) -> Option<&dyn Demonstration>;
}

/// A member of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member address.
    pub address: Address,
    /// What people call them.
    pub name: String,
    /// In words, such as `laboratory`, or `physician of the hospital`.
    pub role: String,
}

/// Somebody who can be picked in the demonstration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// What they are called.
    pub name: String,
    /// Their member address, or their account.
    pub address: Address,
    /// In words, such as `physician of the hospital`.
    pub role: String,
    /// Whether this gateway is the one they use: where they are known, or act for.
    pub is_here: bool,
}

/// What only a demonstration does: letting anybody be anybody, and signing for them.
pub trait Demonstration: Send + Sync {
    /// Everybody who can be picked, in the order to show them.
    fn people(&self) -> Vec<Picked>;

    /// Signs a digest with somebody's key: the object that `POST /api/steps/{id}` takes.
    fn sign(&self, who: Address, digest: B256) -> BoxFuture<'_, Result<Value, HomeError>>;
}

/// Why the process could not say. The text is for people, and names nobody.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HomeError(pub String);
