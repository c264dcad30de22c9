//! One member: everything that agrees, executes and hands on, put together.
//!
//! ```text
//! transactions <-> gossip -> pool                          one channel, see `gossip.rs`
//!                             |
//!     simplex, one engine per epoch <-> Member             proposes and judges
//!                  |                                       votes, certificates: three channels
//!               marshal <-> other members                  blocks: two channels; keeps and backfills them
//!                  |
//!               executor -> chain's core                   in order, each at least once
//! ```
//!
//! Generic over the runtime: the same code runs on tokio and, in the fault tests, on the deterministic
//! runtime of commonware, where network, disk and time are simulated.
//!
//! An epoch's engine starts when the last block of the epoch before was executed, and ends with its own
//! last block. Its journal is removed an epoch later.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use alloy_primitives::B256;
use chain::ApplyError;
use commonware_actor::Feedback;
use commonware_broadcast::buffered;
use commonware_codec::Encode as _;
use commonware_consensus::{
    Heightable as _, Reporter, Roundable as _,
    marshal::{
        self, Start, Update,
        core::{Actor, Mailbox},
        resolver::p2p as resolver,
        standard::{Inline, Standard},
    },
    simplex::{
        self, Floor,
        config::{ForwardPolicy, SkipBudget, SkipPolicy},
        elector::RoundRobin,
        types::{Activity, Attributable as _},
    },
    types::{Epocher as _, FixedEpocher, Height, ViewDelta},
};
use commonware_cryptography::{
    Digested, Digestible as _, Sha256, Signer as _,
    certificate::{Scheme as _, Verifier as _},
    ed25519::{PrivateKey, PublicKey},
    sha256::Digest,
};
use commonware_p2p::{
    Blocker, Provider, Receiver, Sender,
    utils::mux::{Builder as _, Muxer},
};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock, Metrics, Network as RuntimeNetwork, Spawner, Storage, buffer::paged::CacheRef,
};
use commonware_storage::{archive::prunable, translator::TwoCap};
use commonware_utils::{
    Acknowledgement as _, NZDuration, NZU16, NZU64, NZUsize, acknowledgement::Exact,
    ordered::Quorum as _, vec::NonEmptyVec,
};
use futures::{StreamExt as _, channel::mpsc};
use rand_core::CryptoRng;

use crate::{
    Block, BlockLimits, Committees, Core, MESSAGE_SIZE_MAX, Scheme, Seat, ShareLimits,
    application::Member, committee::Schedule, gossip::Gossip,
};

/// What a member needs of the system it runs on.
pub trait Runtime: Spawner + Metrics + CryptoRng + Clock + Storage + RuntimeNetwork {}

impl<T: Spawner + Metrics + CryptoRng + Clock + Storage + RuntimeNetwork> Runtime for T {}

/// The channels between members, each with its own quota, so that none can starve another.
#[derive(Debug)]
pub struct Channels<S, R> {
    /// Votes.
    pub votes: (S, R),
    /// Certificates: what a quorum's votes amount to.
    pub certificates: (S, R),
    /// Certificates that a member asks for.
    pub resolver: (S, R),
    /// Blocks that a member asks for.
    pub backfill: (S, R),
    /// Blocks just proposed.
    pub broadcast: (S, R),
    /// Transactions.
    pub transactions: (S, R),
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// An empty block is made after this long without transactions, so that the hash of the last block
    /// before them is agreed on too. Must be shorter than `leader_timeout`.
    pub idle_block_interval: Duration,
    /// For the block of the member whose turn it is.
    pub leader_timeout: Duration,
    /// For a quorum's votes.
    pub certification_timeout: Duration,
    /// Before a member says again that it gave up.
    pub retry_timeout: Duration,
    /// A member that was not heard of for this long is skipped when its turn comes.
    pub skip_timeout: Duration,
    /// For an answer of another member.
    pub fetch_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            idle_block_interval: Duration::from_secs(1),
            leader_timeout: Duration::from_secs(2),
            certification_timeout: Duration::from_secs(3),
            retry_timeout: Duration::from_secs(2),
            skip_timeout: Duration::from_secs(10),
            fetch_timeout: Duration::from_secs(2),
        }
    }
}

/// What a member does and knows.
pub struct Config<C, M> {
    /// What executes.
    pub core: C,
    /// Who orders the blocks of which epoch.
    pub committees: M,
    /// What this member signs with, and how others know it.
    pub key: PrivateKey,
    /// Begins the name of everything this member stores.
    pub storage_name: String,
    /// How many blocks an epoch has. All members must have the same.
    pub epoch_length: NonZeroU64,
    /// The most that a block's transactions may take together, in bytes. All members must have the same,
    /// and it must never shrink: stored blocks would not be read any more.
    pub block_size_max_bytes: usize,
    /// How long is waited for what.
    pub timing: Timing,
    /// How much of each other member's transactions may wait here.
    pub shares: ShareLimits,
    /// Is told what happens.
    pub watch: Watch,
}

/// Is told what happens.
pub type Watch = Arc<dyn Fn(Event) + Send + Sync>;

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// An epoch begins here. Its members, and those of the next as far as known, are to be reached.
    EpochBegins {
        /// Its number.
        epoch: u64,
        /// Its committee.
        committee: Vec<Seat>,
    },
    /// A block is final, executed and durable here. After a restart some come again.
    Applied {
        /// Its height.
        height: u64,
        /// Its hash on the chain.
        hash: B256,
    },
    /// A member signed what contradicts itself: proof that it broke the rules.
    Misbehaved {
        /// What it signs with.
        key: PublicKey,
        /// In which epoch.
        epoch: u64,
        /// Its two signed votes, as commonware encodes them.
        evidence: Vec<u8>,
    },
}

/// Why a member stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A final block could not be executed, or this chain came to another state than the others.
    /// Going on would mean to answer from a state that nobody agreed on.
    #[error("final block {height} was not executed")]
    NotApplied {
        /// The block.
        height: u64,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// What was executed does not say who orders the blocks of this epoch.
    #[error("nothing executed here names a committee for epoch {epoch}")]
    NoCommittee {
        /// The epoch.
        epoch: u64,
    },
    /// What this member stored does not open.
    #[error("the store of blocks does not open")]
    Storage(#[source] commonware_storage::archive::Error),
    /// This member's store does not have a block that it had acknowledged.
    #[error("block {height}, the last of its epoch, is not in the store")]
    BlockMissing {
        /// The block.
        height: u64,
    },
    /// The network or the store ended, as they do when the process ends.
    #[error("the network or the store has ended")]
    Ended,
}

/// The longest message that a committee of `members` sends, in bytes. A network has to carry it: one that
/// is given a longer message than it carries ends the process.
#[must_use]
pub fn message_size_max(limits: &BlockLimits, members: u32) -> usize {
    // On the channels of the engines each message has its epoch before it.
    const EPOCH_LEN_MAX: usize = 10;
    let block = marshal::max_payload_size::<Standard<Block>, Scheme>(members, limits);
    block.max(MESSAGE_SIZE_MAX) + EPOCH_LEN_MAX
}

/// How much is read and written at once, in bytes.
const BUFFER_SIZE: NonZeroUsize = NZUsize!(1 << 20);

/// How many messages wait between tasks.
const MAILBOX_SIZE: NonZeroUsize = NZUsize!(1_024);

/// How many views what is not final is kept for those who lag.
const VIEWS_KEPT: ViewDelta = ViewDelta::new(64);

type Marshal = Mailbox<Scheme, Standard<Block>>;

/// Runs a member until something forces it to stop.
///
/// # Errors
///
/// [`NodeError`] says what. Everything that was reported as applied is durable.
pub async fn run<E, C, M, S, R>(
    context: E,
    config: Config<C, M>,
    channels: Channels<S, R>,
    blocker: impl Blocker<PublicKey = PublicKey>,
    peers: impl Provider<PublicKey = PublicKey>,
) -> Result<(), NodeError>
where
    E: Runtime,
    C: Core,
    M: Committees,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let Channels { votes, certificates, resolver, backfill, broadcast, transactions } = channels;
    let chain = config.core.chain().clone();
    let genesis = Block::genesis(&chain);
    let schedule =
        Schedule::new(namespace(&genesis), config.key.clone(), config.committees.clone());
    let epocher = FixedEpocher::new(config.epoch_length);
    let cache = CacheRef::new(NZU16!(4_096), NZUsize!(4_096));
    let limits =
        BlockLimits { chain_id: chain.chain_id(), size_max_bytes: config.block_size_max_bytes };

    let gossip = Gossip::new(chain.clone(), transactions.0, blocker.clone(), config.shares);
    context.child("gossip").spawn(move |context| gossip.run(context, transactions.1));

    let fetch = resolver::init(
        context.child("resolver"),
        resolver::Config {
            public_key: config.key.public_key(),
            peer_provider: peers.clone(),
            blocker: blocker.clone(),
            mailbox_size: MAILBOX_SIZE,
            fetch_timeout: NZDuration!(config.timing.fetch_timeout),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        backfill,
    );
    let (buffer_engine, buffer) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: config.key.public_key(),
            mailbox_size: MAILBOX_SIZE,
            deque_size: 16,
            priority: true,
            codec_config: limits,
            peer_provider: peers,
            strategy: Sequential,
        },
    );
    buffer_engine.start(broadcast);

    let name = &config.storage_name;
    let unbounded = Scheme::certificate_codec_config_unbounded();
    let finalizations = archive(name, "finalizations", cache.clone(), unbounded);
    let finalizations = prunable::Archive::init(context.child("finalizations"), finalizations);
    let blocks = archive(name, "blocks", cache.clone(), limits);
    let blocks = prunable::Archive::init(context.child("blocks"), blocks);
    let (actor, marshal, floor): (_, Marshal, _) = Actor::init(
        context.child("marshal"),
        finalizations.await.map_err(NodeError::Storage)?,
        blocks.await.map_err(NodeError::Storage)?,
        marshal::Config {
            provider: schedule.clone(),
            epocher: epocher.clone(),
            start: Start::Genesis(Digested::precomputed(genesis.clone(), genesis.digest())),
            partition_prefix: name.clone(),
            mailbox_size: MAILBOX_SIZE,
            view_retention: VIEWS_KEPT,
            prunable_items_per_section: ITEMS_PER_SECTION,
            page_cache: cache.clone(),
            replay_buffer: BUFFER_SIZE,
            key_write_buffer: BUFFER_SIZE,
            value_write_buffer: BUFFER_SIZE,
            block_codec_config: limits,
            max_repair: NZUsize!(16),
            max_pending_acks: NZUsize!(4),
            strategy: Sequential,
        },
    )
    .await;
    let processed = floor.processed().map_or(0, |processed| processed.height().get());

    let member = Member {
        core: config.core.clone(),
        block_size_max_bytes: config.block_size_max_bytes,
        idle_block_interval: config.timing.idle_block_interval,
    };
    let automaton =
        Inline::new(context.child("application"), member, marshal.clone(), epocher.clone());
    let (updates, to_execute) = mpsc::unbounded();
    actor.start(Updates(updates), buffer, fetch);
    let (applied, mut boundaries) = mpsc::unbounded();
    let executor = Executor {
        core: config.core.clone(),
        marshal: marshal.clone(),
        epocher: epocher.clone(),
        watch: Arc::clone(&config.watch),
        boundaries: applied,
    };
    // Execution blocks its thread. The deterministic runtime has but one, and that is the point.
    context.child("executor").dedicated().spawn(move |_| executor.run(to_execute));

    // Engines of two epochs run at different members for a moment: each message says of which it is.
    let (mux, mut votes, mut early_votes) =
        Muxer::builder(context.child("votes"), votes.0, votes.1).with_backup().build();
    mux.start();
    let (mux, mut certificates, mut early_certificates) =
        Muxer::builder(context.child("certificates"), certificates.0, certificates.1)
            .with_backup()
            .build();
    mux.start();
    let (mux, mut resolver) = Muxer::new(context.child("resolver_mux"), resolver.0, resolver.1);
    mux.start();

    let first = epocher.containing(Height::new(processed + 1));
    let mut epoch = first.expect("epochs of one length cover all heights").epoch();
    let mut root = match epoch.previous().and_then(|before| epocher.last(before)) {
        None => genesis.digest(),
        Some(last) => {
            let missing = NodeError::BlockMissing { height: last.get() };
            marshal.get_block(last).await.ok_or(missing)?.digest()
        }
    };
    loop {
        let number = epoch.get();
        let no_committee = || NodeError::NoCommittee { epoch: number };
        let scheme = schedule.scheme(number).ok_or_else(no_committee)?;
        let committee = config.committees.committee(number).ok_or_else(no_committee)?;
        tracing::info!(epoch = number, members = scheme.participants().len(), "an epoch begins");
        (config.watch)(Event::EpochBegins { epoch: number, committee });
        let timing = config.timing;
        let engine = simplex::Engine::new(
            context.child("simplex").with_attribute("epoch", epoch),
            simplex::Config {
                scheme: (*scheme).clone(),
                elector: RoundRobin::<Sha256>::default(),
                blocker: blocker.clone(),
                automaton: automaton.clone(),
                relay: automaton.clone(),
                reporter: Witness {
                    inner: automaton.clone(),
                    scheme: Arc::clone(&scheme),
                    watch: Arc::clone(&config.watch),
                },
                track_historical_votes: false,
                strategy: Sequential,
                partition: journal(name, number),
                mailbox_size: MAILBOX_SIZE,
                epoch,
                floor: Floor::Genesis(root),
                replay_buffer: BUFFER_SIZE,
                write_buffer: BUFFER_SIZE,
                page_cache: cache.clone(),
                leader_timeout: timing.leader_timeout,
                certification_timeout: timing.certification_timeout,
                timeout_retry: timing.retry_timeout,
                view_retention: VIEWS_KEPT,
                skip: SkipPolicy::Enabled {
                    timeout: timing.skip_timeout,
                    budget: SkipBudget::Participants,
                },
                fetch_timeout: NZDuration!(timing.fetch_timeout),
                fetch_retry_delay: Duration::from_millis(100),
                forward: ForwardPolicy::SilentLeader,
            },
        );
        let ended = |_| NodeError::Ended;
        let engine = engine.start(
            votes.register(number).await.map_err(ended)?,
            certificates.register(number).await.map_err(ended)?,
            resolver.register(number).await.map_err(ended)?,
        );
        let last = epocher.last(epoch).expect("epochs of one length cover all heights");
        root = loop {
            let ahead = commonware_macros::select! {
                boundary = boundaries.next() => match boundary {
                    // After a restart the boundary before may be executed once more.
                    Some(Ok((height, _))) if height < last => continue,
                    Some(Ok((_, digest))) => break digest,
                    Some(Err(error)) => return Err(error),
                    None => return Err(NodeError::Ended),
                },
                early = early_votes.recv() => early,
                early = early_certificates.recv() => early,
            };
            let Some((their_epoch, (member, _))) = ahead else { return Err(NodeError::Ended) };
            if their_epoch > number {
                // They are an epoch ahead, so the last block of this one is final: ask them for it.
                marshal.hint_finalized(last, NonEmptyVec::new(member));
            }
        };
        engine.abort();
        if let Some(old) = number.checked_sub(1) {
            // Its last block is two epochs back. Whoever lags that far gets blocks, not votes.
            let _ = context.remove(&journal(name, old), None).await;
        }
        epoch = epoch.next();
    }
}

/// How many blocks share a file.
const ITEMS_PER_SECTION: NonZeroU64 = NZU64!(1_024);

/// What all signatures of a chain's members are bound to.
fn namespace(genesis: &Block) -> Vec<u8> {
    [b"salus consensus v1 ".as_slice(), genesis.digest().as_ref()].concat()
}

/// The name of the journal of an epoch's engine.
fn journal(storage_name: &str, epoch: u64) -> String {
    format!("{storage_name}-epoch-{epoch}")
}

fn archive<T>(
    storage_name: &str,
    what: &str,
    cache: CacheRef,
    codec_config: T,
) -> prunable::Config<TwoCap, T> {
    prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{storage_name}-{what}-metadata"),
        key_partition: format!("{storage_name}-{what}-keys"),
        key_page_cache: cache,
        value_partition: format!("{storage_name}-{what}-values"),
        compression: None,
        codec_config,
        items_per_section: ITEMS_PER_SECTION,
        key_write_buffer: BUFFER_SIZE,
        value_write_buffer: BUFFER_SIZE,
        replay_buffer: BUFFER_SIZE,
    }
}

/// Hands what marshal says over to the executor.
#[derive(Clone)]
struct Updates(mpsc::UnboundedSender<Update<Block, Exact>>);

impl Reporter for Updates {
    type Activity = Update<Block, Exact>;

    fn report(&mut self, update: Self::Activity) -> Feedback {
        match self.0.unbounded_send(update) {
            Ok(()) => Feedback::Ok,
            Err(_) => Feedback::Closed,
        }
    }
}

/// Executes what is final.
struct Executor<C> {
    core: C,
    marshal: Marshal,
    epocher: FixedEpocher,
    watch: Watch,
    /// Is told when the last block of an epoch was executed, and why nothing more is.
    boundaries: mpsc::UnboundedSender<Result<(Height, Digest), NodeError>>,
}

impl<C: Core> Executor<C> {
    /// Executes block after block. A block is acknowledged once it is durable, so it comes again if not;
    /// executing it again changes nothing.
    async fn run(self, mut updates: mpsc::UnboundedReceiver<Update<Block, Exact>>) {
        while let Some(update) = updates.next().await {
            let Update::Block(block, acknowledgement) = update else { continue };
            let (block, digest) = (block.inner(), block.digest());
            let height = block.height();
            // A block without a certificate of its own is proven by that of the next that has one, and
            // by the parents' digests between.
            let certificate = match self.marshal.get_finalization(height).await {
                Some(finalization) => block.proof_of(&finalization),
                None => chain::Certificate::new(),
            };
            match self.core.apply(block.payload(), certificate) {
                Ok(hash) => (self.watch)(Event::Applied { height: height.get(), hash }),
                Err(source) => {
                    tracing::error!(error = %source, height = height.get(), "this member halts");
                    let error = NodeError::NotApplied { height: height.get(), source };
                    let _ = self.boundaries.unbounded_send(Err(error));
                    // Without an acknowledgement nothing more is delivered.
                    return std::future::pending().await;
                }
            }
            let epoch = self.epocher.containing(height).expect("all heights are covered");
            if epoch.last() == height {
                let _ = self.boundaries.unbounded_send(Ok((height, digest)));
            }
            acknowledgement.acknowledge();
        }
    }
}

/// Hands on what an engine reports, and keeps an eye out for proof that somebody broke the rules.
#[derive(Clone)]
struct Witness<A> {
    inner: A,
    scheme: Arc<Scheme>,
    watch: Watch,
}

impl<A: Reporter<Activity = Activity<Scheme, Digest>>> Reporter for Witness<A> {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        let proof = match &activity {
            Activity::ConflictingNotarize(proof) => {
                Some((proof.signer(), proof.round(), proof.encode()))
            }
            Activity::ConflictingFinalize(proof) => {
                Some((proof.signer(), proof.round(), proof.encode()))
            }
            Activity::NullifyFinalize(proof) => {
                Some((proof.signer(), proof.round(), proof.encode()))
            }
            _ => None,
        };
        if let Some((signer, round, evidence)) = proof
            && let Some(key) = self.scheme.participants().key(signer).cloned()
        {
            let epoch = round.epoch().get();
            tracing::error!(?key, epoch, "a member signed what contradicts itself");
            (self.watch)(Event::Misbehaved { key, epoch, evidence: evidence.to_vec() });
        }
        self.inner.report(activity)
    }
}
