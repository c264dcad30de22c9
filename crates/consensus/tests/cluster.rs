//! A network of members in one thread, and what must hold of every run.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_consensus::{
    SignableTransaction as _, TxEip1559, TxEnvelope, crypto::secp256k1::sign_message,
};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use chain::{Chain, ChainConfig, Genesis};
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::simulated::{self, Link, Oracle};
use commonware_runtime::{
    Clock as _, Handle, Quota, Spawner as _, Supervisor as _,
    deterministic::{Checkpoint, Config as RuntimeConfig, Context, Runner},
};
use commonware_utils::{NZU32, NZUsize, probability};
use consensus::{
    Channels, Committees, Config, Core, Event, NodeError, Seat, ShareLimits, Timing, run,
};

pub const CHAIN_ID: u64 = 31_337;

/// Blocks per epoch: few, so that every run goes through several.
pub const EPOCH_LENGTH: u64 = 12;

/// The seeds that a test runs: `usual` many, unless the environment says otherwise.
pub fn seeds(usual: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("SALUS_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SALUS_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// Runs a test for each of its seeds, and says how to run one again that fails.
pub fn for_each_seed(test: &str, usual: u64, run: impl Fn(u64)) {
    for seed in seeds(usual) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        if let Err(panic) = outcome {
            eprintln!(
                "seed {seed} failed; again: SALUS_SEED={seed} cargo test --test consensus_it -- --exact {test}"
            );
            std::panic::resume_unwind(panic);
        }
    }
}

pub fn key(member: usize) -> PrivateKey {
    PrivateKey::from_seed(member as u64)
}

pub fn name(member: usize) -> PublicKey {
    key(member).public_key()
}

/// Who sends transactions: a patient, a hospital.
pub struct Wallet {
    key: B256,
    pub address: Address,
}

impl Wallet {
    pub fn new(number: u64) -> Self {
        let key = keccak256([b"wallet".as_slice(), &number.to_be_bytes()].concat());
        let signature = sign_message(key, B256::ZERO).unwrap();
        let address = signature.recover_address_from_prehash(&B256::ZERO).unwrap();
        Self { key, address }
    }

    /// Sends one wei to nobody.
    pub fn transfer(&self, nonce: u64) -> Bytes {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 1_000_000_000,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(Address::repeat_byte(0xdd)),
            value: U256::from(1),
            ..TxEip1559::default()
        };
        let signature = sign_message(self.key, transaction.signature_hash()).unwrap();
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
    }
}

/// What all chains begin with.
pub fn genesis() -> Genesis {
    (0..16).map(Wallet::new).fold(Genesis::new(CHAIN_ID, 0), |genesis, wallet| {
        genesis.with_balance(wallet.address, U256::from(10).pow(U256::from(20)))
    })
}

/// The committee of each epoch, as members by number.
#[derive(Clone)]
pub struct Schedule(pub Arc<dyn Fn(u64) -> Vec<usize> + Send + Sync>);

impl Schedule {
    pub fn fixed(members: usize) -> Self {
        Self(Arc::new(move |_| (0..members).collect()))
    }
}

impl Committees for Schedule {
    fn committee(&self, epoch: u64) -> Option<Vec<Seat>> {
        let seat = |member| Seat { key: name(member), network_address: Vec::new() };
        Some((self.0)(epoch).into_iter().map(seat).collect())
    }
}

/// What was seen of a run, over all its restarts.
#[derive(Default)]
pub struct Seen {
    /// Which block each member has at which height.
    applied: BTreeMap<(usize, u64), B256>,
    /// Which member stopped, and why.
    pub halted: BTreeMap<usize, String>,
    /// Of whom each member has proof that it broke the rules.
    pub misbehaved: BTreeSet<(usize, PublicKey)>,
}

/// A network whose members' disks outlive it.
pub struct Network {
    dir: tempfile::TempDir,
    pub schedule: Schedule,
    pub seen: Arc<Mutex<Seen>>,
    pub shares: ShareLimits,
    /// Members that do not keep to the rules: nothing is expected of what they execute.
    pub faulty: BTreeSet<usize>,
}

impl Network {
    pub fn new(schedule: Schedule) -> Arc<Self> {
        Arc::new(Self::with(schedule, ShareLimits::default(), []))
    }

    pub fn with(
        schedule: Schedule,
        shares: ShareLimits,
        faulty: impl IntoIterator<Item = usize>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let faulty = faulty.into_iter().collect();
        Self { dir, schedule, seen: Arc::default(), shares, faulty }
    }

    /// Runs `test` on a network that is made anew; what was stored under `before` is there.
    pub fn run<F, Fut>(
        self: &Arc<Self>,
        seed: u64,
        before: Option<Checkpoint>,
        test: F,
    ) -> Checkpoint
    where
        F: FnOnce(Cluster) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let runner = before.map_or_else(
            || {
                let config = RuntimeConfig::new().with_seed(seed);
                Runner::new(config.with_timeout(Some(Duration::from_secs(3_600))))
            },
            Runner::from,
        );
        let network = Arc::clone(self);
        let chains = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::clone(&chains);
        let ((), checkpoint) = runner.start_and_recover(move |context| async move {
            test(Cluster::new(context, network, opened).await).await;
        });
        // Whatever ran is gone, as after `kill -9`. Only the directories are let go in order.
        chains.lock().unwrap().drain(..).for_each(|chain: Chain| chain.close());
        checkpoint
    }

    /// Checks a whole run (A1, A2, A3): one block at each height, on all chains, and none lost.
    pub fn check(&self) {
        let seen = self.seen.lock().unwrap();
        let mut blocks: BTreeMap<u64, B256> = BTreeMap::new();
        for ((member, height), hash) in &seen.applied {
            let first = *blocks.entry(*height).or_insert(*hash);
            assert_eq!(first, *hash, "member {member} has another block {height}");
        }
        for (member, why) in &seen.halted {
            assert!(self.faulty.contains(member), "member {member} halted: {why}");
        }
        // What is on the disks is what was reported, to the last block.
        let members: BTreeSet<usize> = seen.applied.keys().map(|(member, _)| *member).collect();
        for member in members {
            let chain = self.open(member);
            for ((_, height), hash) in seen.applied.range((member, 0)..=(member, u64::MAX)) {
                assert_eq!(
                    chain.block_hash(*height).unwrap(),
                    Some(*hash),
                    "{member} lost {height}"
                );
            }
            chain.close();
        }
    }

    fn chain_dir(&self, member: usize) -> PathBuf {
        self.dir.path().join(member.to_string())
    }

    pub fn open(&self, member: usize) -> Chain {
        // The chain's own clock is for questions about pending blocks; the agreement does not use it.
        let config = ChainConfig::new(self.chain_dir(member), genesis(), Arc::new(|| 0));
        Chain::open(config.thrown_away()).unwrap()
    }
}

/// The link between any two members.
pub fn good_link() -> Link {
    Link {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        success_rate: probability!(1.0),
    }
}

/// A link that loses one message in eight, and delays some beyond the next.
pub fn bad_link() -> Link {
    Link {
        latency: Duration::from_millis(60),
        jitter: Duration::from_millis(40),
        success_rate: probability!(0.875),
    }
}

/// Times of a network whose messages take some twenty milliseconds.
const TIMING: Timing = Timing {
    idle_block_interval: Duration::from_millis(500),
    leader_timeout: Duration::from_secs(1),
    certification_timeout: Duration::from_millis(1_500),
    retry_timeout: Duration::from_secs(1),
    skip_timeout: Duration::from_secs(5),
    fetch_timeout: Duration::from_secs(1),
};

type Sender = simulated::Sender<PublicKey, Context>;
type Receiver = simulated::Receiver<PublicKey>;

/// A running network.
pub struct Cluster {
    pub context: Context,
    pub oracle: Oracle<PublicKey, Context>,
    pub network: Arc<Network>,
    members: BTreeMap<usize, (Chain, Handle<()>)>,
    /// All chains ever opened, to be closed when the runtime is gone.
    opened: Arc<Mutex<Vec<Chain>>>,
}

impl Cluster {
    async fn new(context: Context, network: Arc<Network>, opened: Arc<Mutex<Vec<Chain>>>) -> Self {
        let config = simulated::Config {
            max_size: 1 << 20,
            max_peers_per_set: NZUsize!(16),
            disconnect_on_block: true,
            tracked_peer_sets: NZUsize!(3),
        };
        let names: Vec<PublicKey> = (0..5).map(name).collect();
        let (simulation, oracle) =
            simulated::Network::new_with_peers(context.child("network"), config, names).await;
        simulation.start();
        Self { context, oracle, network, members: BTreeMap::new(), opened }
    }

    pub async fn sleep(&self, seconds: u64) {
        self.context.sleep(Duration::from_secs(seconds)).await;
    }

    /// Links every two of the members, both ways.
    pub async fn link(&self, members: &[usize], link: &Link) {
        for from in members {
            for to in members {
                if from != to {
                    self.link_one_way(*from, *to, Some(link)).await;
                }
            }
        }
    }

    /// Sets or cuts what `from` sends to `to`.
    pub async fn link_one_way(&self, from: usize, to: usize, link: Option<&Link>) {
        let _ = self.oracle.remove_link(name(from), name(to)).await;
        if let Some(link) = link {
            self.oracle.add_link(name(from), name(to), link.clone()).await.unwrap();
        }
    }

    /// Cuts all links between two groups.
    pub async fn part(&self, one: &[usize], other: &[usize]) {
        for a in one {
            for b in other {
                self.link_one_way(*a, *b, None).await;
                self.link_one_way(*b, *a, None).await;
            }
        }
    }

    pub async fn channels(&self, member: usize) -> Channels<Sender, Receiver> {
        let control = self.oracle.control(name(member));
        let quota = Quota::per_second(NZU32!(10_000));
        Channels {
            votes: control.register(0, quota).await.unwrap(),
            certificates: control.register(1, quota).await.unwrap(),
            resolver: control.register(2, quota).await.unwrap(),
            backfill: control.register(3, quota).await.unwrap(),
            broadcast: control.register(4, quota).await.unwrap(),
            transactions: control.register(5, quota).await.unwrap(),
        }
    }

    /// Starts a member, with what it stored before.
    pub async fn start(&mut self, member: usize) {
        let channels = self.channels(member).await;
        let chain = self.network.open(member);
        self.start_with(member, member, chain.clone(), chain, channels);
    }

    /// Starts a member around `core`. Its store is named after `store`.
    pub fn start_with<S, R>(
        &mut self,
        member: usize,
        store: usize,
        chain: Chain,
        core: impl Core,
        channels: Channels<S, R>,
    ) where
        S: commonware_p2p::Sender<PublicKey = PublicKey>,
        R: commonware_p2p::Receiver<PublicKey = PublicKey>,
    {
        self.opened.lock().unwrap().push(chain.clone());
        let seen = Arc::clone(&self.network.seen);
        let honest = !self.network.faulty.contains(&store);
        let watch = move |event| {
            let mut seen = seen.lock().unwrap();
            match event {
                Event::Applied { height, hash } if honest => {
                    let before = seen.applied.insert((store, height), hash);
                    let same = before.is_none_or(|before| before == hash);
                    assert!(same, "member {member} applied two blocks {height}");
                }
                Event::Misbehaved { key, .. } => {
                    seen.misbehaved.insert((store, key));
                }
                Event::Applied { .. } | Event::EpochBegins { .. } => {}
            }
        };
        let config = Config {
            core,
            committees: self.network.schedule.clone(),
            key: key(member),
            storage_name: format!("member-{store}"),
            epoch_length: NonZeroU64::new(EPOCH_LENGTH).unwrap(),
            block_size_max_bytes: 64 << 10,
            timing: TIMING,
            shares: self.network.shares,
            watch: Arc::new(watch),
        };
        let seen = Arc::clone(&self.network.seen);
        let control = self.oracle.control(name(member));
        let peers = self.oracle.manager();
        // Each start has metrics of its own.
        let start = self.opened.lock().unwrap().len();
        let context = self.context.child("member").with_attribute("start", start);
        let running = context.spawn(move |context| async move {
            let outcome: Result<(), NodeError> =
                run(context, config, channels, control, peers).await;
            let why = format!("{:?}", outcome.unwrap_err());
            seen.lock().unwrap().halted.insert(store, why);
        });
        self.members.insert(store, (chain, running));
    }

    /// Ends a member as `kill -9` does.
    pub async fn kill(&mut self, member: usize) {
        let (chain, running) = self.members.remove(&member).unwrap();
        running.abort();
        let _ = running.await;
        chain.close();
    }

    pub fn chain(&self, member: usize) -> &Chain {
        &self.members[&member].0
    }

    pub fn height(&self, member: usize) -> u64 {
        self.chain(member).applied().0
    }

    /// Waits until all of `members` have a block at `height`.
    ///
    /// # Panics
    ///
    /// When that takes longer than `seconds` of the runtime's time (A4).
    pub async fn reach(&self, members: &[usize], height: u64, seconds: u64) {
        let until = self.context.current() + Duration::from_secs(seconds);
        while !members.iter().all(|member| self.height(*member) >= height) {
            let heights: Vec<u64> = members.iter().map(|member| self.height(*member)).collect();
            let late = self.context.current() > until;
            assert!(!late, "members {members:?} are at {heights:?}, not at {height}");
            self.context.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until all of `members` are `blocks` further than the furthest of them is now.
    pub async fn advance(&self, members: &[usize], blocks: u64, seconds: u64) {
        let furthest = members.iter().map(|member| self.height(*member)).max().unwrap();
        self.reach(members, furthest + blocks, seconds).await;
    }

    /// Whether a transaction is on a member's chain.
    pub fn has(&self, member: usize, transaction: &B256) -> bool {
        self.chain(member).find_transaction(transaction).unwrap().is_some()
    }

    /// Waits until a transaction is on the chains of all of `members`.
    pub async fn settle(&self, members: &[usize], transaction: &B256, seconds: u64) {
        let until = self.context.current() + Duration::from_secs(seconds);
        while !members.iter().all(|member| self.has(*member, transaction)) {
            assert!(self.context.current() < until, "a transaction is not final after {seconds} s");
            self.context.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Checks that nothing becomes final among `members` for a while.
    pub async fn stand_still(&self, members: &[usize], seconds: u64) {
        // What was on its way when the quorum was lost may still arrive.
        self.sleep(3).await;
        let before: Vec<u64> = members.iter().map(|member| self.height(*member)).collect();
        self.sleep(seconds).await;
        let after: Vec<u64> = members.iter().map(|member| self.height(*member)).collect();
        assert_eq!(before, after, "blocks became final without a quorum");
    }
}
