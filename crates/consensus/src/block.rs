//! Blocks as the members agree on them: before anything is executed.
//!
//! ```text
//! parent        32 bytes   the digest of the block before
//! height         8 bytes   big-endian, as all numbers here
//! timestamp      8 bytes   seconds since 1970
//! executed       8 bytes   the number of a block that the proposer had executed
//!               32 bytes   and its hash
//! transactions             their count, then each with its length before it
//! ```
//!
//! A block's digest, which the members sign, is the SHA-256 of the fields before the transactions and of
//! the SHA-256 of the transactions as encoded: so a certificate proves the hash of an executed block, and
//! with it a state root, to somebody who has no transactions.

use std::sync::Arc;

use alloy_primitives::B256;
use bytes::BufMut;
use chain::{BLOCK_TRANSACTIONS_MAX, Chain, Payload, TRANSACTION_SIZE_MAX, Transaction};
use commonware_codec::{
    Buf, Encode, EncodeSize, Error, FixedSize, MaxEncodeSize, RangeCfg, Read, ReadExt, Write,
    varint::UInt,
};
use commonware_consensus::{BoundedBlock, Heightable, types::Height};
use commonware_cryptography::{Digestible, Hasher, Sha256, sha256::Digest};

/// What bounds a block that comes from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct BlockLimits {
    /// The chain's id: transactions for another chain are refused.
    pub chain_id: u64,
    /// The most that all transactions may take together, in bytes.
    pub size_max_bytes: usize,
}

/// The next block as the members agree on it. Its transactions are well-formed and have valid signatures.
#[derive(Clone, Debug)]
pub struct Block {
    parent: Digest,
    height: u64,
    timestamp: u64,
    executed: (u64, B256),
    transactions: Arc<[Transaction]>,
    digest: Digest,
}

impl Block {
    /// Length of the fields before the transactions, in bytes.
    const HEAD_LEN: usize = Digest::SIZE + 8 + 8 + 8 + 32;

    /// A block after the one with the digest `parent`.
    #[must_use]
    pub fn new(parent: Digest, payload: Payload) -> Self {
        let Payload { height, timestamp, executed, transactions } = payload;
        let transactions = transactions.into();
        let digest = Digest::from([0; 32]);
        let mut block = Self { parent, height, timestamp, executed, transactions, digest };
        block.digest = block.compute_digest();
        block
    }

    /// The block before the first: what `chain` began with.
    #[must_use]
    pub fn genesis(chain: &Chain) -> Self {
        let hash = chain.block_hash(0).ok().flatten().expect("block 0 is always in memory");
        let timestamp = chain.genesis().as_alloy().timestamp;
        let executed = (0, hash);
        let payload = Payload { height: 0, timestamp, executed, transactions: Vec::new() };
        Self::new(Sha256::hash(&[hash.as_slice()]), payload)
    }

    /// Its time, in seconds since 1970.
    #[must_use]
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// A block that the proposer had executed: its number and hash.
    #[must_use]
    pub const fn executed(&self) -> (u64, B256) {
        self.executed
    }

    /// What runs in it.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// As the chain's core takes it.
    #[must_use]
    pub fn payload(&self) -> Payload {
        let Self { height, timestamp, executed, .. } = *self;
        Payload { height, timestamp, executed, transactions: self.transactions.to_vec() }
    }

    /// The fields before the transactions, as encoded.
    fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(Self::HEAD_LEN);
        self.write_head(&mut head);
        head
    }

    fn write_head(&self, buffer: &mut impl BufMut) {
        self.parent.write(buffer);
        buffer.put_u64(self.height);
        buffer.put_u64(self.timestamp);
        buffer.put_u64(self.executed.0);
        buffer.put_slice(self.executed.1.as_slice());
    }

    fn write_transactions(&self, buffer: &mut impl BufMut) {
        self.transactions.len().write(buffer);
        for transaction in &*self.transactions {
            transaction.raw().0.write(buffer);
        }
    }

    fn compute_digest(&self) -> Digest {
        let mut body = Vec::new();
        self.write_transactions(&mut body);
        Sha256::hash(&[&self.head(), Sha256::hash(&[&body]).as_ref()])
    }

    /// What proves, with the members' certificate, that they agreed on this block: everything that is
    /// signed, without the transactions.
    pub(crate) fn proof_of(&self, certificate: &impl Encode) -> chain::Certificate {
        let mut body = Vec::new();
        self.write_transactions(&mut body);
        let mut proof = self.head();
        proof.extend_from_slice(Sha256::hash(&[&body]).as_ref());
        proof.extend_from_slice(&certificate.encode());
        proof.into()
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Block {}

impl Write for Block {
    fn write(&self, buffer: &mut impl BufMut) {
        self.write_head(buffer);
        self.write_transactions(buffer);
    }
}

impl EncodeSize for Block {
    fn encode_size(&self) -> usize {
        let transactions = self.transactions.iter().map(|each| each.raw().0.encode_size());
        Self::HEAD_LEN + self.transactions.len().encode_size() + transactions.sum::<usize>()
    }
}

impl Read for Block {
    type Cfg = BlockLimits;

    fn read_cfg(buffer: &mut impl Buf, limits: &BlockLimits) -> Result<Self, Error> {
        let parent = Digest::read(buffer)?;
        let (height, timestamp, number) =
            (u64::read(buffer)?, u64::read(buffer)?, u64::read(buffer)?);
        let hash = B256::from(<[u8; 32]>::read(buffer)?);
        let count = usize::read_cfg(buffer, &RangeCfg::from(0..=BLOCK_TRANSACTIONS_MAX))?;
        let mut raw = Vec::with_capacity(count);
        let mut size_left = limits.size_max_bytes;
        for _ in 0..count {
            let most = TRANSACTION_SIZE_MAX.min(size_left);
            let each = bytes::Bytes::read_cfg(buffer, &RangeCfg::from(1..=most))?;
            size_left -= each.len();
            raw.push(each.into());
        }
        let transactions = Transaction::decode_many(raw, limits.chain_id)
            .map_err(|_| Error::Invalid("block", "holds a transaction that is not valid here"))?;
        let executed = (number, hash);
        Ok(Self::new(parent, Payload { height, timestamp, executed, transactions }))
    }
}

impl BoundedBlock for Block {
    fn max_encode_size(limits: &BlockLimits) -> usize {
        let length = UInt::<u32>::MAX_ENCODE_SIZE;
        Self::HEAD_LEN + (BLOCK_TRANSACTIONS_MAX + 1) * length + limits.size_max_bytes
    }
}

impl Digestible for Block {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        self.digest
    }
}

impl Heightable for Block {
    fn height(&self) -> Height {
        Height::new(self.height)
    }
}

impl commonware_consensus::Block for Block {
    fn parent(&self) -> Digest {
        self.parent
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::{
        SignableTransaction as _, TxEip1559, TxEnvelope, crypto::secp256k1::sign_message,
    };
    use alloy_eips::Encodable2718 as _;
    use commonware_codec::Decode as _;

    use super::*;

    const LIMITS: BlockLimits = BlockLimits { chain_id: 7, size_max_bytes: 10_000 };

    fn transaction(nonce: u64) -> Transaction {
        let transaction = TxEip1559 {
            chain_id: LIMITS.chain_id,
            nonce,
            gas_limit: 100_000,
            ..TxEip1559::default()
        };
        let key = B256::with_last_byte(1);
        let signature = sign_message(key, transaction.signature_hash()).unwrap();
        let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
        Transaction::decode(raw.into(), LIMITS.chain_id).unwrap()
    }

    fn block(transactions: u64) -> Block {
        let payload = Payload {
            height: 5,
            timestamp: 1_700_000_000,
            executed: (3, B256::repeat_byte(3)),
            transactions: (0..transactions).map(transaction).collect(),
        };
        Block::new(Sha256::hash(&[b"parent"]), payload)
    }

    #[test]
    fn block_is_read_as_it_was_written() {
        for transactions in [0, 1, 3] {
            let block = block(transactions);
            let bytes = block.encode();
            assert!(bytes.len() <= Block::max_encode_size(&LIMITS));
            let read = Block::decode_cfg(bytes, &LIMITS).unwrap();
            assert_eq!(read, block);
            assert_eq!(read.transactions().len(), block.transactions().len());
            assert_eq!((read.height(), read.executed()), (Height::new(5), block.executed()));
        }
    }

    #[test]
    fn digest_depends_on_everything() {
        let change = |change: &dyn Fn(&mut Payload)| {
            let mut payload = block(2).payload();
            change(&mut payload);
            Block::new(block(2).parent, payload).digest()
        };
        let digests = [
            block(2).digest(),
            change(&|payload| payload.height += 1),
            change(&|payload| payload.timestamp += 1),
            change(&|payload| payload.executed.0 += 1),
            change(&|payload| payload.executed.1 = B256::ZERO),
            change(&|payload| payload.transactions.truncate(1)),
            change(&|payload| payload.transactions.reverse()),
            Block::new(Sha256::hash(&[b"other"]), block(2).payload()).digest(),
        ];
        let different: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(different.len(), digests.len());
    }

    #[test]
    fn block_beyond_its_bounds_is_not_read() {
        let bytes = block(3).encode();
        let size: usize = block(3).transactions().iter().map(|each| each.raw().len()).sum();
        let read = |size_max_bytes, chain_id| {
            Block::decode_cfg(bytes.clone(), &BlockLimits { chain_id, size_max_bytes })
        };
        assert!(read(size, LIMITS.chain_id).is_ok());
        assert!(read(size - 1, LIMITS.chain_id).is_err());
        assert!(read(size, 8).is_err());
    }

    #[test]
    fn proof_holds_what_is_signed() {
        let block = block(2);
        let proof = block.proof_of(&0_u8);
        let (signed, certificate) = proof.split_at(Block::HEAD_LEN + 32);
        assert_eq!(Sha256::hash(&[signed]), block.digest());
        assert_eq!(certificate, [0]);
    }
}
