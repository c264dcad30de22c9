//! Tell people and systems that something is there for them.
//!
//! An [`Outbox`] follows the contracts' events and keeps, in the gateway's own database, a
//! [`Notification`] for each recipient whom an event concerns. Recipients read it as an inbox, as a
//! stream of server-sent events, or have it sent to them by [`Webhooks`].
//!
//! What must stay true:
//!
//! - A notification says that something is there, never what: a topic, ids and addresses (S1).
//! - What is final on chain is in the outbox once, whenever the process is killed (S6). Sequence numbers
//!   rise and are not used twice, so whoever goes on from the last number that they saw misses nothing
//!   and sees nothing twice.
//! - A webhook is delivered at least once and in order; what may have arrived before is marked.
//! - Before anything leaves, the caller is asked whether its recipient may still be told (S3).
//!
//! What it does not do: tell whose records are in a batch that was anchored, for the chain does not say. Nor does
//! it say who a patient's guardians are: patients name contacts to the gateway.
//!
//! | question | module |
//! |---|---|
//! | who is told of what | [`Topic`], `meaning` |
//! | what is in the tables | `tables` |
//! | how a webhook looks, and when it is sent again | [`webhook`] |
//! | where webhooks may go | `webhook::target` |

mod topic;

mod notification;

mod meaning;
mod parties;

mod bell;
mod columns;
mod contacts;
mod inbox;
mod outbox;
mod silence;
mod tables;

mod sse;

pub mod webhook;

pub use contacts::CONTACTS_MAX;
pub use inbox::{InboxEntry, PAGE_LEN_MAX};
pub use notification::{Clearance, Notification, Subject};
pub use outbox::{Audience, FollowError, Outbox};
pub use sse::{BadLastEventId, Events, SseSettings, last_event_id};
pub use topic::{Topic, UnknownTopic};
pub use webhook::Webhooks;
