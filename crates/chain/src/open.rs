//! Opens a chain: its directory, its stored state, and the blocks after it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
        mpsc::sync_channel,
    },
    time::Duration,
};

use alloy_primitives::B256;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::broadcast;

use crate::{
    Chain, ChainConfig, Genesis, LogError, SharedBlock,
    audit::execute_again,
    block::next_base_fee,
    chain::{Entrance, Recent, Shared},
    hashes::{BlockHashes, KEPT},
    pool::Pool,
    stages::BLOCKS_BETWEEN_STAGES,
    state::{Commitment, HistoryLimits, World},
    store::{BlockLog, Checkpoints, Index, sync_dir},
};

/// Old values kept for reading earlier states; about 100 bytes each.
const HISTORY_VALUES: usize = 1_000_000;

/// Why a chain cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The chain there began with something else.
    #[error("the chain in {} has another genesis; choose another directory", dir.display())]
    OtherGenesis {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("could not {action} {}; check its space and permissions", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The block log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Executing a stored block gave something else than was stored.
    #[error(
        "block {number} of the log does not execute to what it says; the log is damaged or from another version"
    )]
    Replay {
        /// Which block.
        number: u64,
    },
}

impl Chain {
    /// Opens the chain in a directory, beginning it there when there is none.
    ///
    /// Blocks after the last stored state are executed again and must give what the log says.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what to do about it. Nothing confirmed is lost by a failed attempt.
    pub fn open(config: ChainConfig) -> Result<Self, OpenError> {
        let lock = prepare_dir(&config)?;
        let limits = HistoryLimits { blocks: config.history_blocks, values: HISTORY_VALUES };
        let mut world = config.genesis.world(limits);
        let genesis = Arc::new(config.genesis.block(&world));
        let log = BlockLog::open(&config.dir, config.genesis.chain_id(), config.durable)?;
        let last = log.last();
        let fail = |action| {
            let path = config.dir.clone();
            move |source| OpenError::Io { action, path, source }
        };
        let checkpoints = Checkpoints::open(config.dir.join("state"), &mut world, last)
            .map_err(fail("open the stored state in"))?;
        let index =
            Index::open(config.dir.join("index"), last).map_err(fail("open the index in"))?;
        let mut replay = Replay {
            config: &config,
            log: &log,
            index: &index,
            checkpoints,
            hashes: BlockHashes::new(0),
            genesis: Arc::clone(&genesis),
            parent: B256::ZERO,
        };
        let (commitment, recent) = replay.run(&mut world, last)?;
        let Replay { checkpoints, hashes, .. } = replay;
        let head = recent.head();
        let parent = head.header.clone();
        let (jobs, waiting) = sync_channel(BLOCKS_BETWEEN_STAGES);
        let entrance = Entrance { jobs, last: (last, parent.timestamp) };
        let shared = Arc::new(Shared {
            world: Arc::new(RwLock::new(world)),
            hashes: Arc::new(hashes),
            commitment: Mutex::new(commitment),
            log,
            index,
            recent: RwLock::new(recent),
            pool: Mutex::new(Pool::new(config.pool, genesis.header.gas_limit)),
            pool_changed: Condvar::new(),
            dropped: Mutex::default(),
            heads: broadcast::channel(256).0,
            arrivals: broadcast::channel(1_024).0,
            genesis_block: genesis,
            entering: Mutex::new(()),
            entrance: Mutex::new(Some(entrance)),
            head_number: Mutex::new(last),
            head_changed: Condvar::new(),
            executed: AtomicU64::new(last),
            next_base_fee: AtomicU64::new(next_base_fee(
                parent.gas_used,
                parent.gas_limit,
                parent.base_fee_per_gas.unwrap_or_default(),
            )),
            closing: AtomicBool::new(false),
            stopped: RwLock::new(None),
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            config,
        });
        let chain = Self { shared };
        chain.start_stages(waiting, parent.hash_slow(), checkpoints);
        Ok(chain)
    }
}

/// Takes the lock. A process that this one is just starting holds what this one held until it has
/// become another program, so a lock that was let go may stay taken for a moment.
fn try_lock(lock: &File) -> Result<(), TryLockError> {
    const ATTEMPTS: u32 = 50;
    for _ in 1..ATTEMPTS {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
            outcome => return outcome,
        }
    }
    lock.try_lock()
}

/// Makes the directory, locks it, and checks that it belongs to this genesis.
fn prepare_dir(config: &ChainConfig) -> Result<File, OpenError> {
    let dir = &config.dir;
    let fail = |action, path: PathBuf| move |source| OpenError::Io { action, path, source };
    make_dir(dir).map_err(fail("make the directory", dir.clone()))?;
    let lock_path = dir.join("lock");
    let lock = File::create(&lock_path).map_err(fail("create", lock_path.clone()))?;
    match try_lock(&lock) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { dir: dir.clone() }),
        Err(TryLockError::Error(source)) => return Err(fail("lock", lock_path)(source)),
    }
    let path = dir.join("genesis.json");
    match fs::read(&path) {
        Ok(bytes) => {
            let found = serde_json::from_slice::<alloy_genesis::Genesis>(&bytes);
            let found = found.map_err(|error| fail("understand", path)(error.into()))?;
            if Genesis::from(found) == config.genesis {
                return Ok(lock);
            }
            Err(OpenError::OtherGenesis { dir: dir.clone() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = serde_json::to_vec_pretty(config.genesis.as_alloy())
                .expect("a genesis has a JSON form");
            let unfinished = dir.join("genesis.json.unfinished");
            fs::write(&unfinished, text)
                .and_then(|()| File::open(&unfinished)?.sync_all())
                .and_then(|()| fs::rename(&unfinished, &path))
                .and_then(|()| sync_dir(dir))
                .map_err(fail("write", path))?;
            Ok(lock)
        }
        Err(source) => Err(fail("read", path)(source)),
    }
}

/// Makes a directory and those above it, and has their names on the disk: a confirmed block in a
/// directory that a power cut can take away would not be confirmed.
fn make_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(dir)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match sync_dir(parent) {
            // One may make entries in a directory that one may not read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            done => done?,
        }
    }
    Ok(())
}

/// Brings the world, the tries and the index up to the last block of the log.
struct Replay<'a> {
    config: &'a ChainConfig,
    log: &'a BlockLog,
    index: &'a Index,
    checkpoints: Checkpoints,
    hashes: BlockHashes,
    genesis: SharedBlock,
    /// The hash of the last block taken.
    parent: B256,
}

impl Replay<'_> {
    fn run(&mut self, world: &mut World, last: u64) -> Result<(Commitment, Recent), OpenError> {
        let stored = world.height();
        self.load_hashes(stored)?;
        for number in self.index.height() + 1..=stored {
            self.index.add(&*self.read(number)?);
        }
        let mut commitment = Commitment::of(world, &self.hashes);
        let mut recent = Recent::new(self.read(stored)?);
        self.parent = recent.head().hash;
        if commitment.root() != recent.head().header.state_root {
            return Err(OpenError::Replay { number: stored });
        }
        for number in stored + 1..=last {
            let block = self.read(number)?;
            self.execute(&block, world, &mut commitment)?;
            if number > self.index.height() {
                self.index.add(&block);
            }
            recent.push(block);
        }
        Ok((commitment, recent))
    }

    /// Executes a stored block again and compares what comes out.
    fn execute(
        &mut self,
        block: &SharedBlock,
        world: &mut World,
        commitment: &mut Commitment,
    ) -> Result<(), OpenError> {
        let (found, receipts, delta) = execute_again(
            self.config.genesis.chain_id(),
            world,
            commitment,
            &self.hashes,
            self.parent,
            &block.header,
            block.transactions.clone(),
        );
        if found != block.header || receipts != block.receipts {
            return Err(OpenError::Replay { number: block.header.number });
        }
        self.parent = block.hash;
        self.checkpoints.add(delta);
        self.hashes.push(block.hash);
        Ok(())
    }

    fn load_hashes(&mut self, stored: u64) -> Result<(), OpenError> {
        let first = (stored + 1).saturating_sub(KEPT as u64);
        self.hashes = BlockHashes::new(first);
        for number in first..=stored {
            let hash = if number == 0 { Some(self.genesis.hash) } else { self.log.hash(number)? };
            self.hashes.push(hash.ok_or(OpenError::Replay { number })?);
        }
        Ok(())
    }

    fn read(&self, number: u64) -> Result<SharedBlock, OpenError> {
        if number == 0 {
            return Ok(Arc::clone(&self.genesis));
        }
        let block = self.log.read(number)?.ok_or(OpenError::Replay { number })?;
        Ok(Arc::new(block))
    }
}
