//! Everything that is tried of the program, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod command_line;
mod gateway_api;
mod gateway_backup;
mod gateway_claim;
mod gateway_config;
mod gateway_device;
mod gateway_exchange;
mod gateway_messages;
mod gateway_notify;
mod gateway_portal;
mod gateway_postgres;
mod gateway_research;
mod gateway_serving;
mod gateway_trial;
mod guide;
mod study_command;
mod support;
