//! Hands on transactions that came in here, and takes in those that came in elsewhere.
//!
//! A member sends what it was given to all others, directly, and again while it waits: nobody hands on
//! what it got from another, so a transaction costs each link one message. A message is a list of encoded
//! transactions, their count first and each with its length before it.
//!
//! What others send is believed only as far as it shows:
//!
//! - Each member has a share of the pool ([`Shares`]); what goes beyond is refused before a signature is
//!   looked at. However much one member sends, another's transactions find room.
//! - Who sends what is no transaction of this chain is blocked: its own node would not have taken it.
//! - How many messages a member may send is bounded by the network's quota, and each message by
//!   [`MESSAGE_SIZE_MAX`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use alloy_consensus::Transaction as _;
use alloy_primitives::{B256, Bytes, keccak256};
use chain::{Chain, SubmitError, TRANSACTION_SIZE_MAX, Transaction};
use commonware_codec::{Decode as _, Encode as _, RangeCfg};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Receiver, Recipients, Sender};
use commonware_runtime::Clock;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// The most transactions in one message.
const MESSAGE_TRANSACTIONS_MAX: usize = 256;

/// The most bytes of transactions in one message.
const MESSAGE_BODY_MAX: usize = 2 * TRANSACTION_SIZE_MAX;

/// The longest message, in bytes: each transaction has its length before it, in five bytes at most.
pub const MESSAGE_SIZE_MAX: usize = MESSAGE_BODY_MAX + 5 * (MESSAGE_TRANSACTIONS_MAX + 1);

/// How often what still waits is sent again: messages get lost, and members start with an empty pool.
const SEND_AGAIN: Duration = Duration::from_secs(2);

/// How many transactions are sent again at a time, at most.
const SEND_AGAIN_MAX: usize = 2_048;

/// How much of each other member's may wait here.
#[derive(Clone, Copy, Debug)]
pub struct ShareLimits {
    /// Transactions of one member.
    pub transactions: usize,
    /// Bytes of one member.
    pub bytes: usize,
}

impl Default for ShareLimits {
    /// A thirty-second of the pool: committees have at most 31 seats, so that the shares of all others
    /// together leave room for what comes in here.
    fn default() -> Self {
        let pool = chain::PoolLimits::default();
        Self { transactions: pool.transactions / 32, bytes: pool.bytes / 32 }
    }
}

/// What waits here of each other member's.
#[derive(Debug)]
pub(crate) struct Shares {
    limits: ShareLimits,
    held: BTreeMap<PublicKey, Held>,
    owners: BTreeMap<B256, (PublicKey, usize)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    transactions: usize,
    bytes: usize,
}

impl Shares {
    pub(crate) const fn new(limits: ShareLimits) -> Self {
        Self { limits, held: BTreeMap::new(), owners: BTreeMap::new() }
    }

    /// Whether a transaction of `size` bytes may wait on behalf of `member`. If so, it counts from now on.
    fn take(&mut self, member: &PublicKey, hash: B256, size: usize) -> bool {
        let held = self.held.entry(member.clone()).or_default();
        let fits = held.transactions < self.limits.transactions
            && held.bytes + size <= self.limits.bytes
            && !self.owners.contains_key(&hash);
        if fits {
            held.transactions += 1;
            held.bytes += size;
            self.owners.insert(hash, (member.clone(), size));
        }
        fits
    }

    /// Gives back the room of a transaction that does not wait any more.
    fn release(&mut self, hash: &B256) {
        let Some((member, size)) = self.owners.remove(hash) else { return };
        if let Some(held) = self.held.get_mut(&member) {
            held.transactions -= 1;
            held.bytes -= size;
            if held.transactions == 0 {
                self.held.remove(&member);
            }
        }
    }

    /// Gives back the room of all that do not wait any more.
    fn settle(&mut self, waits: impl Fn(&B256) -> bool) {
        let gone: Vec<B256> = self.owners.keys().filter(|hash| !waits(hash)).copied().collect();
        for hash in gone {
            self.release(&hash);
        }
    }

    /// Whether a transaction came from another member.
    fn is_foreign(&self, hash: &B256) -> bool {
        self.owners.contains_key(hash)
    }
}

/// One member's side of the gossip.
pub(crate) struct Gossip<S, B> {
    chain: Chain,
    sender: S,
    blocker: B,
    shares: Shares,
    /// What came in here and waits, by hash.
    own: BTreeSet<B256>,
    /// What of it was sent since the last time that things were sent again.
    fresh: BTreeSet<B256>,
}

impl<S, B> Gossip<S, B>
where
    S: Sender<PublicKey = PublicKey>,
    B: Blocker<PublicKey = PublicKey>,
{
    pub(crate) fn new(chain: Chain, sender: S, blocker: B, limits: ShareLimits) -> Self {
        let (own, fresh) = (BTreeSet::new(), BTreeSet::new());
        Self { chain, sender, blocker, shares: Shares::new(limits), own, fresh }
    }

    /// Runs until the network is gone.
    pub(crate) async fn run(
        mut self,
        clock: impl Clock,
        mut receiver: impl Receiver<PublicKey = PublicKey>,
    ) {
        let mut arrivals = self.chain.subscribe_arrivals();
        let mut send_again = clock.current() + SEND_AGAIN;
        loop {
            commonware_macros::select! {
                () = clock.sleep_until(send_again) => {
                    send_again = clock.current() + SEND_AGAIN;
                    self.send_again();
                },
                arrival = arrivals.recv() => match arrival {
                    Ok(hash) => {
                        let mut fresh = vec![hash];
                        while fresh.len() < MESSAGE_TRANSACTIONS_MAX {
                            match arrivals.try_recv() {
                                Ok(hash) => fresh.push(hash),
                                // What was missed is found in the pool when the rest is sent again.
                                Err(TryRecvError::Lagged(_)) => {}
                                Err(_) => break,
                            }
                        }
                        fresh.retain(|hash| !self.shares.is_foreign(hash));
                        self.own.extend(&fresh);
                        self.fresh.extend(&fresh);
                        self.send(fresh);
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                message = receiver.recv() => match message {
                    Ok((member, message)) => self.receive(&member, message),
                    Err(_) => return,
                },
            }
        }
    }

    /// Sends transactions to everybody, in as many messages as it takes.
    fn send(&mut self, hashes: impl IntoIterator<Item = B256>) {
        let (mut message, mut size) = (Vec::new(), 0);
        for hash in hashes {
            let Some(transaction) = self.chain.waiting(&hash) else { continue };
            let raw = transaction.raw().0.clone();
            if message.len() == MESSAGE_TRANSACTIONS_MAX || size + raw.len() > MESSAGE_BODY_MAX {
                self.send_message(std::mem::take(&mut message));
                size = 0;
            }
            size += raw.len();
            message.push(raw);
        }
        if !message.is_empty() {
            self.send_message(message);
        }
    }

    fn send_message(&mut self, message: Vec<bytes::Bytes>) {
        // Whoever cannot be reached now gets it when it is sent again.
        let _ = self.sender.send(Recipients::All, message.encode(), false);
    }

    /// Sends what came in here and has waited for a while, and forgets what does not wait.
    fn send_again(&mut self) {
        let Self { chain, shares, own, fresh, .. } = self;
        shares.settle(|hash| chain.waiting(hash).is_some());
        let mut waiting: Vec<Transaction> = chain.pool_content().0;
        waiting.retain(|transaction| !shares.is_foreign(&transaction.hash()));
        // Each sender's transactions in the order of their nonces, so that all can be taken in.
        waiting.sort_by_key(|each| (each.sender(), each.envelope().nonce()));
        *own = waiting.iter().map(Transaction::hash).collect();
        let mut hashes: Vec<B256> = waiting.iter().map(Transaction::hash).collect();
        hashes.retain(|hash| !fresh.contains(hash));
        hashes.truncate(SEND_AGAIN_MAX);
        fresh.clear();
        self.send(hashes);
    }

    /// Takes in what another member sent, as far as it has room.
    fn receive(&mut self, member: &PublicKey, message: impl commonware_codec::Buf) {
        let limits = (
            RangeCfg::from(1..=MESSAGE_TRANSACTIONS_MAX),
            RangeCfg::from(1..=TRANSACTION_SIZE_MAX),
        );
        let Ok(transactions) = Vec::<bytes::Bytes>::decode_cfg(message, &limits) else {
            commonware_p2p::block!(self.blocker, member.clone(), "sent no list of transactions");
            return;
        };
        for raw in transactions {
            // A transaction's hash is that of its bytes (EIP-2718), so it is known before they are decoded.
            let hash = keccak256(&raw);
            if self.own.contains(&hash) || !self.shares.take(member, hash, raw.len()) {
                continue;
            }
            match self.chain.submit(Bytes(raw)) {
                Ok(_) => {}
                Err(SubmitError::Invalid(_)) => {
                    self.shares.release(&hash);
                    commonware_p2p::block!(
                        self.blocker,
                        member.clone(),
                        "sent no transaction of this chain"
                    );
                    return;
                }
                Err(SubmitError::Refused(_) | SubmitError::Stopped { .. }) => {
                    self.shares.release(&hash);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use commonware_cryptography::{Signer as _, ed25519::PrivateKey};

    use super::*;

    fn member(seed: u64) -> PublicKey {
        PrivateKey::from_seed(seed).public_key()
    }

    fn hash(number: u8) -> B256 {
        B256::repeat_byte(number)
    }

    #[test]
    fn one_member_cannot_use_the_room_of_another() {
        let mut shares = Shares::new(ShareLimits { transactions: 2, bytes: 100 });
        assert!(shares.take(&member(1), hash(1), 10));
        assert!(shares.take(&member(1), hash(2), 10));
        assert!(!shares.take(&member(1), hash(3), 10));
        assert!(shares.take(&member(2), hash(3), 100));
        assert!(!shares.take(&member(2), hash(4), 1));
    }

    #[test]
    fn what_does_not_wait_any_more_makes_room() {
        let mut shares = Shares::new(ShareLimits { transactions: 2, bytes: 100 });
        assert!(shares.take(&member(1), hash(1), 50));
        assert!(shares.take(&member(1), hash(2), 50));
        shares.settle(|hash| *hash == B256::repeat_byte(2));
        assert!(!shares.is_foreign(&hash(1)));
        assert!(shares.take(&member(1), hash(3), 50));
        shares.settle(|_| false);
        assert!(shares.held.is_empty() && shares.owners.is_empty());
    }

    #[test]
    fn a_transaction_counts_for_whoever_brought_it_first() {
        let mut shares = Shares::new(ShareLimits { transactions: 2, bytes: 100 });
        assert!(shares.take(&member(1), hash(1), 50));
        assert!(!shares.take(&member(2), hash(1), 50));
        assert!(shares.held.get(&member(2)).is_none_or(|held| held.transactions == 0));
    }
}
