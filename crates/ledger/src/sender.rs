//! Sends signed transactions for one key and waits for what they did.
//!
//! Many tasks may send through one [`Sender`]: nonces are given out in order, one signature at a time.
//! Another program may even use the same key: whoever loses the race for a nonce takes the next. After
//! a restart the chain says which nonce is next, those of waiting transactions included.

use std::{sync::Arc, time::Duration};

use alloy_consensus::{
    SignableTransaction as _, Transaction as _, TxEip1559, TxEnvelope, TxLegacy, TypedTransaction,
    transaction::SignerRecoverable as _,
};
use alloy_eips::{BlockId, BlockNumberOrTag, Encodable2718 as _};
use alloy_network::TransactionResponse as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_provider::Provider as _;
use alloy_rpc_types_eth::{TransactionInput, TransactionReceipt, TransactionRequest};
use alloy_signer::Signer;
use alloy_sol_types::{SolCall, SolEvent};
use alloy_transport::TransportError;
use bindings::ContractError;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    EndpointError, Fees, Finality, Ledger, NotSigned, Submitted, Wallet, endpoint::revert_data,
};

/// How often a lost race for a nonce is run again.
const NONCE_ATTEMPTS: usize = 16;

/// How long a transaction may take until it is final.
const PATIENCE: Duration = Duration::from_secs(120);

/// The most gas that a transaction may have, where the endpoint does not say otherwise (EIP-7825).
const GAS_LIMIT_MAX: u64 = 1 << 24;

/// Why a transaction did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The contract refuses it. Nothing was sent.
    #[error("the contract refuses: {0}")]
    Refused(Box<ContractError>),
    /// The contract refused it when it ran: something had changed since it was checked.
    #[error("the contract refused transaction {hash} when it ran: {reason}")]
    Reverted {
        /// The transaction.
        hash: B256,
        /// Why.
        reason: Box<ContractError>,
    },
    /// The chain did not take it.
    #[error("the chain did not take the transaction: {reason}")]
    NotTaken {
        /// What it said.
        reason: String,
    },
    /// It was taken but did not become final in time. It may yet.
    #[error("transaction {hash} was sent but is not final yet")]
    TimedOut {
        /// The transaction.
        hash: B256,
    },
    /// The key could not sign.
    #[error("could not sign")]
    Signer(#[source] alloy_signer::Error),
    /// Whoever has the key did not sign. Nothing was sent.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    /// The chain could not be asked.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl From<TransportError> for SendError {
    fn from(error: TransportError) -> Self {
        match revert_data(&error) {
            Some(data) => Self::Refused(Box::new(ContractError::decode(&data))),
            None => Self::Endpoint(error.into()),
        }
    }
}

impl SendError {
    /// What it means that a call of `to` failed.
    pub(crate) fn of_call(
        ledger: &Ledger,
        to: TxKind,
        input: &[u8],
        error: TransportError,
    ) -> Self {
        match revert_data(&error) {
            Some(data) => Self::Refused(Box::new(ledger.refusal(to.to(), input, &data))),
            None => Self::Endpoint(error.into()),
        }
    }
}

/// A signed transaction, not yet sent.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its hash.
    pub hash: B256,
    /// Its bytes.
    pub raw: Bytes,
}

/// A call that the contract would take, signed when the key is elsewhere, and not sent by us.
#[derive(Debug)]
pub struct Prepared {
    to: TxKind,
    input: Bytes,
    gas_limit: u64,
    submitted: Option<Asked>,
}

impl Prepared {
    /// Whether a wallet sent it by itself already, so that it cannot be held back any more.
    #[must_use]
    pub const fn is_sent(&self) -> bool {
        matches!(self.submitted, Some(Asked::Sent(_)))
    }
}

/// What a wallet made of what it was asked for.
#[derive(Debug)]
enum Asked {
    Signed(Signed),
    Sent(B256),
}

impl Signed {
    fn of(envelope: &TxEnvelope) -> Self {
        Self { hash: *envelope.tx_hash(), raw: envelope.encoded_2718().into() }
    }
}

async fn sign_with(
    signer: &(dyn Signer + Send + Sync),
    transaction: TypedTransaction,
) -> Result<Signed, SendError> {
    let digest = transaction.signature_hash();
    let signature = signer.sign_hash(&digest).await.map_err(SendError::Signer)?;
    Ok(Signed::of(&TxEnvelope::from(transaction.into_signed(signature))))
}

/// What a transaction did, once it is final.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The receipt.
    pub receipt: TransactionReceipt,
    /// The time of its block, in seconds since 1970.
    pub time: u64,
}

impl Outcome {
    /// The transaction's hash.
    #[must_use]
    pub const fn hash(&self) -> B256 {
        self.receipt.transaction_hash
    }

    /// The number of its block.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.receipt.block_number.unwrap_or_default()
    }

    /// What it used, in gas.
    #[must_use]
    pub const fn gas_used(&self) -> u64 {
        self.receipt.gas_used
    }

    /// The events of one kind that it emitted, in order.
    #[must_use]
    pub fn events<E: SolEvent>(&self) -> Vec<E> {
        let logs = self.receipt.logs().iter();
        logs.filter_map(|log| E::decode_log(&log.inner).ok().map(|log| log.data)).collect()
    }
}

/// Sends transactions for one key. Clones share the key's nonces.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    key: Key,
    /// The nonce that is next, when it is known.
    next: Mutex<Option<u64>>,
}

/// Where the key is.
enum Key {
    Here(Arc<dyn Signer + Send + Sync>),
    Elsewhere(Arc<dyn Wallet>),
}

impl Sender {
    /// Sends through `ledger`, signed by `signer`.
    #[must_use]
    pub fn new(ledger: Ledger, signer: impl Signer + Send + Sync + 'static) -> Self {
        Self::with(ledger, Key::Here(Arc::new(signer)))
    }

    /// Sends through `ledger` what a wallet elsewhere signs, or follows what it sends.
    #[must_use]
    pub fn elsewhere(ledger: Ledger, wallet: Arc<dyn Wallet>) -> Self {
        Self::with(ledger, Key::Elsewhere(wallet))
    }

    fn with(ledger: Ledger, key: Key) -> Self {
        Self(Arc::new(Inner { ledger, key, next: Mutex::new(None) }))
    }

    /// The address that the key signs for.
    #[must_use]
    pub fn address(&self) -> Address {
        match &self.0.key {
            Key::Here(signer) => signer.address(),
            Key::Elsewhere(wallet) => wallet.address(),
        }
    }

    /// The chain it sends to.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Signs what is not a transaction.
    ///
    /// # Errors
    ///
    /// [`SendError::Signer`], and [`SendError::NotSigned`] with a key elsewhere, which signs transactions only.
    pub async fn sign_hash(&self, hash: &B256) -> Result<Signature, SendError> {
        match &self.0.key {
            Key::Here(signer) => signer.sign_hash(hash).await.map_err(SendError::Signer),
            Key::Elsewhere(_) => Err(NotSigned::Declined.into()),
        }
    }

    /// Calls a contract in a transaction and waits until it is final.
    ///
    /// # Errors
    ///
    /// [`SendError`]; after [`SendError::Refused`] and [`SendError::NotTaken`] nothing happened.
    pub async fn send<C: SolCall>(&self, to: Address, call: &C) -> Result<Outcome, SendError> {
        self.send_input(TxKind::Call(to), call.abi_encode().into()).await
    }

    /// Asks whether the contract would take a call, and has it signed if the key is elsewhere, without
    /// sending it.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`]. After [`SendError::NotSigned`] nothing happened.
    pub async fn prepare<C: SolCall>(&self, to: Address, call: &C) -> Result<Prepared, SendError> {
        let (to, input) = (TxKind::Call(to), Bytes::from(call.abi_encode()));
        let gas_limit = self.gas_limit(to, input.clone()).await?;
        let submitted = match &self.0.key {
            Key::Here(_) => None,
            Key::Elsewhere(wallet) => {
                let pending = self.ledger().provider().get_transaction_count(self.address());
                let nonce = pending.pending().await?;
                let transaction =
                    self.make(to, input.clone(), U256::ZERO, nonce, gas_limit).await?;
                Some(self.ask(&**wallet, transaction).await?)
            }
        };
        Ok(Prepared { to, input, gas_limit, submitted })
    }

    /// Sends what was prepared, and waits until it is final. Whoever signed it is asked once more when another
    /// transaction took its nonce meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub async fn send_prepared(&self, prepared: Prepared) -> Result<Outcome, SendError> {
        let Prepared { to, input, gas_limit, submitted } = prepared;
        let hash = match submitted {
            Some(Asked::Sent(hash)) => hash,
            Some(Asked::Signed(signed)) => {
                match self.ledger().provider().send_raw_transaction(&signed.raw).await {
                    Ok(_) => signed.hash,
                    Err(error) if error.as_error_resp().is_some() => {
                        self.submit_within(to, input, U256::ZERO, gas_limit).await?
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            None => self.submit_within(to, input, U256::ZERO, gas_limit).await?,
        };
        self.outcome(hash).await
    }

    /// Has a wallet sign or send, and holds what comes back against what was asked for.
    async fn ask(
        &self,
        wallet: &dyn Wallet,
        transaction: TypedTransaction,
    ) -> Result<Asked, SendError> {
        match wallet.submit(transaction.clone()).await? {
            Submitted::Signature(signature) => {
                let signed = TxEnvelope::from(transaction.into_signed(signature));
                if signed.recover_signer().ok() != Some(wallet.address()) {
                    return Err(NotSigned::Wrong.into());
                }
                Ok(Asked::Signed(Signed::of(&signed)))
            }
            Submitted::Sent(hash) => Ok(Asked::Sent(self.adopt(hash, &transaction).await?)),
        }
    }

    /// Asks whether the contract would refuse a call from this key now, without sending it.
    ///
    /// # Errors
    ///
    /// [`SendError::Refused`] with the contract's reason.
    pub async fn check<C: SolCall>(&self, to: Address, call: &C) -> Result<(), SendError> {
        self.check_input(to, call.abi_encode().into()).await
    }

    /// As [`Sender::check`], with the call's data.
    ///
    /// # Errors
    ///
    /// As [`Sender::check`].
    pub async fn check_input(&self, to: Address, input: Bytes) -> Result<(), SendError> {
        let request = TransactionRequest::default()
            .from(self.address())
            .to(to)
            .input(TransactionInput::new(input.clone()));
        let called = self.ledger().provider().call(request).block(BlockId::pending()).await;
        called
            .map_err(|error| SendError::of_call(self.ledger(), TxKind::Call(to), &input, error))?;
        Ok(())
    }

    /// Sends call data or initialisation code and waits until it is final.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub async fn send_input(&self, to: TxKind, input: Bytes) -> Result<Outcome, SendError> {
        let hash = self.submit(to, input, U256::ZERO).await?;
        self.outcome(hash).await
    }

    /// Sends ether and waits until that is final.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub async fn transfer(&self, to: Address, wei: U256) -> Result<Outcome, SendError> {
        let hash = self.submit(TxKind::Call(to), Bytes::new(), wei).await?;
        self.outcome(hash).await
    }

    /// Sends a transaction and returns its hash as soon as the chain took it.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub async fn submit(&self, to: TxKind, input: Bytes, value: U256) -> Result<B256, SendError> {
        let gas_limit = self.estimate(to, input.clone(), value).await?;
        self.submit_within(to, input, value, gas_limit).await
    }

    /// How much gas a call from this key may use, and whether the contract would refuse it now.
    ///
    /// # Errors
    ///
    /// [`SendError::Refused`] with the contract's reason.
    pub async fn gas_limit(&self, to: TxKind, input: Bytes) -> Result<u64, SendError> {
        self.estimate(to, input, U256::ZERO).await
    }

    async fn estimate(&self, to: TxKind, input: Bytes, value: U256) -> Result<u64, SendError> {
        let request = TransactionRequest {
            from: Some(self.address()),
            to: Some(to),
            value: Some(value),
            input: TransactionInput::new(input.clone()),
            ..TransactionRequest::default()
        };
        let estimate = self.ledger().provider().estimate_gas(request).await;
        let estimate =
            estimate.map_err(|error| SendError::of_call(self.ledger(), to, &input, error))?;
        // What it needs may grow a little until it runs.
        Ok((estimate + estimate / 4).min(GAS_LIMIT_MAX.max(estimate)))
    }

    /// As [`Sender::submit`], with the most gas that it may use, as [`Sender::gas_limit`] tells.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub async fn submit_within(
        &self,
        to: TxKind,
        input: Bytes,
        value: U256,
        gas_limit: u64,
    ) -> Result<B256, SendError> {
        let provider = self.ledger().provider();
        let mut last_reason = String::new();
        for _ in 0..NONCE_ATTEMPTS {
            let mut next = self.0.next.lock().await;
            let nonce = match *next {
                Some(nonce) => nonce,
                None => provider.get_transaction_count(self.address()).pending().await?,
            };
            let transaction = self.make(to, input.clone(), value, nonce, gas_limit).await?;
            let signed = match &self.0.key {
                Key::Here(signer) => sign_with(&**signer, transaction).await?,
                Key::Elsewhere(wallet) => match self.ask(&**wallet, transaction).await? {
                    Asked::Signed(signed) => signed,
                    Asked::Sent(hash) => return Ok(hash),
                },
            };
            match provider.send_raw_transaction(&signed.raw).await {
                Ok(_) => {
                    *next = Some(nonce + 1);
                    return Ok(signed.hash);
                }
                Err(error) => {
                    // Whatever was believed about the nonce, ask again next time.
                    *next = None;
                    let Some(payload) = error.as_error_resp() else { return Err(error.into()) };
                    let reason = payload.message.to_lowercase();
                    // "Already known" means that another program sent the very same: its, not ours.
                    let lost_race = ["nonce", "replacement transaction", "already"]
                        .iter()
                        .any(|sign| reason.contains(sign));
                    if !lost_race {
                        return Err(SendError::NotTaken { reason: payload.message.to_string() });
                    }
                    last_reason = payload.message.to_string();
                }
            }
        }
        Err(SendError::NotTaken { reason: last_reason })
    }

    /// Signs a transaction without sending it, to be looked at before it is.
    ///
    /// # Errors
    ///
    /// [`SendError`] when the chain cannot be asked for prices or the key cannot sign.
    pub async fn sign(
        &self,
        to: TxKind,
        input: Bytes,
        value: U256,
        nonce: u64,
        gas_limit: u64,
    ) -> Result<Signed, SendError> {
        let transaction = self.make(to, input, value, nonce, gas_limit).await?;
        match &self.0.key {
            Key::Here(signer) => sign_with(&**signer, transaction).await,
            Key::Elsewhere(_) => Err(NotSigned::Declined.into()),
        }
    }

    async fn make(
        &self,
        to: TxKind,
        input: Bytes,
        value: U256,
        nonce: u64,
        gas_limit: u64,
    ) -> Result<TypedTransaction, SendError> {
        let ledger = self.ledger();
        let chain_id = ledger.chain_id();
        Ok(match ledger.policy().fees {
            Fees::BaseFee { tip } => {
                let latest = ledger.block(BlockNumberOrTag::Latest).await?;
                let base_fee = u128::from(latest.header.base_fee_per_gas.unwrap_or_default());
                TxEip1559 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas: 2 * base_fee + tip,
                    max_priority_fee_per_gas: tip,
                    to,
                    value,
                    input,
                    ..TxEip1559::default()
                }
                .into()
            }
            Fees::Legacy { gas_price } => {
                TxLegacy { chain_id: Some(chain_id), nonce, gas_price, gas_limit, to, value, input }
                    .into()
            }
        })
    }

    /// Takes a transaction that a wallet sent for the one that it was asked for, if it does the same.
    async fn adopt(&self, hash: B256, wanted: &TypedTransaction) -> Result<B256, SendError> {
        let (ledger, deadline) = (self.ledger(), Instant::now() + PATIENCE);
        let mut news = ledger.news();
        loop {
            if let Some(sent) = ledger.provider().get_transaction_by_hash(hash).await? {
                // One that was sent before somebody was asked is another step.
                let same = sent.from() == self.address()
                    && sent.nonce() >= wanted.nonce()
                    && (sent.kind(), sent.value()) == (wanted.kind(), wanted.value())
                    && sent.input() == wanted.input();
                return if same { Ok(hash) } else { Err(NotSigned::Wrong.into()) };
            }
            // It may be sent by another way, and not be here yet.
            if Instant::now() >= deadline {
                return Err(NotSigned::Wrong.into());
            }
            news.wait(deadline.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Waits until a transaction is final and says what it did.
    ///
    /// # Errors
    ///
    /// [`SendError::Reverted`] with the contract's reason, [`SendError::TimedOut`] when it takes too
    /// long.
    pub async fn outcome(&self, hash: B256) -> Result<Outcome, SendError> {
        let ledger = self.ledger();
        let deadline = Instant::now() + PATIENCE;
        let mut news = ledger.news();
        loop {
            if let Some(receipt) = ledger.receipt(hash).await?
                && self.is_final(&receipt).await?
            {
                return self.judge(receipt).await;
            }
            if let Some(reason) =
                ledger.embedded_chain().and_then(|chain| chain.dropped_reason(&hash))
            {
                *self.0.next.lock().await = None;
                return Err(SendError::NotTaken { reason });
            }
            if Instant::now() >= deadline {
                return Err(SendError::TimedOut { hash });
            }
            news.wait(deadline.saturating_duration_since(Instant::now())).await;
        }
    }

    async fn is_final(&self, receipt: &TransactionReceipt) -> Result<bool, EndpointError> {
        if self.ledger().policy().finality == Finality::Latest {
            return Ok(true);
        }
        let last = self.ledger().final_block().await?.header.number;
        Ok(receipt.block_number.is_some_and(|number| number <= last))
    }

    async fn judge(&self, receipt: TransactionReceipt) -> Result<Outcome, SendError> {
        let number = receipt.block_number.unwrap_or_default();
        if receipt.status() {
            let time = self.ledger().block(number.into()).await?.header.timestamp;
            return Ok(Outcome { receipt, time });
        }
        let hash = receipt.transaction_hash;
        let reason = Box::new(self.reason(&receipt, number).await?);
        Err(SendError::Reverted { hash, reason })
    }

    /// Runs a failed transaction again on the state before its block and after it, to learn why it failed.
    async fn reason(
        &self,
        receipt: &TransactionReceipt,
        number: u64,
    ) -> Result<ContractError, EndpointError> {
        let provider = self.ledger().provider();
        let unknown = ContractError::decode(&[]);
        let Some(sent) = provider.get_transaction_by_hash(receipt.transaction_hash).await? else {
            return Ok(unknown);
        };
        let (from, to, input) = (sent.from(), sent.kind(), sent.input().clone());
        let request = TransactionRequest { from: Some(from), ..sent.into_request() };
        // What stood in its way may have come before it in the same block.
        for state in [number.saturating_sub(1), number] {
            match provider.call(request.clone()).block(BlockId::number(state)).await {
                Ok(_) => {}
                Err(error) => match revert_data(&error) {
                    Some(data) => return Ok(self.ledger().refusal(to.to(), &input, &data)),
                    None => return Err(error.into()),
                },
            }
        }
        Ok(unknown)
    }
}
