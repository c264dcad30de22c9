//! What becomes of a network when messages, links, members and disks fail.

use std::{sync::Arc, time::Duration};

use alloy_primitives::B256;
use commonware_runtime::Clock as _;

use crate::cluster::{
    Cluster, EPOCH_LENGTH, Network, Schedule, Wallet, bad_link, for_each_seed, good_link,
};

const ALL: [usize; 4] = [0, 1, 2, 3];

/// How long a network may take, once whole, until blocks are final again (A4), in seconds of its time.
/// Members that gave up on a view say so again every second, and skip who was silent for five.
const HEALS_WITHIN_S: u64 = 30;

async fn start_all(cluster: &mut Cluster) {
    cluster.link(&ALL, &good_link()).await;
    for member in ALL {
        cluster.start(member).await;
    }
}

/// Gives a member the next transaction of the wallet of its number.
fn submit(cluster: &Cluster, member: usize, nonce: u64) -> B256 {
    cluster.chain(member).submit(Wallet::new(member as u64).transfer(nonce)).unwrap()
}

#[test]
fn transactions_given_to_anybody_become_final_everywhere() {
    for_each_seed("faults::transactions_given_to_anybody_become_final_everywhere", 2, |seed| {
        let network = Network::new(Schedule::fixed(4));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            start_all(&mut cluster).await;
            for nonce in 0..5 {
                for member in ALL {
                    let hash = submit(&cluster, member, nonce);
                    if nonce == 4 {
                        cluster.settle(&ALL, &hash, 10).await;
                    }
                }
            }
            // What is final waits nowhere.
            for member in ALL {
                assert!(cluster.chain(member).pool_content().0.is_empty());
            }
            cluster.reach(&ALL, 2 * EPOCH_LENGTH + 1, 60).await;
        });
        network.check();
    });
}

#[test]
fn lost_and_late_messages_stop_nothing() {
    for_each_seed("faults::lost_and_late_messages_stop_nothing", 2, |seed| {
        let network = Network::new(Schedule::fixed(4));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            cluster.link(&ALL, &bad_link()).await;
            for member in ALL {
                cluster.start(member).await;
            }
            let hashes = ALL.map(|member| submit(&cluster, member, 0));
            for hash in hashes {
                cluster.settle(&ALL, &hash, 120).await;
            }
            cluster.reach(&ALL, EPOCH_LENGTH + 1, 300).await;
        });
        network.check();
    });
}

#[test]
fn minority_waits_and_catches_up() {
    for_each_seed("faults::minority_waits_and_catches_up", 2, |seed| {
        let network = Network::new(Schedule::fixed(4));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            start_all(&mut cluster).await;
            cluster.reach(&ALL, 3, 20).await;
            cluster.part(&[3], &[0, 1, 2]).await;
            let hash = submit(&cluster, 3, 0);
            cluster.advance(&[0, 1, 2], EPOCH_LENGTH + 2, 60).await;
            cluster.stand_still(&[3], 5).await;
            assert!(!cluster.has(0, &hash));
            cluster.link(&ALL, &good_link()).await;
            cluster.settle(&ALL, &hash, HEALS_WITHIN_S).await;
        });
        network.check();
    });
}

#[test]
fn without_a_quorum_nothing_is_final_until_it_is_back() {
    for_each_seed("faults::without_a_quorum_nothing_is_final_until_it_is_back", 2, |seed| {
        let network = Network::new(Schedule::fixed(4));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            start_all(&mut cluster).await;
            cluster.reach(&ALL, 3, 20).await;
            cluster.part(&[0, 1], &[2, 3]).await;
            let hash = submit(&cluster, 0, 0);
            cluster.stand_still(&ALL, 15).await;
            cluster.link(&ALL, &good_link()).await;
            cluster.settle(&ALL, &hash, HEALS_WITHIN_S).await;
            cluster.advance(&ALL, 3, HEALS_WITHIN_S).await;
        });
        network.check();
    });
}

#[test]
fn member_that_only_hears_or_only_speaks_stops_nothing() {
    for_each_seed("faults::member_that_only_hears_or_only_speaks_stops_nothing", 2, |seed| {
        let network = Network::new(Schedule::fixed(4));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            start_all(&mut cluster).await;
            cluster.reach(&ALL, 2, 20).await;
            for mute in [true, false] {
                for other in [0, 1, 2] {
                    let (from, to) = if mute { (3, other) } else { (other, 3) };
                    cluster.link_one_way(from, to, None).await;
                }
                cluster.advance(&[0, 1, 2], 5, 60).await;
                cluster.link(&ALL, &good_link()).await;
                cluster.advance(&ALL, 2, HEALS_WITHIN_S).await;
            }
        });
        network.check();
    });
}

#[test]
fn killed_member_comes_back_with_all_it_had() {
    for_each_seed("faults::killed_member_comes_back_with_all_it_had", 2, |seed| {
        let network = Network::new(Schedule::fixed(4));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            start_all(&mut cluster).await;
            cluster.reach(&ALL, 3 + seed % EPOCH_LENGTH, 30).await;
            let before = cluster.height(1);
            cluster.kill(1).await;
            let hash = submit(&cluster, 0, 0);
            cluster.settle(&[0, 2, 3], &hash, HEALS_WITHIN_S).await;
            cluster.advance(&[0, 2, 3], EPOCH_LENGTH, 120).await;
            cluster.start(1).await;
            assert!(cluster.height(1) >= before);
            cluster.settle(&ALL, &hash, HEALS_WITHIN_S).await;
            cluster.advance(&ALL, 2, HEALS_WITHIN_S).await;
        });
        network.check();
    });
}

#[test]
fn killed_quorum_stops_the_network_until_it_is_back() {
    for_each_seed("faults::killed_quorum_stops_the_network_until_it_is_back", 2, |seed| {
        let network = Network::new(Schedule::fixed(4));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            start_all(&mut cluster).await;
            cluster.reach(&ALL, 2 + seed % EPOCH_LENGTH, 30).await;
            cluster.kill(1).await;
            cluster.kill(2).await;
            let hash = submit(&cluster, 0, 0);
            cluster.stand_still(&[0, 3], 10).await;
            cluster.start(1).await;
            cluster.settle(&[0, 1, 3], &hash, HEALS_WITHIN_S).await;
            cluster.start(2).await;
            cluster.settle(&ALL, &hash, HEALS_WITHIN_S).await;
        });
        network.check();
    });
}

#[test]
fn all_killed_at_once_go_on_where_they_were() {
    for_each_seed("faults::all_killed_at_once_go_on_where_they_were", 2, |seed| {
        let network = Network::new(Schedule::fixed(4));
        // The moment is another with each seed: between votes, in a write, at the end of an epoch.
        let moment = Duration::from_millis(2_000 + seed * 977 % 9_000);
        let mut checkpoint = None;
        for round in 0..2 {
            checkpoint =
                Some(network.run(seed, checkpoint, move |mut cluster: Cluster| async move {
                    start_all(&mut cluster).await;
                    for member in ALL {
                        submit(
                            &cluster,
                            member,
                            cluster
                                .chain(member)
                                .pending_nonce(&Wallet::new(member as u64).address),
                        );
                    }
                    cluster.context.sleep(moment + Duration::from_millis(round * 313)).await;
                }));
        }
        network.run(seed, checkpoint, |mut cluster: Cluster| async move {
            start_all(&mut cluster).await;
            cluster.advance(&ALL, EPOCH_LENGTH, 2 * HEALS_WITHIN_S).await;
        });
        network.check();
    });
}

#[test]
fn late_follower_gets_everything_and_takes_a_seat() {
    for_each_seed("faults::late_follower_gets_everything_and_takes_a_seat", 2, |seed| {
        // From the third epoch on member 4 has the seat of member 0, which follows from then on.
        let schedule = |epoch| if epoch < 3 { vec![0, 1, 2, 3] } else { vec![1, 2, 3, 4] };
        let network = Network::new(Schedule(Arc::new(schedule)));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            start_all(&mut cluster).await;
            cluster.reach(&ALL, EPOCH_LENGTH + 4, 60).await;
            let five = [0, 1, 2, 3, 4];
            cluster.link(&five, &good_link()).await;
            cluster.start(4).await;
            cluster.reach(&five, 3 * EPOCH_LENGTH + 2, 120).await;
            // Its seat counts: without it and another there is no quorum, with it there is.
            cluster.kill(3).await;
            let before = cluster.height(4);
            cluster.reach(&[0, 1, 2, 4], before + EPOCH_LENGTH, 180).await;
        });
        network.check();
    });
}

#[test]
fn committee_may_change_with_every_epoch() {
    for_each_seed("faults::committee_may_change_with_every_epoch", 2, |seed| {
        let five = [0, 1, 2, 3, 4];
        let schedule = |epoch: u64| (0..4).map(|seat| (epoch as usize + seat) % 5).collect();
        let network = Network::new(Schedule(Arc::new(schedule)));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            cluster.link(&five, &good_link()).await;
            for member in five {
                cluster.start(member).await;
            }
            cluster.reach(&five, 5 * EPOCH_LENGTH + 1, 120).await;
            let hash = submit(&cluster, 2, 0);
            cluster.settle(&five, &hash, HEALS_WITHIN_S).await;
        });
        network.check();
    });
}

/// A small generator of its own, so that what happens depends on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn member(&mut self) -> usize {
        ALL[usize::try_from(self.roll(4)).unwrap()]
    }
}

#[test]
fn whatever_happens_nothing_final_is_lost_and_it_heals() {
    for_each_seed("faults::whatever_happens_nothing_final_is_lost_and_it_heals", 12, |seed| {
        let network = Network::new(Schedule::fixed(4));
        network.run(seed, None, move |mut cluster: Cluster| async move {
            let mut dice = Dice(seed);
            let mut down: Option<usize> = None;
            start_all(&mut cluster).await;
            for _ in 0..6 {
                match dice.roll(6) {
                    0 => cluster.link(&ALL, &bad_link()).await,
                    1 => {
                        let (one, other) = (dice.member(), dice.member());
                        if one != other {
                            cluster.link_one_way(one, other, None).await;
                        }
                    }
                    2 => {
                        let alone = dice.member();
                        let others: Vec<usize> =
                            ALL.into_iter().filter(|other| *other != alone).collect();
                        cluster.part(&[alone], &others).await;
                    }
                    3 => cluster.part(&[0, 1], &[2, 3]).await,
                    4 => cluster.link(&ALL, &good_link()).await,
                    _ => match down.take() {
                        Some(member) => cluster.start(member).await,
                        None => {
                            let member = dice.member();
                            cluster.kill(member).await;
                            down = Some(member);
                        }
                    },
                }
                let member = dice.member();
                if down != Some(member) {
                    let wallet = Wallet::new(member as u64);
                    let next = cluster.chain(member).pending_nonce(&wallet.address);
                    let _ = cluster.chain(member).submit(wallet.transfer(next));
                }
                cluster.context.sleep(Duration::from_millis(200 + dice.roll(4_000))).await;
            }
            if let Some(member) = down {
                cluster.start(member).await;
            }
            cluster.link(&ALL, &good_link()).await;
            cluster.advance(&ALL, 3, 2 * HEALS_WITHIN_S).await;
            let wallet = Wallet::new(9);
            let hash = cluster.chain(0).submit(wallet.transfer(0)).unwrap();
            cluster.settle(&ALL, &hash, HEALS_WITHIN_S).await;
        });
        network.check();
    });
}

#[test]
fn same_seed_gives_the_same_run() {
    let run = |seed| {
        let network = Network::new(Schedule::fixed(4));
        let checkpoint = network.run(seed, None, move |mut cluster: Cluster| async move {
            cluster.link(&ALL, &bad_link()).await;
            for member in ALL {
                cluster.start(member).await;
                submit(&cluster, member, 0);
            }
            cluster.reach(&ALL, EPOCH_LENGTH + 2, 300).await;
            cluster.kill(2).await;
            cluster.advance(&[0, 1, 3], 2, 120).await;
            cluster.start(2).await;
            cluster.advance(&ALL, 2, 120).await;
        });
        network.check();
        checkpoint.auditor().state()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
