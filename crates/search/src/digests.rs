//! The keyed digests under which the index keeps texts.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::Form;
use crate::parameters::{self, Parameter};

/// Separates these digests from any others under the same key.
const LABEL: &[u8] = b"salus/search/v1";

/// How many bits the number of a parameter has. SQLite stores so many in six bytes; with a thousand
/// parameters, two have the same once in 10⁸ databases.
const NUMBER_BITS: u32 = 48;

/// What the key of an index makes of parameters and texts.
pub(crate) struct Digests {
    key: Zeroizing<[u8; 32]>,
    /// By the parameters' positions.
    numbers: Vec<i64>,
}

impl Digests {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        let mut digests = Self { key: Zeroizing::new(key), numbers: Vec::new() };
        let number =
            |parameter| digests.digest(parameter, 0, "").0.cast_unsigned() >> (64 - NUMBER_BITS);
        digests.numbers = parameters::all().iter().map(|one| number(one).cast_signed()).collect();
        digests
    }

    /// Which parameter a row is about. Another release of the program gives the same.
    pub(crate) fn number(&self, parameter: &Parameter) -> i64 {
        self.numbers[parameter.position()]
    }

    /// The first 16 bytes of the digest of a text, as two numbers.
    pub(crate) fn of_text(&self, parameter: &Parameter, form: Form, text: &str) -> (i64, i64) {
        self.digest(parameter, form as u8, text)
    }

    /// Only the text may hold any bytes, and it is the last, so that no two inputs are the same.
    fn digest(&self, parameter: &Parameter, form: u8, text: &str) -> (i64, i64) {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.key).expect("a key may have any length");
        mac.update(LABEL);
        mac.update(&[0]);
        mac.update(parameter.resource_type().as_bytes());
        mac.update(&[0]);
        mac.update(parameter.name().as_bytes());
        mac.update(&[0, form]);
        mac.update(text.as_bytes());
        let digest = mac.finalize().into_bytes();
        let half = |at| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&digest[at..at + 8]);
            i64::from_be_bytes(bytes)
        };
        (half(0), half(8))
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digests(..)")
    }
}
