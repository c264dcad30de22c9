//! Who takes part: institutions with their gateways, the people who act for them, and patients.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall;
use bindings::{Contract, patient_account::Call};
use domain::{InstitutionRole, ProfessionalRole, RecordId, Timestamp};
use gatekeeper::{Along, Gatekeeper};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::{Outcome, Patient, SendError, Sender};
use serde_json::Value;
use sha2::Sha256;
use vault::{NewRecord, PublicKey, SecretKey};
use zeroize::Zeroizing;

use crate::{WorkflowError, import::Later};

/// By which an institution finds its records by what they say, such as over FHIR.
pub trait Catalogue: Send + Sync {
    /// What to store in the transaction that keeps a version.
    fn along(&self, version: &NewRecord) -> Along<'static>;

    /// Keeps a version of the protocol of a study, which is about no patient, unless it has that or a later
    /// one.
    fn keep_study<'a>(&'a self, study: Study<'a>) -> Later<'a, ()>;
}

/// A version of the protocol of a study.
#[derive(Clone, Copy, Debug)]
pub struct Study<'a> {
    /// The study, as the contract calls it.
    pub id: B256,
    /// Which version, from 1.
    pub version: u16,
    /// The FHIR ResearchStudy.
    pub resource: &'a Value,
    /// When it is kept.
    pub now: Timestamp,
}

/// An institution with its gateway.
#[derive(Clone)]
pub struct Gateway {
    /// What people call it.
    pub name: String,
    /// What it is accredited as.
    pub role: InstitutionRole,
    /// Its gatekeeper, with vault and ledger behind it.
    pub gatekeeper: Gatekeeper,
    /// The key with which it opens what is sealed to it.
    pub secret: SecretKey,
    /// The key under which it digests numbers that others could guess.
    pub number_key: Zeroizing<[u8; 32]>,
    /// Where it enters what its workflows seal.
    pub catalogue: Option<Arc<dyn Catalogue>>,
}

impl Gateway {
    /// The institution's member address.
    #[must_use]
    pub fn member(&self) -> Address {
        self.gatekeeper.member()
    }

    /// The institution's own key.
    #[must_use]
    pub fn sender(&self) -> &Sender {
        self.gatekeeper.sender()
    }

    /// Where a contract is.
    #[must_use]
    pub fn at(&self, contract: Contract) -> Address {
        self.gatekeeper.deployment().address(contract)
    }

    /// A digest of something that others could guess, such as an identity number or a batch number,
    /// which nobody without the institution's key can make. Each use has its own `label`.
    #[must_use]
    pub fn keyed_digest(&self, label: &str, content: &[u8]) -> B256 {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.number_key).expect("a key may have any length");
        mac.update(label.as_bytes());
        mac.update(&[0]);
        mac.update(content);
        B256::from_slice(&mac.finalize().into_bytes())
    }

    /// What is stored together with a version, so that it is found.
    pub(crate) fn along(&self, version: &NewRecord) -> Along<'static> {
        match &self.catalogue {
            Some(catalogue) => catalogue.along(version),
            None => Box::new(|_| Box::pin(std::future::ready(Ok(())))),
        }
    }

    /// Keeps the protocol of a study that this institution runs or takes part in, so that what its workflows
    /// seal can refer to it.
    pub(crate) async fn keep_study(&self, study: Study<'_>) {
        if let Some(catalogue) = &self.catalogue {
            // The step that it is part of has happened: it is not taken back because this failed. With the next
            // one it is tried again.
            let _ = catalogue.keep_study(study).await;
        }
    }

    /// A fresh name for a record.
    #[must_use]
    pub fn make_record_id(&self) -> RecordId {
        RecordId(self.make_salt())
    }

    /// What the name of a prescription or an order is made of, used once.
    pub(crate) fn make_salt(&self) -> B256 {
        B256::from(self.gatekeeper.entropy().bytes::<32>())
    }
}

/// A professional: a person who acts for an institution with a key of their own.
#[derive(Clone)]
pub struct Person {
    /// What people call them.
    pub name: String,
    /// Their member address.
    pub member: Address,
    /// In which role they act.
    pub role: ProfessionalRole,
    /// Their key.
    pub sender: Sender,
    /// The key with which they open answers.
    pub secret: SecretKey,
}

impl Person {
    /// Asks the chain whether it would refuse a call of this person, without sending it: what would be
    /// refused must not leave a sealed record behind.
    pub(crate) async fn check(
        &self,
        to: Address,
        call: &impl SolCall,
    ) -> Result<(), WorkflowError> {
        self.sender.check(to, call).await.map_err(WorkflowError::Send)
    }
}

/// A patient with account and keys.
pub struct PatientActor {
    /// What people call them here; never their name.
    pub name: String,
    /// The account with its key.
    pub patient: Patient,
    /// The key with which they open what is sealed to them.
    pub secret: SecretKey,
}

impl PatientActor {
    /// The patient's account.
    #[must_use]
    pub const fn account(&self) -> Address {
        self.patient.account()
    }

    /// The public half of the key to which the patient's records are sealed.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.secret.public_key()
    }

    /// Refuses what is held of another patient. The contracts know whose a workflow is, but not in whose name
    /// a record is sealed: were the two not the same person, the record would go to somebody else.
    pub(crate) fn require_theirs(&self, what: &str, held: Address) -> Result<(), WorkflowError> {
        if held == self.account() {
            return Ok(());
        }
        Err(WorkflowError::Invalid(format!("the {what} is another patient's")))
    }

    /// Signs calls, which `relay` sends; the patient needs no ether.
    ///
    /// # Errors
    ///
    /// [`SendError`] as of the relaying transaction.
    pub async fn act(
        &self,
        relay: &Sender,
        calls: Vec<Call>,
        now: Timestamp,
    ) -> Result<Outcome, SendError> {
        self.patient.act(relay, calls, now.after(SIGNATURE_PERIOD)).await
    }
}

/// How long a patient's signature counts: enough for a gateway that is slow, too short to be kept.
const SIGNATURE_PERIOD: std::time::Duration = std::time::Duration::from_secs(600);
