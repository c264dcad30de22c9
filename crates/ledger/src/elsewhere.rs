//! Keys that are somewhere else: in a wallet, a browser, a telephone. What is to be signed goes there, and
//! what comes back is held against what was asked for.

use std::{future::Future, pin::Pin};

use alloy_consensus::TypedTransaction;
use alloy_primitives::{Address, B256, Bytes, Signature};
use bindings::patient_account::Execute;

/// What will have come back.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, NotSigned>> + Send + 'a>>;

/// Why nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// Whoever was to sign said no.
    #[error("it was not signed")]
    Declined,
    /// Whoever was to sign said nothing.
    #[error("nobody signed it in time")]
    TimedOut,
    /// Something else was signed, or by somebody else.
    #[error("what came back is not the signature that was asked for")]
    Wrong,
}

/// What a wallet made of a transaction.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It signed it, just as it was asked for.
    Signature(Signature),
    /// It sent one that does the same, with a nonce and a price of its own.
    Sent(B256),
}

/// A wallet of somebody who sends transactions.
pub trait Wallet: Send + Sync {
    /// The address that it signs for.
    fn address(&self) -> Address;

    /// Has a transaction signed, or sent.
    fn submit(&self, transaction: TypedTransaction) -> Answering<'_, Submitted>;
}

/// What an account takes for its owner's word.
#[derive(Clone, Debug)]
pub struct Authorisation {
    /// The signer bytes by which the account knows the key (ERC-7913).
    pub signer: Bytes,
    /// The signature.
    pub signature: Bytes,
}

/// A device of a patient, who acts through an account.
pub trait Device: Send + Sync {
    /// Has a batch of calls signed; `digest` is what is signed of it.
    fn sign<'a>(
        &'a self,
        account: Address,
        batch: &'a Execute,
        digest: B256,
    ) -> Answering<'a, Authorisation>;
}
