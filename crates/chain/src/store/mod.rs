//! What is on disk: the block log, and what is derived from it.
//!
//! The log is the database. A block is confirmed once its frame is in the log and the log is on the
//! disk; everything else here is derived from the log, written lazily, and rebuilt from it when it is
//! missing or damaged:
//!
//! ```text
//! DIR/genesis.json              what the chain began with
//! DIR/blocks.log                every block, in order                  the commit point
//! DIR/blocks.places             where each block begins in the log     derived
//! DIR/state/FROM-TO.run         what blocks FROM+1 to TO left of the state    derived
//! DIR/index/FROM-TO.run         which of these blocks hold a hash, address or topic    derived
//! DIR/lock                      held while a process has the chain open
//! ```

mod bytes;
mod checkpoint;
mod index;
mod log;
mod runs;

pub(crate) use checkpoint::Checkpoints;
pub(crate) use index::{Index, Key};
pub use log::LogError;
pub(crate) use log::{BlockLog, sync_dir};
