//! The parameters of a request.

use std::collections::BTreeMap;

/// The most parameters in one request.
const PARAMETERS_MAX: usize = 64;

/// Parameters by name. Each is there at most once: with two of one name, one program could look at the
/// first and another at the second (RFC 6749, section 3.1).
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads a query or a form; `None` when a parameter is repeated or there are too many.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut params = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(text) {
            let repeated = params.insert(name.into_owned(), value.into_owned()).is_some();
            if repeated || params.len() > PARAMETERS_MAX {
                return None;
            }
        }
        Some(Self(params))
    }

    /// The value of one. An empty one counts as missing (RFC 6749, section 3.1).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
