//! How versions of a resource are named.
//!
//! ```text
//! 2      the second version, as it was written: of a record, version 2 on chain
//! 2.1    the same, with the first status that its workflow's contract gave the resource
//! ```

use std::{fmt, str::FromStr};

/// The name of a version: `meta.versionId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    /// Which version was written, from 1.
    pub written: u32,
    /// Which status of the contract it is given out with; 0 for the version as it was written.
    pub status: u32,
}

impl VersionId {
    /// Whether nothing was there before it.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.written == 1 && self.status == 0
    }
}

impl From<u32> for VersionId {
    fn from(written: u32) -> Self {
        Self { written, status: 0 }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            0 => write!(f, "{}", self.written),
            status => write!(f, "{}.{status}", self.written),
        }
    }
}

/// The text is no name of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is named by a number, or by two with a point between")]
pub struct ParseVersionError;

impl FromStr for VersionId {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // One version has one name.
        let number = |text: &str| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|number| *number > 0);
            number.filter(|_| is_plain && !text.starts_with('0')).ok_or(ParseVersionError)
        };
        Ok(match text.split_once('.') {
            None => Self { written: number(text)?, status: 0 },
            Some((written, status)) => Self { written: number(written)?, status: number(status)? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_name() {
        for name in ["1", "12", "1.1", "2.10"] {
            assert_eq!(name.parse::<VersionId>().unwrap().to_string(), name);
        }
        for other in ["", "0", "01", "+1", "1.", ".1", "1.0", "1.01", "1.2.3", "x", "-1"] {
            assert_eq!(other.parse::<VersionId>(), Err(ParseVersionError), "{other}");
        }
    }

    #[test]
    fn statuses_come_after_what_they_are_of() {
        let names = ["2.3", "1", "2", "1.2", "1.1"];
        let mut versions = names.map(|name| name.parse::<VersionId>().unwrap());
        versions.sort();
        assert_eq!(versions.map(|one| one.to_string()), ["1", "1.1", "1.2", "2", "2.3"]);
    }
}
