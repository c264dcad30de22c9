//! What stands between a transaction and its block: each check with what it looks at and how it would end now.
//!
//! The same checks as every node makes: signature and chain, nonce, balance and price, gas, and then the contracts'
//! own, by running it on the state of the next block. A pure function of what the chain says, so that each outcome can
//! be held against what becomes of the transaction.

use alloy_consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _};
use alloy_primitives::{Address, B256, U256};

/// The most gas that one transaction may ask for.
///
/// # Source
///
/// [EIP-7825](https://eips.ethereum.org/EIPS/eip-7825).
const TRANSACTION_GAS_MAX: u64 = 1 << 24;

/// What the chain says of a transaction that waits.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The chain's number.
    pub(crate) chain_id: u64,
    /// Whom the chain names as its sender.
    pub(crate) sender: Address,
    /// The hash under which it waits.
    pub(crate) hash: B256,
    /// The nonce that the sender's next transaction must have.
    pub(crate) next_nonce: u64,
    /// What the sender has, in wei.
    pub(crate) balance: U256,
    /// What a unit of gas costs in the next block at least, in wei.
    pub(crate) base_fee: u128,
    /// How much gas a block may hold.
    pub(crate) block_gas: u64,
    /// What running it on the next block's state came to.
    pub(crate) simulation: Simulation,
}

/// What running it would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Simulation {
    /// It would do what it says.
    Succeeds {
        /// And take so much gas; unknown where the chain does not estimate.
        gas: Option<u64>,
    },
    /// The contract would refuse, for this reason.
    Refused(String),
    /// It would run out of gas or the like.
    Fails(String),
    /// The chain could not be asked.
    Unknown,
}

/// How a check ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It passes.
    Passes,
    /// Not yet: it has to wait for something.
    Waits,
    /// It cannot be told.
    Unknown,
    /// It does not pass.
    Fails,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What is looked at.
    pub(crate) name: &'static str,
    /// How it ends.
    pub(crate) outcome: Outcome,
    /// Why, with the numbers.
    pub(crate) reason: String,
}

/// All checks, in the order in which a node makes them.
pub(crate) fn checks(transaction: &TxEnvelope, facts: &Facts) -> Vec<Check> {
    vec![
        signature(transaction, facts),
        for_this_chain(transaction, facts),
        nonce(transaction, facts),
        balance(transaction, facts),
        price(transaction, facts),
        gas_limit(transaction, facts),
        simulation(transaction, facts),
    ]
}

/// What becomes of it, in a sentence.
pub(crate) fn verdict(checks: &[Check]) -> (Outcome, &'static str) {
    let refused_by_contract = checks.last().is_some_and(|last| last.outcome == Outcome::Fails);
    let before = checks.split_last().map_or(&[][..], |(_, before)| before);
    let worst = before.iter().map(|check| check.outcome).max().unwrap_or(Outcome::Passes);
    match worst {
        Outcome::Fails => (Outcome::Fails, "No block would take it as things stand."),
        Outcome::Waits => (Outcome::Waits, "It stays here until what it waits for has happened."),
        _ if refused_by_contract => (
            Outcome::Fails,
            "The next block would take it, but it would change nothing: the contract would refuse.",
        ),
        _ if checks.iter().any(|check| check.outcome == Outcome::Unknown) => {
            (Outcome::Unknown, "Not every check could be made.")
        }
        _ => (Outcome::Passes, "It would go into the next block and do what it says."),
    }
}

fn signature(transaction: &TxEnvelope, facts: &Facts) -> Check {
    let recovered = transaction.recover_signer().ok();
    let (outcome, reason) = match recovered {
        _ if *transaction.tx_hash() != facts.hash => (
            Outcome::Fails,
            "what is signed is another transaction than this hash names".to_owned(),
        ),
        Some(signer) if signer == facts.sender => (
            Outcome::Passes,
            "recomputed here: it is the sender's own signature of exactly this content".into(),
        ),
        Some(_) => (Outcome::Fails, "it is somebody else's signature".into()),
        None => (Outcome::Fails, "it is no valid signature".into()),
    };
    Check { name: "Signature", outcome, reason }
}

fn for_this_chain(transaction: &TxEnvelope, facts: &Facts) -> Check {
    let (outcome, reason) = match transaction.chain_id() {
        Some(id) if id == facts.chain_id => {
            (Outcome::Passes, format!("signed for chain {id}, which is this one"))
        }
        Some(id) => {
            (Outcome::Fails, format!("signed for chain {id}; this is chain {}", facts.chain_id))
        }
        None => (
            Outcome::Fails,
            "signed for no particular chain, so that it could be repeated on another".into(),
        ),
    };
    Check { name: "Chain", outcome, reason }
}

fn nonce(transaction: &TxEnvelope, facts: &Facts) -> Check {
    let (given, next) = (transaction.nonce(), facts.next_nonce);
    let (outcome, reason) = match given.checked_sub(next) {
        Some(0) => (Outcome::Passes, format!("{given} is the sender's next")),
        Some(1) => {
            (Outcome::Waits, format!("{given}; number {next} of the same sender comes first"))
        }
        Some(_) => (
            Outcome::Waits,
            format!("{given}; numbers {next} to {} of the same sender come first", given - 1),
        ),
        None => (Outcome::Fails, format!("{given} was used already; the sender's next is {next}")),
    };
    Check { name: "Order (nonce)", outcome, reason }
}

fn balance(transaction: &TxEnvelope, facts: &Facts) -> Check {
    let most = U256::from(transaction.max_fee_per_gas()) * U256::from(transaction.gas_limit());
    let needed = most.saturating_add(transaction.value());
    let has = facts.balance;
    let (outcome, reason) = if has >= needed {
        (Outcome::Passes, format!("the sender has {has} wei; it may cost {needed} wei at most"))
    } else {
        (Outcome::Fails, format!("the sender has {has} wei, {} wei too little", needed - has))
    };
    Check { name: "Balance", outcome, reason }
}

fn price(transaction: &TxEnvelope, facts: &Facts) -> Check {
    let (offered, base) = (transaction.max_fee_per_gas(), facts.base_fee);
    let (outcome, reason) = if offered >= base {
        (
            Outcome::Passes,
            format!("it offers up to {offered} wei for each gas; the next block asks {base}"),
        )
    } else {
        (
            Outcome::Waits,
            format!("it offers {offered} wei for each gas at most; the next block asks {base}"),
        )
    };
    Check { name: "Price", outcome, reason }
}

fn gas_limit(transaction: &TxEnvelope, facts: &Facts) -> Check {
    let limit = transaction.gas_limit();
    let most = facts.block_gas.min(TRANSACTION_GAS_MAX);
    let needs = match &facts.simulation {
        Simulation::Succeeds { gas: Some(gas) } => Some(*gas),
        _ => None,
    };
    let (outcome, reason) = match needs {
        _ if limit > most => {
            (Outcome::Fails, format!("{limit} is above {most}, the most for one transaction"))
        }
        Some(gas) if gas > limit => {
            (Outcome::Fails, format!("{limit} is too little; it would take {gas}"))
        }
        Some(gas) => (Outcome::Passes, format!("{limit}; it would take {gas}")),
        None => (Outcome::Passes, format!("{limit} of at most {most}")),
    };
    Check { name: "Gas limit", outcome, reason }
}

fn simulation(transaction: &TxEnvelope, facts: &Facts) -> Check {
    let waits_for_others = transaction.nonce() > facts.next_nonce;
    let then = if waits_for_others { ", if nothing before it changes that" } else { "" };
    let (outcome, reason) = match &facts.simulation {
        Simulation::Succeeds { .. } => {
            (Outcome::Passes, format!("run on the next block's state, it does what it says{then}"))
        }
        Simulation::Refused(why) => {
            (Outcome::Fails, format!("the contract would refuse{then}: {why}"))
        }
        Simulation::Fails(why) => (Outcome::Fails, format!("it would fail{then}: {why}")),
        Simulation::Unknown => {
            (Outcome::Unknown, "the chain could not run it now; load this page again".into())
        }
    };
    Check { name: "Simulation", outcome, reason }
}
