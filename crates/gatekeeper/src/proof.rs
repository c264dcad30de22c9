//! Proof bundles: one version of one record, and everything needed to check offline that a contract
//! vouches for it.
//!
//! The bundle leads from the sealed bytes to a block: digest of the bytes, anchor, storage slot of the
//! contract (through a Merkle proof when the record was anchored in a batch), account, state root,
//! header, block hash. What it proves is: the contract at this address says so in the block with this
//! hash. Whoever checks it must know both from somewhere else, for anybody can deploy a contract that
//! says anything, and anybody can make up a block: the address from whoever runs the network, the hash
//! from anybody who follows the chain. A header names no chain, so the chain's id is only compared: what
//! ties the proof to one chain is the block's hash.

use alloy_consensus::Header;
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_provider::Provider as _;
use alloy_rlp::Decodable as _;
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use bindings::Contract;
use domain::{Anchor, AnchorState, RecordDigest, RecordId, RecordVersion, Timestamp, merkle};
use ledger::EndpointError;
use serde::{Deserialize, Serialize};

use crate::{Gatekeeper, GatekeeperError, Inclusion};

/// The form of bundles that this program writes and reads.
const FORMAT: u32 = 1;

/// Everything needed to check one version of one record offline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The form of the bundle, now 1.
    pub format: u32,
    /// The chain's id.
    pub chain_id: u64,
    /// The contract that holds the anchor.
    pub records_contract: Address,
    /// What was anchored.
    pub anchor: Anchor,
    /// How.
    pub inclusion: Inclusion,
    /// The sealed bytes.
    pub sealed: Bytes,
    /// The header of the block, as it is hashed (RLP).
    pub header: Bytes,
    /// The contract's account with the nodes that prove it against the header's state root.
    pub account: ProvenAccount,
    /// The nodes that prove the slot against the account's storage root.
    pub slot_proof: Vec<Bytes>,
    /// What the slot holds.
    pub slot_value: U256,
}

/// An account with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenAccount {
    /// The account's nonce.
    pub nonce: u64,
    /// Its balance.
    pub balance: U256,
    /// The root of its storage.
    pub storage_root: B256,
    /// The hash of its code.
    pub code_hash: B256,
    /// The nodes from the state root to it.
    pub proof: Vec<Bytes>,
}

/// What whoever checks a bundle knows from somewhere else than the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedChain {
    /// The chain's id.
    pub chain_id: u64,
    /// Where its `Records` contract is.
    pub records_contract: Address,
    /// The hash of one of its blocks, to which the bundle must lead. Without it the block itself is not
    /// vouched for, and may be made up.
    pub block_hash: Option<B256>,
}

/// Why a bundle proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A later program wrote it.
    #[error("the bundle has form {format}, which this program does not know")]
    UnknownFormat {
        /// The form found.
        format: u32,
    },
    /// It says that it is of another chain.
    #[error("the bundle is of chain {found}, not of the trusted one, {trusted}")]
    OtherChain {
        /// The chain that it names.
        found: u64,
        /// The trusted one.
        trusted: u64,
    },
    /// Another contract vouches for it.
    #[error("contract {found} vouches for it, not the trusted one, {trusted}")]
    OtherContract {
        /// The contract that it names.
        found: Address,
        /// The trusted one.
        trusted: Address,
    },
    /// It leads to another block.
    #[error("the bundle leads to block {found}, not to the trusted one, {trusted}")]
    OtherBlock {
        /// The hash of the block that it leads to.
        found: B256,
        /// The trusted one.
        trusted: B256,
    },
    /// The sealed bytes are not those that were anchored.
    #[error("the sealed bytes hash to {found}, but {anchored} was anchored")]
    AlteredRecord {
        /// What they hash to.
        found: RecordDigest,
        /// What was anchored.
        anchored: RecordDigest,
    },
    /// The anchor is not in the batch.
    #[error("the anchor is not part of the batch with root {root}")]
    NotInBatch {
        /// The batch.
        root: B256,
    },
    /// The contract's slot holds something else.
    #[error("the chain holds no such anchor")]
    NotAnchored,
    /// The header is none.
    #[error("the header cannot be read")]
    BadHeader,
    /// The nodes do not lead from the header to the account.
    #[error("the account is not part of the block's state")]
    AccountNotProven,
    /// The nodes do not lead from the account to the slot.
    #[error("the slot is not part of the account's storage")]
    SlotNotProven,
}

/// What a bundle proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Which version of which record.
    pub anchor: Anchor,
    /// Where it stood at that block.
    pub state: ProvenState,
    /// The number of the block that vouches for it.
    pub block_number: u64,
    /// The block's hash.
    pub block_hash: B256,
    /// Whether that is the hash that was trusted. If not, everything here holds only for whoever knows
    /// from somewhere else that the chain has this block.
    pub block_is_trusted: bool,
    /// The block's time.
    pub block_time: Timestamp,
}

/// Where an anchor stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProvenState {
    /// By itself, in this state.
    Alone(AnchorState),
    /// In a batch that was anchored then.
    Batch {
        /// When the batch was anchored.
        anchored_at: Timestamp,
    },
}

impl Gatekeeper {
    /// Puts a bundle together for one version, as of the newest block.
    ///
    /// This is for the operator, and asks for no permit and leaves no receipt: the sealed bytes leave,
    /// but no key to them does, so nothing is opened.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the vault or the chain cannot be read.
    pub async fn bundle(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<Option<Bundle>, GatekeeperError> {
        let Some((anchor, inclusion)) = self.inclusion(record, version).await? else {
            return Ok(None);
        };
        let Some(mut stored) = self.vault().sealed_bytes(anchor.digest).await? else {
            return Ok(None);
        };
        let mut sealed = Vec::new();
        std::io::Read::read_to_end(&mut stored, &mut sealed)
            .map_err(|error| GatekeeperError::Store(error.into()))?;
        let records_contract = self.deployment().address(Contract::Records);
        let slot = slot_of(&anchor, &inclusion);
        let block = self.ledger().final_block().await?;
        let provider = self.ledger().provider();
        let proof = provider
            .get_proof(records_contract, vec![slot])
            .block_id(BlockId::number(block.header.number))
            .await
            .map_err(EndpointError::from)?;
        let malformed = EndpointError::Malformed { what: "a proof" };
        let slot_proof = proof.storage_proof.into_iter().next().ok_or(malformed)?;
        Ok(Some(Bundle {
            format: FORMAT,
            chain_id: self.ledger().chain_id(),
            records_contract,
            anchor,
            inclusion,
            sealed: sealed.into(),
            header: alloy_rlp::encode(&block.header.inner).into(),
            account: ProvenAccount {
                nonce: proof.nonce,
                balance: proof.balance,
                storage_root: proof.storage_hash,
                code_hash: proof.code_hash,
                proof: proof.account_proof,
            },
            slot_proof: slot_proof.proof,
            slot_value: slot_proof.value,
        }))
    }

    /// What bundles of the chain that this gatekeeper follows are held against, whatever the block.
    #[must_use]
    pub fn trusted_chain(&self) -> TrustedChain {
        TrustedChain {
            chain_id: self.ledger().chain_id(),
            records_contract: self.deployment().address(Contract::Records),
            block_hash: None,
        }
    }
}

impl Bundle {
    /// Checks everything that can be checked without asking anybody, against what is `trusted`.
    ///
    /// # Errors
    ///
    /// [`BundleError`]: the bundle proves nothing.
    pub fn check(&self, trusted: &TrustedChain) -> Result<Checked, BundleError> {
        if self.format != FORMAT {
            return Err(BundleError::UnknownFormat { format: self.format });
        }
        if self.chain_id != trusted.chain_id {
            let (found, trusted) = (self.chain_id, trusted.chain_id);
            return Err(BundleError::OtherChain { found, trusted });
        }
        if self.records_contract != trusted.records_contract {
            let (found, trusted) = (self.records_contract, trusted.records_contract);
            return Err(BundleError::OtherContract { found, trusted });
        }
        let found = RecordDigest::of(&self.sealed);
        if found != self.anchor.digest {
            return Err(BundleError::AlteredRecord { found, anchored: self.anchor.digest });
        }
        let state = self.check_slot()?;
        let mut encoded = self.header.as_ref();
        let header = Header::decode(&mut encoded).map_err(|_| BundleError::BadHeader)?;
        if !encoded.is_empty() {
            return Err(BundleError::BadHeader);
        }
        self.check_account(header.state_root)?;
        self.check_storage()?;
        let block_hash = keccak256(&self.header);
        if let Some(trusted) = trusted.block_hash
            && trusted != block_hash
        {
            return Err(BundleError::OtherBlock { found: block_hash, trusted });
        }
        Ok(Checked {
            anchor: self.anchor,
            state,
            block_number: header.number,
            block_hash,
            block_is_trusted: trusted.block_hash.is_some(),
            block_time: Timestamp(header.timestamp),
        })
    }

    /// What the slot's value says of the anchor.
    fn check_slot(&self) -> Result<ProvenState, BundleError> {
        let word = B256::from(self.slot_value);
        match &self.inclusion {
            Inclusion::Alone => {
                // The topmost bit of the last byte only counts what awaits the patient.
                let state = AnchorState::try_from(word[31] & 0x7f);
                let state = state.map_err(|_| BundleError::NotAnchored)?;
                let same = word[..31] == self.anchor.storage_word(state)[..31];
                same.then_some(ProvenState::Alone(state)).ok_or(BundleError::NotAnchored)
            }
            Inclusion::Batch { root, proof } => {
                if !merkle::verify(*root, self.anchor.leaf(), proof) {
                    return Err(BundleError::NotInBatch { root: *root });
                }
                // Count in the lowest 32 bits, time in the 40 above.
                let anchored_at: u64 = (self.slot_value >> 32_usize).saturating_to();
                if self.slot_value.is_zero() || anchored_at == 0 {
                    return Err(BundleError::NotAnchored);
                }
                Ok(ProvenState::Batch { anchored_at: Timestamp(anchored_at) })
            }
        }
    }

    fn check_account(&self, state_root: B256) -> Result<(), BundleError> {
        let account = TrieAccount {
            nonce: self.account.nonce,
            balance: self.account.balance,
            storage_root: self.account.storage_root,
            code_hash: self.account.code_hash,
        };
        let path = Nibbles::unpack(keccak256(self.records_contract));
        let leaf = Some(alloy_rlp::encode(account));
        verify_proof(state_root, path, leaf, &self.account.proof)
            .map_err(|_| BundleError::AccountNotProven)
    }

    fn check_storage(&self) -> Result<(), BundleError> {
        let slot = slot_of(&self.anchor, &self.inclusion);
        let path = Nibbles::unpack(keccak256(slot));
        let leaf = Some(alloy_rlp::encode(self.slot_value));
        verify_proof(self.account.storage_root, path, leaf, &self.slot_proof)
            .map_err(|_| BundleError::SlotNotProven)
    }
}

/// Where `Records` keeps what a bundle proves.
///
/// # Source
///
/// The storage layout of `contracts/src/Records.sol`: `_folders` is slot 0, whose structs keep `slots`
/// in their second word; `_batches` is slot 1. A test holds this against the contract.
fn slot_of(anchor: &Anchor, inclusion: &Inclusion) -> B256 {
    let (patient, steward) = (anchor.patient.into_word(), anchor.steward.into_word());
    match inclusion {
        Inclusion::Alone => {
            let folder = U256::from_be_bytes(at(steward, at(patient, B256::ZERO)).0);
            let slots = B256::from(folder + U256::ONE);
            let version = B256::from(U256::from(anchor.version.get()));
            at(version, at(anchor.record.0, slots))
        }
        Inclusion::Batch { root, .. } => at(*root, at(steward, B256::with_last_byte(1))),
    }
}

/// The slot of a mapping's value.
///
/// # Source
///
/// Solidity documentation, "Layout of State Variables in Storage", mappings.
fn at(key: B256, mapping: B256) -> B256 {
    keccak256([key.as_slice(), mapping.as_slice()].concat())
}
