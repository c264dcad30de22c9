//! A patient who acts through an account: signs batches of calls that any gateway relays.

use alloy_primitives::{Address, B256, Bytes, aliases::U24};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use bindings::{
    PatientAccount, PatientAccounts,
    patient_account::{
        Call, Execute, deadline, execute_call, execute_digest, message_digest, message_signature,
    },
};
use domain::Timestamp;

use crate::{CallError, EndpointError, Ledger, Outcome, Passkey, SendError, Sender};

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

/// An account with the key that acts for it.
#[derive(Debug)]
pub struct Patient {
    account: Address,
    verifier: Address,
    key: PatientKey,
}

impl Patient {
    /// The account at `account`, acted for with `key`; passkeys are checked by `verifier`.
    #[must_use]
    pub const fn new(account: Address, verifier: Address, key: PatientKey) -> Self {
        Self { account, verifier, key }
    }

    /// The account's address: the patient, on chain.
    #[must_use]
    pub const fn account(&self) -> Address {
        self.account
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PatientKey {
        &self.key
    }

    /// Signs a batch of calls with the account's next nonce.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the chain cannot be asked for the nonce.
    pub async fn sign_batch(
        &self,
        ledger: &Ledger,
        calls: Vec<Call>,
        valid_until: Timestamp,
    ) -> Result<PatientAccount::executeCall, CallError> {
        let latest = alloy_eips::BlockId::latest();
        let nonce = ledger.call(self.account, &PatientAccount::nonceCall {}, latest).await?;
        let batch = Execute { calls, nonce, deadline: deadline(valid_until) };
        let signer = self.key.signer(self.verifier);
        let digest = execute_digest(ledger.chain_id(), self.account, &batch);
        Ok(execute_call(&batch, &signer, &self.key.sign(digest)))
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
        let signed = self.sign_batch(relay.ledger(), calls, valid_until).await;
        let signed = signed.map_err(|error| match error {
            CallError::Reverted(reason) => SendError::Refused(reason),
            CallError::Endpoint(error) => SendError::Endpoint(error),
        })?;
        relay.send(self.account, &signed).await
    }

    /// Signs a digest so that the account vouches for it (ERC-1271), such as a query's.
    #[must_use]
    pub fn sign_message(&self, chain_id: u64, hash: B256) -> Bytes {
        let digest = message_digest(chain_id, self.account, hash);
        message_signature(&self.key.signer(self.verifier), &self.key.sign(digest))
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
