//! The same members on real time, threads and sockets.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use chain::{Chain, ChainConfig};
use commonware_cryptography::{ChaCha20Poly1305, ed25519::PublicKey};
use commonware_p2p::{Address, AddressableManager as _, authenticated::lookup};
use commonware_runtime::{Clock as _, Quota, Runner as _, Spawner as _, Supervisor as _, tokio};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, TryCollect as _, ordered::Map};
use consensus::{BlockLimits, Channels, Config, Event, ShareLimits, Timing, message_size_max, run};

use crate::cluster::{CHAIN_ID, Schedule, Wallet, genesis, key, name};

const BLOCK_SIZE_MAX: usize = 64 << 10;

/// Where members can listen: ports that were free a moment ago.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listeners: Vec<_> = (0..count).map(|_| listen()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

#[test]
fn four_members_agree_over_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let open = |member: usize| {
        let dir = dir.path().join(format!("chain-{member}"));
        Chain::open(ChainConfig::new(dir, genesis(), Arc::new(|| 0))).unwrap()
    };
    let chains: Vec<Chain> = (0..4).map(open).collect();
    let hashes: Vec<_> = chains
        .iter()
        .zip(0..)
        .map(|(chain, wallet)| chain.submit(Wallet::new(wallet).transfer(0)).unwrap())
        .collect();

    let running = chains.clone();
    let config = tokio::Config::default().with_storage_directory(dir.path().join("agreement"));
    tokio::Runner::new(config).start(|context| async move {
        let addresses = free_addresses(4);
        let limits = BlockLimits { chain_id: CHAIN_ID, size_max_bytes: BLOCK_SIZE_MAX };
        let largest = u32::try_from(message_size_max(&limits, 4)).unwrap();
        let ended = Arc::new(Mutex::new(Vec::new()));
        for member in 0..4 {
            let handshake = Sake {
                signer: key(member),
                synchrony_bound: Duration::from_secs(5),
                max_handshake_age: Duration::from_secs(10),
                version: sake::Version::V1,
            };
            let config = lookup::Config::local(
                Cups::<_, ChaCha20Poly1305>::new(handshake, cups::Version::V1),
                b"salus test",
                addresses[member],
                NZUsize!(16),
                largest,
                NZUsize!(1_024),
            );
            let context = context.child("member").with_attribute("member", member);
            let (mut network, mut oracle) = lookup::Network::new(context.child("network"), config);
            let peers = (0..4).map(|other| (name(other), Address::from(addresses[other])));
            let peers: Map<PublicKey, Address> = peers.try_collect().unwrap();
            oracle.track(0, peers);
            let quota = Quota::per_second(NZU32!(1_024));
            let channels = Channels {
                votes: network.register(0, quota),
                certificates: network.register(1, quota),
                resolver: network.register(2, quota),
                backfill: network.register(3, quota),
                broadcast: network.register(4, quota),
                transactions: network.register(5, quota),
            };
            network.start();
            let config = Config {
                core: running[member].clone(),
                committees: Schedule::fixed(4),
                key: key(member),
                storage_name: format!("member-{member}"),
                epoch_length: NonZeroU64::new(5).unwrap(),
                block_size_max_bytes: BLOCK_SIZE_MAX,
                timing: Timing::default(),
                shares: ShareLimits::default(),
                watch: Arc::new(|_: Event| ()),
            };
            let ended = Arc::clone(&ended);
            context.spawn(move |context| async move {
                let stopped = run(context, config, channels, oracle.clone(), oracle).await;
                ended.lock().unwrap().push(format!("member {member} stopped: {stopped:?}"));
            });
        }
        let settled = |chain: &Chain| {
            hashes.iter().all(|hash| chain.find_transaction(hash).unwrap().is_some())
        };
        // Two epochs at least, and everybody's transaction. Nothing here depends on how fast.
        while !running.iter().all(|chain| settled(chain) && chain.applied().0 > 11) {
            assert!(ended.lock().unwrap().is_empty(), "{ended:?}");
            context.sleep(Duration::from_millis(50)).await;
        }
    });

    for chain in &chains[1..] {
        let (theirs, ours) = (chain.block_hash(11).unwrap(), chains[0].block_hash(11).unwrap());
        assert_eq!(theirs, ours);
    }
    let time = chains[0].head().header.timestamp;
    assert!(time > 0 && SystemTime::UNIX_EPOCH + Duration::from_secs(time - 2) < now());
    // A certificate is in the log, and goes with what was signed.
    let certified = (1..=11).filter(|height| {
        let block = chains[0].block(*height).unwrap().unwrap();
        !block.certificate.is_empty()
    });
    assert!(certified.count() > 0);
    chains.iter().for_each(Chain::close);
}

/// The real time, which blocks must not be ahead of.
#[expect(clippy::disallowed_methods, reason = "this is about the real clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
