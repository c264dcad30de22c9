//! Everything that is tried of the search, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod search_index;
mod search_never_misses;
mod search_parameters;
mod search_query;
mod search_speed;
