//! Signed transactions as they come in, checked and with their senders recovered.

use std::sync::Arc;

use alloy_consensus::{
    Transaction as _, TxEnvelope,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_eips::{Decodable2718, Typed2718};
use alloy_evm::FromRecoveredTx;
use alloy_primitives::{Address, B256, Bytes};
use revm::{context::TxEnv, context_interface::cfg::gas::calculate_initial_tx_gas};

use crate::execute::RULES;

/// The most gas that one transaction may ask for.
///
/// # Source
///
/// [EIP-7825](https://eips.ethereum.org/EIPS/eip-7825), part of Osaka.
pub const TRANSACTION_GAS_LIMIT_MAX: u64 = 1 << 24;

/// The longest transaction taken, in bytes, as on public networks.
///
/// # Source
///
/// go-ethereum's `txMaxSize`: four slots of 32 KiB.
pub const TRANSACTION_SIZE_MAX: usize = 128 * 1024;

/// A transaction whose signature is valid, with its sender.
#[derive(Clone, Debug)]
pub struct Transaction(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    raw: Bytes,
    envelope: TxEnvelope,
    sender: Address,
}

/// Why bytes are no transaction that this chain takes.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// Longer than [`TRANSACTION_SIZE_MAX`].
    #[error("transaction of {size} bytes is longer than {TRANSACTION_SIZE_MAX}")]
    TooLong {
        /// Its length in bytes.
        size: usize,
    },
    /// Not the encoding of a signed transaction.
    #[error("not a signed transaction: {0}")]
    Malformed(alloy_eips::eip2718::Eip2718Error),
    /// Blob transactions and unknown types.
    #[error("transactions of type {0} are not taken here")]
    UnsupportedType(u8),
    /// Signed for another chain, or for any (before EIP-155).
    #[error("signed for chain {signed:?}, this is chain {expected}")]
    WrongChain {
        /// The chain it names, if it names one.
        signed: Option<u64>,
        /// This chain.
        expected: u64,
    },
    /// The signature is no signature, or its `s` is in the upper half.
    #[error("the signature is not valid")]
    BadSignature,
    /// Asks for more gas than a transaction may.
    #[error("gas limit {gas_limit} is above {TRANSACTION_GAS_LIMIT_MAX}, the most per transaction")]
    GasLimitTooHigh {
        /// What it asks for.
        gas_limit: u64,
    },
    /// Not enough gas even to begin.
    #[error("intrinsic gas too low: {given} given, {needed} needed")]
    IntrinsicGas {
        /// What it asks for.
        given: u64,
        /// What it needs to begin.
        needed: u64,
    },
    /// Offers the block's author more than it is willing to pay in all.
    #[error("the priority fee is above the maximum fee")]
    TipAboveFee,
}

impl Transaction {
    /// Decodes, checks what can be checked without state, and recovers the sender.
    ///
    /// # Errors
    ///
    /// [`TransactionError`] says what is wrong with the bytes; sending them again will not help.
    pub fn decode(raw: Bytes, chain_id: u64) -> Result<Self, TransactionError> {
        let envelope = Self::decode_envelope(&raw, chain_id)?;
        let mut buffer = Vec::with_capacity(raw.len());
        let sender =
            envelope.recover_with_buf(&mut buffer).map_err(|_| TransactionError::BadSignature)?;
        Ok(Self(Arc::new(Inner { raw, envelope, sender })))
    }

    /// Decodes a transaction whose sender was recovered before, as it stands in this chain's log.
    pub(crate) fn decode_trusted(
        raw: Bytes,
        sender: Address,
        chain_id: u64,
    ) -> Result<Self, TransactionError> {
        let envelope = Self::decode_envelope(&raw, chain_id)?;
        Ok(Self(Arc::new(Inner { raw, envelope, sender })))
    }

    fn decode_envelope(raw: &Bytes, chain_id: u64) -> Result<TxEnvelope, TransactionError> {
        if raw.len() > TRANSACTION_SIZE_MAX {
            return Err(TransactionError::TooLong { size: raw.len() });
        }
        let envelope = TxEnvelope::decode_2718_exact(raw).map_err(TransactionError::Malformed)?;
        if envelope.is_eip4844() {
            return Err(TransactionError::UnsupportedType(envelope.ty()));
        }
        if envelope.chain_id() != Some(chain_id) {
            return Err(TransactionError::WrongChain {
                signed: envelope.chain_id(),
                expected: chain_id,
            });
        }
        if envelope.gas_limit() > TRANSACTION_GAS_LIMIT_MAX {
            return Err(TransactionError::GasLimitTooHigh { gas_limit: envelope.gas_limit() });
        }
        let needed = intrinsic_gas(&envelope);
        if envelope.gas_limit() < needed {
            return Err(TransactionError::IntrinsicGas { given: envelope.gas_limit(), needed });
        }
        let tip = envelope.max_priority_fee_per_gas().unwrap_or_default();
        if tip > envelope.max_fee_per_gas() {
            return Err(TransactionError::TipAboveFee);
        }
        Ok(envelope)
    }

    /// The bytes as they came.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.0.raw
    }

    /// The decoded transaction.
    #[must_use]
    pub fn envelope(&self) -> &TxEnvelope {
        &self.0.envelope
    }

    /// Whose account pays and whose nonce it uses.
    #[must_use]
    pub fn sender(&self) -> Address {
        self.0.sender
    }

    /// The transaction's hash.
    #[must_use]
    pub fn hash(&self) -> B256 {
        *self.0.envelope.tx_hash()
    }

    /// The decoded transaction with its sender.
    #[must_use]
    pub fn recovered(&self) -> Recovered<&TxEnvelope> {
        Recovered::new_unchecked(&self.0.envelope, self.0.sender)
    }

    /// As the EVM wants it.
    pub(crate) fn to_evm(&self) -> TxEnv {
        TxEnv::from_recovered_tx(&self.0.envelope, self.0.sender)
    }
}

/// What a transaction costs before its first instruction, in gas.
///
/// # Source
///
/// Yellow paper section 6.2 with EIP-2028, EIP-2930, EIP-3860, EIP-7623 and EIP-7702.
fn intrinsic_gas(envelope: &TxEnvelope) -> u64 {
    let access_list = envelope.access_list().map(|list| list.as_slice()).unwrap_or_default();
    let slots: usize = access_list.iter().map(|item| item.storage_keys.len()).sum();
    let authorizations = envelope.authorization_list().map_or(0, <[_]>::len);
    let gas = calculate_initial_tx_gas(
        RULES,
        envelope.input(),
        envelope.is_create(),
        access_list.len() as u64,
        slots as u64,
        authorizations as u64,
        None,
    );
    gas.initial_total_gas().max(gas.floor_gas())
}
