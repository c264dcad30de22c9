//! Members that do not keep to the rules: one that equivocates, one that lies about its state, one that
//! came to another state, one that sends without end.

use std::sync::Arc;

use alloy_primitives::B256;
use chain::{Chain, Payload, Transaction};
use commonware_codec::Encode as _;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{
    Recipients, Sender as _,
    simulated::{Receiver, Sender, SplitOrigin, SplitSender, SplitTarget},
};
use commonware_runtime::{IoBuf, Supervisor as _, deterministic::Context};
use consensus::{Channels, Core, ShareLimits};

use crate::cluster::{
    CHAIN_ID, Cluster, Network, Schedule, Wallet, for_each_seed, good_link, name,
};

const ALL: [usize; 4] = [0, 1, 2, 3];
const HONEST: [usize; 3] = [0, 1, 2];

/// A core that names a wrong hash in what it proposes.
#[derive(Clone)]
struct Liar(Chain);

impl Core for Liar {
    fn chain(&self) -> &Chain {
        &self.0
    }

    fn propose(
        &self,
        height: u64,
        timestamp: u64,
        ahead: &[Transaction],
        size_max_bytes: usize,
    ) -> Payload {
        let mut payload = Core::propose(&self.0, height, timestamp, ahead, size_max_bytes);
        payload.executed.1 = B256::repeat_byte(0xbb);
        payload
    }
}

/// A core that proposes what breaks the other rules, in turn.
#[derive(Clone)]
struct Wild(Chain);

impl Core for Wild {
    fn chain(&self) -> &Chain {
        &self.0
    }

    fn propose(
        &self,
        height: u64,
        timestamp: u64,
        ahead: &[Transaction],
        size_max_bytes: usize,
    ) -> Payload {
        let mut payload = Core::propose(&self.0, height, timestamp, ahead, size_max_bytes);
        match self.0.applied().0 % 3 {
            0 => payload.timestamp += 1_000_000,
            1 => payload.timestamp = 0,
            _ => payload.executed.0 = height,
        }
        payload
    }
}

async fn with_one_core<C: Core>(cluster: &mut Cluster, core: impl FnOnce(Chain) -> C) {
    cluster.link(&ALL, &good_link()).await;
    for member in HONEST {
        cluster.start(member).await;
    }
    let (channels, chain) = (cluster.channels(3).await, cluster.network.open(3));
    cluster.start_with(3, 3, chain.clone(), core(chain), channels);
    let hash = cluster.chain(0).submit(Wallet::new(0).transfer(0)).unwrap();
    cluster.settle(&HONEST, &hash, 60).await;
    cluster.advance(&HONEST, 15, 120).await;
    assert!(cluster.network.seen.lock().unwrap().halted.is_empty());
}

#[test]
fn proposals_on_a_wrong_state_are_refused() {
    for_each_seed("misbehaviour::proposals_on_a_wrong_state_are_refused", 2, |seed| {
        let network = Arc::new(Network::with(Schedule::fixed(4), ShareLimits::default(), [3]));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            with_one_core(&mut cluster, Liar).await;
        });
        network.check();
    });
}

#[test]
fn proposals_that_break_a_rule_are_refused() {
    for_each_seed("misbehaviour::proposals_that_break_a_rule_are_refused", 2, |seed| {
        let network = Arc::new(Network::with(Schedule::fixed(4), ShareLimits::default(), [3]));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            with_one_core(&mut cluster, Wild).await;
            // A block dated far ahead would have moved the chain's time.
            let time = cluster.chain(0).head().header.timestamp;
            assert!(time < 1_000, "the chain's time is {time}");
        });
        network.check();
    });
}

#[test]
fn member_that_executes_otherwise_halts_alone() {
    for_each_seed("misbehaviour::member_that_executes_otherwise_halts_alone", 2, |seed| {
        let network = Arc::new(Network::with(Schedule::fixed(4), ShareLimits::default(), [3]));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            cluster.link(&ALL, &good_link()).await;
            for member in HONEST {
                cluster.start(member).await;
            }
            // Its first block is another one, as after a fault of its memory.
            let chain = cluster.network.open(3);
            let executed = chain.applied();
            let raw = vec![Wallet::new(5).transfer(0)];
            let transactions = Transaction::decode_many(raw, CHAIN_ID).unwrap();
            let other = Payload { height: 1, timestamp: 0, executed, transactions };
            let applied = chain.apply(other, chain::Certificate::new()).unwrap();
            assert!(applied.wait().is_some());
            let channels = cluster.channels(3).await;
            cluster.start_with(3, 3, chain.clone(), chain, channels);
            cluster.advance(&HONEST, 15, 120).await;
            let seen = cluster.network.seen.lock().unwrap();
            let why = seen.halted.get(&3).expect("it halted");
            assert!(why.contains("Diverged"), "{why}");
        });
        network.check();
    });
}

/// Two machines with one member's key, each talking to some of the others: what they sign for one view
/// contradicts itself.
#[test]
fn equivocating_member_divides_nobody_and_is_found_out() {
    for_each_seed("misbehaviour::equivocating_member_divides_nobody_and_is_found_out", 3, |seed| {
        let network = Arc::new(Network::with(Schedule::fixed(4), ShareLimits::default(), [3, 13]));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            cluster.link(&ALL, &good_link()).await;
            for member in HONEST {
                cluster.start(member).await;
            }
            let channels = cluster.channels(3).await;
            let (one, other) = twins(&cluster.context, channels);
            for (store, channels, wallet) in [(3, one, 3), (13, other, 4)] {
                let chain = cluster.network.open(store);
                // They have other transactions, so they propose other blocks.
                chain.submit(Wallet::new(wallet).transfer(0)).unwrap();
                cluster.start_with(3, store, chain.clone(), chain, channels);
            }
            cluster.advance(&HONEST, 15, 240).await;
            let seen = cluster.network.seen.lock().unwrap();
            assert!(seen.misbehaved.contains(&(1, name(3))), "{:?}", seen.misbehaved);
            assert!(seen.misbehaved.iter().all(|(_, accused)| *accused == name(3)));
        });
        network.check();
    });
}

type Half = fn(SplitOrigin, &Recipients<PublicKey>, &IoBuf) -> Option<Recipients<PublicKey>>;
type HalfSender = SplitSender<PublicKey, Context, Half>;
type HalfReceiver = Receiver<PublicKey>;

/// The first machine speaks with members 0 and 1, the second with members 1 and 2.
fn speaks_with(machine: SplitOrigin, member: &PublicKey) -> bool {
    let stranger = match machine {
        SplitOrigin::Primary => name(2),
        SplitOrigin::Secondary => name(0),
    };
    *member != stranger
}

fn to_its_half(
    machine: SplitOrigin,
    recipients: &Recipients<PublicKey>,
    _: &IoBuf,
) -> Option<Recipients<PublicKey>> {
    let members = match recipients {
        Recipients::All => HONEST.map(name).to_vec(),
        Recipients::Some(members) => members.clone(),
        Recipients::One(member) => vec![member.clone()],
    };
    let half = members.into_iter().filter(|member| speaks_with(machine, member));
    Some(Recipients::Some(half.collect()))
}

/// Gives each of two machines its part of a member's channels.
fn twins(
    context: &Context,
    channels: Channels<Sender<PublicKey, Context>, HalfReceiver>,
) -> (Channels<HalfSender, HalfReceiver>, Channels<HalfSender, HalfReceiver>) {
    let split = |(sender, receiver): (Sender<PublicKey, Context>, HalfReceiver)| {
        let senders = sender.split_with(to_its_half as Half);
        let receivers = receiver.split_with(context.child("twins"), |(member, _)| {
            match HONEST.iter().position(|honest| name(*honest) == *member) {
                Some(0) => SplitTarget::Primary,
                Some(2) => SplitTarget::Secondary,
                _ => SplitTarget::Both,
            }
        });
        ((senders.0, receivers.0), (senders.1, receivers.1))
    };
    let (votes, other_votes) = split(channels.votes);
    let (certificates, other_certificates) = split(channels.certificates);
    let (resolver, other_resolver) = split(channels.resolver);
    let (backfill, other_backfill) = split(channels.backfill);
    let (broadcast, other_broadcast) = split(channels.broadcast);
    let (transactions, other_transactions) = split(channels.transactions);
    (
        Channels { votes, certificates, resolver, backfill, broadcast, transactions },
        Channels {
            votes: other_votes,
            certificates: other_certificates,
            resolver: other_resolver,
            backfill: other_backfill,
            broadcast: other_broadcast,
            transactions: other_transactions,
        },
    )
}

/// Without a quorum nothing leaves the pools, so what is in them is what was let in.
#[test]
fn member_that_floods_takes_nobody_elses_room() {
    for_each_seed("misbehaviour::member_that_floods_takes_nobody_elses_room", 2, |seed| {
        let shares = ShareLimits { transactions: 20, bytes: 1 << 20 };
        let network = Arc::new(Network::with(Schedule::fixed(4), shares, []));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            cluster.link(&ALL, &good_link()).await;
            cluster.start(0).await;
            cluster.start(1).await;
            let mut flood = cluster.channels(3).await.transactions.0;
            for wallet in 4..12 {
                let wallet = Wallet::new(wallet);
                let message: Vec<_> = (0..50).map(|nonce| wallet.transfer(nonce).0).collect();
                flood.send(Recipients::All, message.encode(), false);
                cluster.sleep(1).await;
            }
            let waiting = |member| cluster.chain(member).pool_content().0.len();
            assert_eq!((waiting(0), waiting(1)), (20, 20));

            let hash = cluster.chain(1).submit(Wallet::new(1).transfer(0)).unwrap();
            cluster.sleep(3).await;
            assert!(cluster.chain(0).waiting(&hash).is_some());
            assert!(cluster.oracle.blocked().await.unwrap().is_empty());

            // What no honest node would send cuts the sender off.
            let mut junk = cluster.channels(2).await.transactions.0;
            junk.send(Recipients::All, vec![bytes::Bytes::from_static(b"junk")].encode(), false);
            cluster.sleep(1).await;
            let blocked = cluster.oracle.blocked().await.unwrap();
            for member in [0, 1] {
                assert!(blocked.contains(&(name(member), name(2))), "{blocked:?}");
            }
        });
        network.check();
    });
}
