//! What an address of the explorer asks for behind its question mark.

use axum::{extract::FromRequestParts, http::request::Parts};
use url::form_urlencoded;

use crate::fault::Fault;

/// The longest question, in bytes: that of a call with long arguments.
const QUESTION_BYTES_MAX: usize = 16 * 1_024;

/// What is asked for, by name.
#[derive(Debug, Default)]
pub(crate) struct Asked(Vec<(String, String)>);

impl Asked {
    pub(crate) fn parse(query: &str) -> Result<Self, Fault> {
        if query.len() > QUESTION_BYTES_MAX {
            return Err(Fault::Unusable(
                "what was entered is too long for a page; use the chain's own interface".into(),
            ));
        }
        Ok(Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }

    /// A value without the white space around it; empty when it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.trim())
    }

    /// Whether it is there, even empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// A number, when there is one.
    ///
    /// # Errors
    ///
    /// [`Fault::Unusable`], which names it by `label`, when it is none.
    pub(crate) fn number(&self, name: &str, label: &str) -> Result<Option<u64>, Fault> {
        let text = self.text(name).replace(',', "");
        if text.is_empty() {
            return Ok(None);
        }
        let unusable = |_| {
            Fault::Unusable(format!(
                "“{label}” is a whole number, such as 1200; go back and enter one"
            ))
        };
        text.parse().map(Some).map_err(unusable)
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}
