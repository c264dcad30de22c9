//! Find FHIR R4 resources by what is in them.
//!
//! Resources are sealed in the vault, and nobody can search what is sealed. So what they can be found by
//! is [extracted](extract()) when they are written, and kept in an [`Index`] in the same database, as
//! keyed digests where that is possible at all. A [`Query`] finds candidates there; whoever asks for
//! them decides which of them may be opened, opens those, and holds each against the query again with
//! [`matches()`].
//!
//! What is always true:
//!
//! - Whatever matches is a candidate. The other way round it may fail: of a text longer than 16
//!   characters only the beginning is looked up, of a code not its system, of an address only the last
//!   segment.
//! - The index tells nothing about consent. Neither candidates nor their number go to whoever asks.
//! - No error holds what was searched for, or what was found (S1).
//!
//! In the order in which a newcomer should read: which [`parameters()`] there are, where their values are
//! ([`extract`](extract())), the [`Query`], and the [`Index`].

mod dates;
mod digests;
mod error;
mod index;
mod keys;
mod matching;
mod numbers;
mod output;
mod parameters;
mod path;
mod query;
mod selection;
mod terms;
mod text;
mod values;

pub use error::{ParameterName, SearchError};
pub use index::{COMPONENT, Entry, Index, MIGRATIONS, Prepared};
pub use matching::{Ranks, compare, compare_ranks, matches, ranks};
pub use output::{Include, Output, SortKey, Summary, Total};
pub use parameters::{
    Parameter, ParameterKind, parameter, parameters, patient_parameter, resource_types,
};
pub use query::{
    DEPTH_MAX, FOUND_MAX, Handling, LINKED_MAX, Link, PARAMETERS_MAX, QUERY_BYTES_MAX, Query,
    SORT_KEYS_MAX, VALUES_MAX, pairs,
};
pub use selection::{CandidatesError, Scope};
pub use values::{IndexValue, extract};
