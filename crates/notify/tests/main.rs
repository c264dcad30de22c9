//! Everything that is tried of notices, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod notify_crash;
mod notify_devices;
mod notify_outbox;
mod notify_trials;
mod notify_webhook;
