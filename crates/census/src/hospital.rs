//! A hospital by its number.

use std::{fmt, str::FromStr};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::NotUnderstood;

/// A hospital's number in the national files: four digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hospital(String);

impl Hospital {
    /// As the contract holds it: as text at the left of 32 bytes.
    #[must_use]
    pub fn to_word(&self) -> B256 {
        B256::right_padding_from(self.0.as_bytes())
    }
}

impl FromStr for Hospital {
    type Err = NotUnderstood;

    /// Up to four digits; zeros that are left out come back.
    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        let digits = text.trim();
        let is_number = matches!(digits.len(), 1..=4) && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number {
            return Err(NotUnderstood("a hospital's number has up to four digits"));
        }
        Ok(Self(format!("{digits:0>4}")))
    }
}

impl fmt::Display for Hospital {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Hospital {
    type Error = NotUnderstood;

    fn try_from(text: String) -> Result<Self, NotUnderstood> {
        text.parse()
    }
}

impl From<Hospital> for String {
    fn from(hospital: Hospital) -> Self {
        hospital.0
    }
}
