//! Agree on the order of blocks with other institutions.
//!
//! Each institution may run a member: a [`chain::Chain`] whose blocks are ordered by agreement instead of
//! alone. [`run`] is one member. The agreement is simplex, of commonware: a member whose turn it is
//! proposes a block, a quorum's votes notarize it, a quorum's votes finalize it, and nothing final is
//! ever taken back while fewer than a third of a committee break the rules. This crate knows nothing of
//! records, contracts (but one view of `Validators`) or servers, opens no sockets and has no clock: it is
//! given a runtime and a network.
//!
//! # Order first, execute when final
//!
//! A [`Block`] that is agreed on names transactions, a time, and the hash of a block that its proposer
//! had executed. Nothing is executed before it is final, so there is no state to take back, and a
//! transaction that cannot run changes nothing. What makes a block acceptable is in `rules.rs`. Members
//! whose executions differ refuse each other's blocks; if this member is the odd one out it halts with
//! [`NodeError::NotApplied`] instead of answering from a state that nobody agreed on.
//!
//! # What must stay true
//!
//! - **A1**: No two members execute different blocks at one height (while fewer than a third of each
//!   committee break the rules).
//! - **A2**: All members have the same state root at each height.
//! - **A3**: A block that was reported as applied ([`Event::Applied`]) is on every honest member's chain
//!   sooner or later, and survives `kill -9` of all of them.
//! - **A4**: Once a quorum reaches each other, blocks become final again, without anybody's help.
//! - **A5**: However much one member sends, transactions of others find room ([`ShareLimits`]).
//! - **A6**: The same seed gives the same run (see `boundary.rs`).
//!
//! The fault tests (`tests/`) hold A1 to A6 against lost and delayed messages, partitions, crashes, late
//! members, changing committees, and members that equivocate or lie.
//!
//! # Epochs
//!
//! An epoch has a fixed number of blocks and one committee with equal votes ([`Committees`]), elected in
//! the contract `Validators` ([`ElectedCommittees`]). Members without a seat follow and execute.

mod application;
mod block;
mod boundary;
mod committee;
mod gossip;
mod node;
mod rules;

/// What members sign with and check certificates with: ed25519, one signature per member.
pub use commonware_consensus::simplex::scheme::ed25519::Scheme;

pub use block::{Block, BlockLimits};
pub use boundary::Core;
pub use committee::{COMMITTEE_SIZE_MIN, Committees, ElectedCommittees, FixedCommittee, Seat};
pub use gossip::{MESSAGE_SIZE_MAX, ShareLimits};
pub use node::{Channels, Config, Event, NodeError, Runtime, Timing, Watch, message_size_max, run};
