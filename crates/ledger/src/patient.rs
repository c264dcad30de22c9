//! A patient who acts through an account: signs batches of calls that any gateway relays.

use std::sync::Arc;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, TxKind, aliases::U24};
use alloy_provider::Provider as _;
use alloy_rpc_types_eth::{TransactionInput, TransactionRequest};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use bindings::{
    PatientAccount, PatientAccounts,
    patient_account::{
        Call, Execute, deadline, execute_call, execute_digest, message_digest, message_signature,
    },
};
use domain::Timestamp;

use crate::{
    Authorisation, CallError, Device, EndpointError, Ledger, NotSigned, Outcome, Passkey,
    SendError, Sender,
};

/// What a patient signs with.
#[derive(Debug)]
pub enum PatientKey {
    /// A wallet.
    Wallet(PrivateKeySigner),
    /// A passkey.
    Passkey(Passkey),
}

impl PatientKey {
    /// The signer bytes by which the account knows this key (ERC-7913).
    #[must_use]
    pub fn signer(&self, verifier: Address) -> Bytes {
        match self {
            Self::Wallet(wallet) => wallet.address().to_vec().into(),
            Self::Passkey(passkey) => passkey.signer(verifier),
        }
    }

    /// Signs a digest.
    #[must_use]
    pub fn sign(&self, digest: B256) -> Bytes {
        match self {
            Self::Wallet(wallet) => {
                let signature = wallet.sign_hash_sync(&digest);
                signature.expect("a key in memory can sign").as_bytes().to_vec().into()
            }
            Self::Passkey(passkey) => passkey.sign(digest),
        }
    }
}

/// An account with what acts for it.
pub struct Patient {
    account: Address,
    acting: Acting,
}

/// Where the key is.
enum Acting {
    Here { verifier: Address, key: PatientKey },
    Elsewhere(Arc<dyn Device>),
}

impl std::fmt::Debug for Patient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patient").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Patient {
    /// The account at `account`, acted for with `key`; passkeys are checked by `verifier`.
    #[must_use]
    pub const fn new(account: Address, verifier: Address, key: PatientKey) -> Self {
        Self { account, acting: Acting::Here { verifier, key } }
    }

    /// The account at `account`, acted for with a key on a device elsewhere.
    #[must_use]
    pub fn elsewhere(account: Address, device: Arc<dyn Device>) -> Self {
        Self { account, acting: Acting::Elsewhere(device) }
    }

    /// The account's address: the patient, on chain.
    #[must_use]
    pub const fn account(&self) -> Address {
        self.account
    }

    /// The key, when it is here.
    #[must_use]
    pub const fn key(&self) -> Option<&PatientKey> {
        match &self.acting {
            Acting::Here { key, .. } => Some(key),
            Acting::Elsewhere(_) => None,
        }
    }

    /// Signs a batch of calls with the account's next nonce.
    ///
    /// # Errors
    ///
    /// [`SendError::NotSigned`] with a key elsewhere, and [`SendError`] when the chain cannot be asked for the
    /// nonce.
    pub async fn sign_batch(
        &self,
        ledger: &Ledger,
        calls: Vec<Call>,
        valid_until: Timestamp,
    ) -> Result<PatientAccount::executeCall, SendError> {
        let latest = alloy_eips::BlockId::latest();
        let nonce = ledger.call(self.account, &PatientAccount::nonceCall {}, latest).await;
        let nonce = nonce.map_err(|error| match error {
            CallError::Reverted(reason) => SendError::Refused(reason),
            CallError::Endpoint(error) => SendError::Endpoint(error),
        })?;
        let batch = Execute { calls, nonce, deadline: deadline(valid_until) };
        let digest = execute_digest(ledger.chain_id(), self.account, &batch);
        let Authorisation { signer, signature } = match &self.acting {
            Acting::Here { verifier, key } => {
                Authorisation { signer: key.signer(*verifier), signature: key.sign(digest) }
            }
            Acting::Elsewhere(device) => {
                self.check(ledger, &batch.calls).await?;
                device.sign(self.account, &batch, digest).await?
            }
        };
        Ok(execute_call(&batch, &signer, &signature))
    }

    /// Asks whether the contracts would refuse one of these calls of the account now. What a call before it
    /// changes is not there yet, so batches do not rest on their own calls.
    async fn check(&self, ledger: &Ledger, calls: &[Call]) -> Result<(), SendError> {
        for call in calls {
            let request = TransactionRequest::default()
                .from(self.account)
                .to(call.to)
                .value(call.value)
                .input(TransactionInput::new(call.data.clone()));
            let called = ledger.provider().call(request).block(BlockId::pending()).await;
            called.map_err(|error| {
                SendError::of_call(ledger, TxKind::Call(call.to), &call.data, error)
            })?;
        }
        Ok(())
    }

    /// Signs a batch of calls and has a gateway relay it.
    ///
    /// # Errors
    ///
    /// [`SendError`] as of the relaying transaction.
    pub async fn act(
        &self,
        relay: &Sender,
        calls: Vec<Call>,
        valid_until: Timestamp,
    ) -> Result<Outcome, SendError> {
        let signed = self.sign_batch(relay.ledger(), calls, valid_until).await?;
        relay.send(self.account, &signed).await
    }

    /// Signs a digest so that the account vouches for it (ERC-1271), such as a query's.
    ///
    /// # Errors
    ///
    /// [`NotSigned`] with a key elsewhere, which signs calls only.
    pub fn sign_message(&self, chain_id: u64, hash: B256) -> Result<Bytes, NotSigned> {
        let Acting::Here { verifier, key } = &self.acting else { return Err(NotSigned::Declined) };
        let digest = message_digest(chain_id, self.account, hash);
        Ok(message_signature(&key.signer(*verifier), &key.sign(digest)))
    }
}

/// Where an account comes to be.
///
/// # Errors
///
/// [`CallError`] when the chain cannot be asked.
pub async fn predict_account(
    ledger: &Ledger,
    factory: Address,
    create: &PatientAccounts::createCall,
) -> Result<Address, CallError> {
    let predict = PatientAccounts::predictCall {
        signer: create.signer.clone(),
        guardians: create.guardians,
        recoveryDelay: create.recoveryDelay,
        custodians: create.custodians.clone(),
        salt: create.salt,
    };
    ledger.call(factory, &predict, alloy_eips::BlockId::latest()).await
}

/// Whether an account vouches for a signature under a digest (ERC-1271), by the newest block.
///
/// # Errors
///
/// [`CallError`] when the chain cannot be asked.
///
/// # Source
///
/// [ERC-1271](https://eips.ethereum.org/EIPS/eip-1271).
pub async fn is_valid_signature(
    ledger: &Ledger,
    account: Address,
    hash: B256,
    signature: Bytes,
) -> Result<bool, CallError> {
    const MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];
    let call = PatientAccount::isValidSignatureCall { hash, signature };
    match ledger.call(account, &call, alloy_eips::BlockId::latest()).await {
        Ok(answer) => Ok(answer.0 == MAGIC),
        // An account that does not understand the signature says so by refusing.
        Err(CallError::Reverted(_)) => Ok(false),
        // So does an address where there is no account: it answers nothing.
        Err(CallError::Endpoint(EndpointError::Malformed { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How long a recovery waits unless the patient chooses otherwise: three days to notice and cancel.
const RECOVERY_DELAY_SECONDS: u32 = 3 * 86_400;

/// What creates an account without guardians or custodians.
#[must_use]
pub fn creation(signer: Bytes, salt: B256) -> PatientAccounts::createCall {
    PatientAccounts::createCall {
        signer,
        guardians: B256::ZERO,
        recoveryDelay: U24::from(RECOVERY_DELAY_SECONDS),
        custodians: Vec::new(),
        salt,
    }
}
