//! What is to be signed, on its way to whoever signs it and back.

use std::{sync::Arc, time::Duration};

use alloy_consensus::{SignableTransaction as _, Transaction as _, TypedTransaction};
use alloy_primitives::{Address, B256, Bytes, Signature};
use bindings::{
    DecodedCall, Deployment, decode_call,
    patient_account::{Execute, typed_data},
};
use ledger::{Answering, Authorisation, Device, NotSigned, Submitted, Wallet};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, watch};

use super::Progress;

/// How long somebody has to sign.
const SIGNATURE_PERIOD: Duration = Duration::from_secs(600);

/// What came back.
#[derive(Debug)]
pub(super) enum Given {
    Signature(Bytes),
    Sent(B256),
    Authorisation { signer: Bytes, signature: Bytes },
    Declined,
}

/// The key of whoever takes a step, wherever it is.
pub(super) struct Signing {
    owner: Address,
    deployment: Deployment,
    chain_id: u64,
    progress: Arc<watch::Sender<Progress>>,
    given: Mutex<mpsc::Receiver<Given>>,
}

impl Signing {
    pub(super) fn new(
        owner: Address,
        deployment: Deployment,
        chain_id: u64,
        progress: Arc<watch::Sender<Progress>>,
        given: mpsc::Receiver<Given>,
    ) -> Self {
        Self { owner, deployment, chain_id, progress, given: Mutex::new(given) }
    }

    async fn ask(&self, wanted: Value) -> Result<Given, NotSigned> {
        let mut given = self.given.lock().await;
        self.progress.send_replace(Progress::Waiting(wanted));
        let answer = tokio::time::timeout(SIGNATURE_PERIOD, given.recv()).await;
        self.progress.send_replace(Progress::Working);
        match answer {
            Ok(Some(Given::Declined)) => Err(NotSigned::Declined),
            Ok(Some(given)) => Ok(given),
            Ok(None) | Err(_) => Err(NotSigned::TimedOut),
        }
    }

    /// A call in words, with those that an account makes in it.
    fn words(&self, call: &DecodedCall) -> Value {
        let inner: Vec<Value> = call.inner.iter().map(|inner| self.words(inner)).collect();
        json!({ "to": call.to, "call": call.call, "inner": inner })
    }
}

impl Wallet for Signing {
    fn address(&self) -> Address {
        self.owner
    }

    fn submit(&self, transaction: TypedTransaction) -> Answering<'_, Submitted> {
        Box::pin(async move {
            let call = decode_call(&self.deployment, transaction.to(), transaction.input());
            let wanted = json!({
                "kind": "transaction",
                "from": self.owner,
                "chain_id": self.chain_id,
                "nonce": transaction.nonce(),
                "gas_limit": transaction.gas_limit(),
                "max_fee_per_gas": transaction.max_fee_per_gas().to_string(),
                "max_priority_fee_per_gas":
                    transaction.max_priority_fee_per_gas().map(|fee| fee.to_string()),
                "to": transaction.to(),
                "value": transaction.value().to_string(),
                "data": transaction.input(),
                "does": self.words(&call),
                "digest": transaction.signature_hash(),
            });
            match self.ask(wanted).await? {
                Given::Signature(bytes) => Signature::from_raw(&bytes)
                    .map(Submitted::Signature)
                    .map_err(|_| NotSigned::Wrong),
                Given::Sent(hash) => Ok(Submitted::Sent(hash)),
                Given::Authorisation { .. } | Given::Declined => Err(NotSigned::Wrong),
            }
        })
    }
}

impl Device for Signing {
    fn sign<'a>(
        &'a self,
        account: Address,
        batch: &'a Execute,
        digest: B256,
    ) -> Answering<'a, Authorisation> {
        Box::pin(async move {
            let calls: Vec<Value> = batch
                .calls
                .iter()
                .map(|call| self.words(&decode_call(&self.deployment, Some(call.to), &call.data)))
                .collect();
            let wanted = json!({
                "kind": "calls",
                "account": account,
                "does": calls,
                "typed_data": typed_data(self.chain_id, account, batch),
                "digest": digest,
            });
            match self.ask(wanted).await? {
                Given::Authorisation { signer, signature } => {
                    Ok(Authorisation { signer, signature })
                }
                _ => Err(NotSigned::Wrong),
            }
        })
    }
}

/// The device of somebody who is written about, and signs nothing here.
pub(super) struct Nobody;

impl Device for Nobody {
    fn sign<'a>(&'a self, _: Address, _: &'a Execute, _: B256) -> Answering<'a, Authorisation> {
        Box::pin(std::future::ready(Err(NotSigned::Declined)))
    }
}
