//! Why a search was refused.

use std::fmt;

/// A parameter's name, as much of it as an error may show.
///
/// It comes from whoever asks, so it is cut after 64 characters, and what no name has is shown as `?`.
/// What was searched for never gets here (S1).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ParameterName(String);

impl ParameterName {
    const LEN_MAX: usize = 64;

    pub(crate) fn of(key: &str) -> Self {
        let is_usual = |c: char| c.is_ascii_alphanumeric() || "-_.:*".contains(c);
        let shown = |c| if is_usual(c) { c } else { '?' };
        Self(key.chars().take(Self::LEN_MAX).map(shown).collect())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a search was refused. All of it is the asker's doing, and none of it names a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// Resources of this type are not searched.
    #[error("this type of resource cannot be searched")]
    UnknownType,
    /// The type has no such parameter. Only strict handling minds.
    #[error("there is no search parameter {parameter}")]
    UnknownParameter {
        /// What was asked for.
        parameter: ParameterName,
    },
    /// The parameter does not take this modifier. Passing over it would widen the search, so that
    /// lenient handling minds too.
    #[error("search parameter {parameter} does not take this modifier")]
    UnsupportedModifier {
        /// What was asked for, with its modifier.
        parameter: ParameterName,
    },
    /// A value is not of the parameter's type.
    #[error("search parameter {parameter} wants {expected}")]
    BadValue {
        /// The parameter.
        parameter: ParameterName,
        /// What it takes.
        expected: &'static str,
    },
    /// The query string is not UTF-8 once its escapes are resolved.
    #[error("the query string is not UTF-8")]
    NotUtf8,
    /// The query is longer than [`QUERY_BYTES_MAX`](crate::QUERY_BYTES_MAX).
    #[error("a query has at most {} bytes", crate::QUERY_BYTES_MAX)]
    TooLong,
    /// There are more parameters than [`PARAMETERS_MAX`](crate::PARAMETERS_MAX).
    #[error("a query has at most {} parameters", crate::PARAMETERS_MAX)]
    TooManyParameters,
    /// There are more alternatives than [`VALUES_MAX`](crate::VALUES_MAX).
    #[error("search parameter {parameter} takes at most {} values", crate::VALUES_MAX)]
    TooManyValues {
        /// The parameter.
        parameter: ParameterName,
    },
    /// There are more than [`SORT_KEYS_MAX`](crate::SORT_KEYS_MAX) keys to sort by.
    #[error("results are sorted by at most {} keys", crate::SORT_KEYS_MAX)]
    TooManySortKeys,
    /// More than [`DEPTH_MAX`](crate::DEPTH_MAX) links follow each other, or they lead to more than
    /// [`LINKED_MAX`](crate::LINKED_MAX) searches.
    #[error("search parameter {parameter} links too far, or to too many types; name the types")]
    TooDeep {
        /// The parameter.
        parameter: ParameterName,
    },
    /// A linked search found more than [`FOUND_MAX`](crate::FOUND_MAX) resources.
    #[error("a linked search finds more than {} resources; narrow it", crate::FOUND_MAX)]
    TooManyFound,
}
