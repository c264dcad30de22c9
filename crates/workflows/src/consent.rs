//! Consent: the patient's grant to a reader, countersigned by the steward where the policy asks for
//! both, and revoked at any time.

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256};
use bindings::{
    Consents, Contract, PatientAccount,
    convert::{to_grant, to_scope},
    patient_account::{Call, Execute, deadline, execute_call, execute_digest, typed_data},
};
use domain::{RecordId, Terms, Timestamp};
use ledger::Outcome;
use serde_json::Value;

use crate::{Gateway, PatientActor, Step, WorkflowError};

/// The patient consents that `reader`, an institution or a professional by member address, reads what
/// the terms cover: all records, or one.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the terms are empty or over already.
pub async fn grant(
    relay: &Gateway,
    patient: &PatientActor,
    reader: Address,
    record: Option<RecordId>,
    terms: &Terms,
    now: Timestamp,
) -> Result<(u32, Step), WorkflowError> {
    let call = Change { reader, record, terms: Some(*terms) }.call(relay);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let granted = outcome.events::<Consents::ConsentGranted>();
    let version = granted.first().map_or(0, |granted| granted.version);
    let what = format!("consents: {} for {}", terms.kinds, terms.purposes);
    Ok((version, Step::new(&patient.name, what, "consent.grant", &outcome)))
}

/// The steward countersigns one version of a consent.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the consent was changed since.
pub async fn countersign(
    steward: &Gateway,
    patient: Address,
    reader: Address,
    record: Option<RecordId>,
    version: u32,
) -> Result<Step, WorkflowError> {
    let call = Consents::countersignCall { patient, reader, record: to_scope(record), version };
    let outcome = steward.sender().send(steward.at(Contract::Consents), &call).await?;
    Ok(Step::new(&steward.name, "countersigns the consent", "consent.countersign", &outcome))
}

/// The patient takes a consent back, from this block on.
///
/// # Errors
///
/// [`WorkflowError::Send`] only when the transaction cannot be sent: the contract never refuses.
pub async fn revoke(
    relay: &Gateway,
    patient: &PatientActor,
    reader: Address,
    record: Option<RecordId>,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Change { reader, record, terms: None }.call(relay);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "revokes the consent", "consent.revoke", &outcome))
}

/// Whether a consent is there that can be taken back, also one whose time is over. Asked before [`revoke`], which
/// sends a transaction in any case.
///
/// # Errors
///
/// [`WorkflowError`] when the chain cannot be asked, or stands still for longer than may be: nobody is then told
/// that there is none.
pub async fn is_granted(
    relay: &Gateway,
    patient: Address,
    reader: Address,
    record: Option<RecordId>,
    now: Timestamp,
) -> Result<bool, WorkflowError> {
    relay.gatekeeper.refresh(now).await?;
    let call = Consents::consentOfCall { patient, reader, record: to_scope(record) };
    let (at, next) = (relay.at(Contract::Consents), BlockId::pending());
    let held = relay.gatekeeper.ledger().call(at, &call, next).await?;
    Ok(held.kinds != 0)
}

/// What a patient is to sign: a grant, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whom it names, by member address.
    pub reader: Address,
    /// The only record that it is for.
    pub record: Option<RecordId>,
    /// What is granted; `None` takes back what was.
    pub terms: Option<Terms>,
}

/// A change with everything that a patient's key signs, wherever that key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToSign {
    /// The account that makes the call.
    pub account: Address,
    /// The contract that is called, and with what.
    pub call: Call,
    /// The account's next nonce.
    pub nonce: U256,
    /// Until when the signature counts.
    pub deadline: Timestamp,
    /// The EIP-712 digest: what a wallet signs, and the challenge for a passkey.
    pub digest: B256,
    /// The same as a wallet shows it.
    pub typed_data: Value,
}

/// A patient's signature under a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The nonce that was signed.
    pub nonce: U256,
    /// The deadline that was signed.
    pub deadline: Timestamp,
    /// The signer, as the account knows it (ERC-7913).
    pub signer: Bytes,
    /// The signature.
    pub signature: Bytes,
}

impl Change {
    /// The call that makes the change.
    #[must_use]
    pub fn call(&self, relay: &Gateway) -> Call {
        let (reader, record) = (self.reader, to_scope(self.record));
        let contract = relay.at(Contract::Consents);
        match &self.terms {
            Some(terms) => {
                let terms = to_grant(terms);
                Call::to_contract(contract, &Consents::grantCall { reader, record, terms })
            }
            None => Call::to_contract(contract, &Consents::revokeCall { reader, record }),
        }
    }

    /// What the patient signs to make the change with the account's next nonce.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Call`] when the chain cannot be asked for the nonce.
    pub async fn to_sign(
        &self,
        relay: &Gateway,
        account: Address,
        valid_until: Timestamp,
    ) -> Result<ToSign, WorkflowError> {
        let ledger = relay.sender().ledger();
        let latest = BlockId::latest();
        let nonce = ledger.call(account, &PatientAccount::nonceCall {}, latest).await?;
        let call = self.call(relay);
        let batch = Execute { calls: vec![call.clone()], nonce, deadline: deadline(valid_until) };
        let digest = execute_digest(ledger.chain_id(), account, &batch);
        let typed_data = typed_data(ledger.chain_id(), account, &batch);
        Ok(ToSign { account, call, nonce, deadline: valid_until, digest, typed_data })
    }

    /// Relays the change that a patient signed. The account refuses a signature under anything else.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Send`] with the account's or the contract's reason.
    pub async fn relay(
        &self,
        relay: &Gateway,
        account: Address,
        signed: &Signed,
    ) -> Result<Outcome, WorkflowError> {
        let calls = vec![self.call(relay)];
        let batch = Execute { calls, nonce: signed.nonce, deadline: deadline(signed.deadline) };
        let call = execute_call(&batch, &signed.signer, &signed.signature);
        Ok(relay.sender().send(account, &call).await?)
    }
}
