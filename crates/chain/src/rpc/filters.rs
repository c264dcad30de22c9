//! Filters that clients poll.
//!
//! A filter that nobody polls for a while is dropped, and there can only be so many.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::Filter;
use parking_lot::Mutex;
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

use super::{Rpc, RpcError, RpcResult, error::SERVER_ERROR, params::Params, value};

/// How long a filter lives without being polled, in seconds.
///
/// # Source
///
/// go-ethereum's default.
const IDLE_SECONDS: u64 = 5 * 60;

/// How many filters there may be.
const FILTERS_MAX: usize = 1_000;

/// How many block hashes one poll gives.
const BLOCKS_PER_POLL: u64 = 10_000;

/// The filters of all clients.
#[derive(Clone, Default)]
pub(super) struct Filters(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    last_id: u64,
    filters: BTreeMap<u64, Polled>,
}

struct Polled {
    last_used: u64,
    kind: Kind,
}

enum Kind {
    /// Logs after a block.
    Logs { filter: Box<Filter>, after: u64 },
    /// Blocks after a block.
    Blocks { after: u64 },
    /// Transactions that came in.
    Arrivals(Receiver<B256>),
}

impl Rpc {
    pub(super) fn new_filter(&self, params: &mut Params) -> RpcResult {
        let filter: Filter = params.required("filter")?;
        if filter.get_block_hash().is_some() {
            return Err(RpcError::invalid_params("a filter has a range of blocks, not one block"));
        }
        let after = self.chain.head().header.number;
        self.install(Kind::Logs { filter: Box::new(filter), after })
    }

    pub(super) fn new_block_filter(&self) -> RpcResult {
        self.install(Kind::Blocks { after: self.chain.head().header.number })
    }

    pub(super) fn new_pending_transaction_filter(&self) -> RpcResult {
        self.install(Kind::Arrivals(self.chain.subscribe_arrivals()))
    }

    fn install(&self, kind: Kind) -> RpcResult {
        let now = self.chain.now();
        let mut state = self.filters.0.lock();
        state.forget_idle(now);
        if state.filters.len() >= FILTERS_MAX {
            return Err(RpcError::new(SERVER_ERROR, "too many filters are installed"));
        }
        state.last_id += 1;
        let id = state.last_id;
        state.filters.insert(id, Polled { last_used: now, kind });
        value(U256::from(id))
    }

    pub(super) fn uninstall_filter(&self, params: &mut Params) -> RpcResult {
        let id = params.number("filter id")?;
        value(self.filters.0.lock().filters.remove(&id).is_some())
    }

    pub(super) fn filter_logs(&self, params: &mut Params) -> RpcResult {
        let id = params.number("filter id")?;
        let filter = match self.filters.0.lock().used(id, self.chain.now())? {
            Kind::Logs { filter, .. } => filter.clone(),
            Kind::Blocks { .. } | Kind::Arrivals(_) => return Err(not_found()),
        };
        value(self.search(&filter)?)
    }

    pub(super) fn filter_changes(&self, params: &mut Params) -> RpcResult {
        let id = params.number("filter id")?;
        let (now, head) = (self.chain.now(), self.chain.head().header.number);
        let (from, to, filter) = {
            let mut state = self.filters.0.lock();
            match state.used(id, now)? {
                Kind::Arrivals(arrivals) => return value(drain(arrivals)),
                Kind::Blocks { after } => {
                    // What is beyond comes with the next poll.
                    let to = head.min(*after + BLOCKS_PER_POLL);
                    (std::mem::replace(after, to) + 1, to, None)
                }
                Kind::Logs { filter, after } => {
                    (std::mem::replace(after, head) + 1, head, Some(filter.clone()))
                }
            }
        };
        let changes = match filter {
            None => self.hashes(from, to),
            Some(filter) => self.logs_between(*filter, from, to),
        };
        if changes.is_err()
            && let Ok(Kind::Blocks { after } | Kind::Logs { after, .. }) =
                self.filters.0.lock().used(id, now)
        {
            // Nobody has seen them, so they must come again.
            *after = (*after).min(from - 1);
        }
        changes
    }

    fn hashes(&self, from: u64, to: u64) -> RpcResult {
        let mut hashes = Vec::new();
        for number in from..=to {
            hashes.extend(self.chain.block_hash(number)?);
        }
        value(hashes)
    }

    fn logs_between(&self, filter: Filter, from: u64, to: u64) -> RpcResult {
        // The filter's own range still bounds what it matches.
        let from = filter.get_from_block().unwrap_or(0).max(from);
        let to = filter.get_to_block().unwrap_or(to).min(to);
        if from > to {
            return value([(); 0]);
        }
        value(self.search(&filter.from_block(from).to_block(to))?)
    }
}

impl State {
    fn forget_idle(&mut self, now: u64) {
        self.filters.retain(|_, filter| filter.last_used.saturating_add(IDLE_SECONDS) > now);
    }

    /// A filter that is asked for, and therefore lives on.
    fn used(&mut self, id: u64, now: u64) -> Result<&mut Kind, RpcError> {
        self.forget_idle(now);
        let polled = self.filters.get_mut(&id).ok_or_else(not_found)?;
        polled.last_used = now;
        Ok(&mut polled.kind)
    }
}

fn drain(arrivals: &mut Receiver<B256>) -> Vec<B256> {
    let mut hashes = Vec::new();
    loop {
        match arrivals.try_recv() {
            Ok(hash) => hashes.push(hash),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return hashes,
        }
    }
}

fn not_found() -> RpcError {
    RpcError::new(SERVER_ERROR, "filter not found")
}
