//! Where the chain is, and what no RPC tells about it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes};
use alloy_provider::{Provider as _, RootProvider};
use alloy_rpc_client::RpcClient;
use alloy_rpc_types_eth::{Block, Filter, Log, TransactionReceipt, TransactionRequest};
use alloy_sol_types::SolCall;
use alloy_transport::TransportError;
use bindings::{ContractError, Deployment, called};
use chain::{Chain, InProcess, Rpc, SharedBlock};

/// When a block counts as final on this endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// As soon as it is the latest, as with the embedded chain and BFT networks.
    Latest,
    /// When the endpoint's `finalized` tag has reached it.
    FinalizedTag,
    /// When this many blocks follow it.
    Confirmations(u64),
}

/// What transactions offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fees {
    /// Twice the base fee and this priority fee, in wei (EIP-1559).
    BaseFee {
        /// The priority fee, in wei per gas.
        tip: u128,
    },
    /// A fixed price per gas in wei, in transactions of the first form; 0 on networks without fees.
    Legacy {
        /// The price, in wei per gas.
        gas_price: u128,
    },
}

/// The three settings per endpoint that no RPC tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When a block counts as final.
    pub finality: Finality,
    /// What transactions offer.
    pub fees: Fees,
    /// The most blocks that one search for logs may cover.
    pub log_range: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { finality: Finality::Latest, fees: Fees::BaseFee { tip: 1 }, log_range: 10_000 }
    }
}

/// Why the chain could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The endpoint could not be reached, or refused.
    #[error("the chain's endpoint did not answer")]
    Transport(#[from] TransportError),
    /// The address is no HTTP URL.
    #[error("`{url}` is no http or https URL")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// It answered with something that makes no sense.
    #[error("the chain's endpoint gave {what} that makes no sense")]
    Malformed {
        /// What was asked for.
        what: &'static str,
    },
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The contract refused.
    #[error("the contract refused: {0}")]
    Reverted(Box<ContractError>),
    /// The chain could not be asked.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl From<TransportError> for CallError {
    fn from(error: TransportError) -> Self {
        match revert_data(&error) {
            Some(data) => Self::Reverted(Box::new(ContractError::decode(&data))),
            None => Self::Endpoint(error.into()),
        }
    }
}

/// What a call reverted with, when that is why it failed.
pub(crate) fn revert_data(error: &TransportError) -> Option<Bytes> {
    let payload = error.as_error_resp()?;
    let reverted = payload.code == 3 || payload.message.contains("revert");
    payload.as_revert_data().or_else(|| reverted.then(Bytes::new))
}

/// A chain that holds the contracts. Clones ask the same chain.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    provider: RootProvider,
    chain_id: u64,
    policy: Policy,
    /// The chain itself when it runs in this process: it says when something new is there.
    embedded: Option<Chain>,
    /// Where the contracts are, once somebody said so.
    deployment: OnceLock<Deployment>,
}

/// How often an endpoint is asked whether something new is there.
const POLL: Duration = Duration::from_millis(100);

impl Ledger {
    /// The chain in this process.
    #[must_use]
    pub fn embedded(rpc: Rpc) -> Self {
        let chain = rpc.chain().clone();
        let provider = RootProvider::new(RpcClient::new(InProcess::new(rpc), true));
        Self(Arc::new(Inner {
            provider,
            chain_id: chain.chain_id(),
            policy: Policy::default(),
            embedded: Some(chain),
            deployment: OnceLock::new(),
        }))
    }

    /// Says where the contracts are, so that what one of them refuses is told in its own words: contracts have
    /// errors of one form, such as a number of a state, that mean different things. A second time changes nothing.
    pub fn know(&self, deployment: &Deployment) {
        let _ = self.0.deployment.set(*deployment);
    }

    /// Why a call was refused, by what it reverted with.
    pub(crate) fn refusal(&self, to: Option<&Address>, input: &[u8], data: &[u8]) -> ContractError {
        let called =
            self.0.deployment.get().zip(to).map(|(deployment, to)| called(deployment, to, input));
        ContractError::decode_from(&called.unwrap_or_default(), data)
    }

    /// A chain behind an HTTP endpoint.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when it cannot be reached.
    pub async fn connect(url: &str, policy: Policy) -> Result<Self, EndpointError> {
        // Whoever set a provider for TLS before keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let parsed = url.parse().map_err(|_| EndpointError::BadUrl { url: url.into() })?;
        let provider = RootProvider::new(RpcClient::new_http(parsed));
        let chain_id = provider.get_chain_id().await?;
        let deployment = OnceLock::new();
        Ok(Self(Arc::new(Inner { provider, chain_id, policy, embedded: None, deployment })))
    }

    /// The alloy provider, for whatever is not offered here.
    #[must_use]
    pub fn provider(&self) -> &RootProvider {
        &self.0.provider
    }

    /// The chain's id (EIP-155).
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.0.chain_id
    }

    /// The endpoint's settings.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.0.policy
    }

    /// The chain itself, when it runs in this process.
    #[must_use]
    pub fn embedded_chain(&self) -> Option<&Chain> {
        self.0.embedded.as_ref()
    }

    /// Calls a contract without changing anything.
    ///
    /// # Errors
    ///
    /// [`CallError::Reverted`] when the contract refuses, with its reason.
    pub async fn call<C: SolCall>(
        &self,
        to: Address,
        call: &C,
        block: BlockId,
    ) -> Result<C::Return, CallError> {
        let input = Bytes::from(call.abi_encode());
        let request = TransactionRequest::default().to(to).input(input.clone().into());
        let output = self.provider().call(request).block(block).await;
        let output = output.map_err(|error| match revert_data(&error) {
            Some(data) => CallError::Reverted(Box::new(self.refusal(Some(&to), &input, &data))),
            None => error.into(),
        })?;
        let malformed = EndpointError::Malformed { what: "the result of a call" };
        C::abi_decode_returns(&output).map_err(|_| malformed.into())
    }

    /// A block by its number or tag.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the chain cannot be asked or has no such block.
    pub async fn block(&self, block: BlockNumberOrTag) -> Result<Block, EndpointError> {
        let found = self.provider().get_block_by_number(block).await?;
        found.ok_or(EndpointError::Malformed { what: "a block" })
    }

    /// The newest final block.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the chain cannot be asked.
    pub async fn final_block(&self) -> Result<Block, EndpointError> {
        match self.policy().finality {
            Finality::Latest => self.block(BlockNumberOrTag::Latest).await,
            Finality::FinalizedTag => self.block(BlockNumberOrTag::Finalized).await,
            Finality::Confirmations(count) => {
                let latest = self.provider().get_block_number().await?;
                self.block(latest.saturating_sub(count).into()).await
            }
        }
    }

    /// What a transaction did, once it ran.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the chain cannot be asked.
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, EndpointError> {
        Ok(self.provider().get_transaction_receipt(hash).await?)
    }

    /// The logs that match, in the order of the chain. Endpoints bound what they answer at once, each in its own
    /// way and words: what is refused as a whole is asked for in parts.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the chain cannot be asked, or refuses one block of it.
    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, EndpointError> {
        match self.provider().get_logs(filter).await {
            Ok(logs) => Ok(logs),
            Err(error) if error.as_error_resp().is_some() => {
                self.logs_in_parts(filter, error).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn logs_in_parts(
        &self,
        filter: &Filter,
        refused: TransportError,
    ) -> Result<Vec<Log>, EndpointError> {
        let Some(first) = filter.get_from_block() else { return Err(refused.into()) };
        let last = match filter.block_option.get_to_block() {
            None | Some(BlockNumberOrTag::Latest) => self.provider().get_block_number().await?,
            Some(BlockNumberOrTag::Number(last)) => *last,
            // What else it may be called does not say where its half is.
            Some(_) => return Err(refused.into()),
        };
        if first >= last {
            return Err(refused.into());
        }
        let halves = |first: u64, last: u64| {
            let middle = first + (last - first) / 2;
            [(middle + 1, last), (first, middle)]
        };
        let (mut found, mut ranges) = (Vec::new(), Vec::from(halves(first, last)));
        while let Some((first, last)) = ranges.pop() {
            let part = filter.clone().from_block(first).to_block(last);
            match self.provider().get_logs(&part).await {
                Ok(logs) => found.extend(logs),
                Err(error) if first < last && error.as_error_resp().is_some() => {
                    ranges.extend(halves(first, last));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Listens for new blocks from now on, so that none between looking and waiting is missed.
    #[must_use]
    pub fn news(&self) -> News {
        News(self.embedded_chain().map(Chain::subscribe_heads))
    }
}

/// Tells when there may be a new block.
#[derive(Debug)]
pub struct News(Option<tokio::sync::broadcast::Receiver<SharedBlock>>);

impl News {
    /// Waits until there may be a new block, at most for `limit`.
    pub async fn wait(&mut self, limit: Duration) {
        match &mut self.0 {
            // Having missed some is news as well.
            Some(heads) => {
                let _ = tokio::time::timeout(limit, heads.recv()).await;
            }
            None => tokio::time::sleep(POLL.min(limit)).await,
        }
    }
}
