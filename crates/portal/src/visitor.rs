//! Whoever asks for a page, with what a page needs to know of them.

use alloy_primitives::Address;
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use domain::Reader;
use maud::Markup;

use crate::{
    Portal, client::Client, design::layout, fault::Fault, look::Look, session::Seen, words::Words,
};

/// Whoever asks for a page.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) portal: Portal,
    pub(crate) session: Option<Seen>,
    /// Who they are now, as the registry says.
    pub(crate) reader: Option<Reader>,
    pub(crate) look: Look,
    /// The part of the request that tells one browser from another.
    pub(crate) browser: HeaderMap,
    /// The path that was asked for.
    pub(crate) path: String,
    /// What was done just now, to be said on this page.
    pub(crate) message: Option<String>,
}

impl Visitor {
    /// The words of patients' pages.
    pub(crate) const fn words(&self) -> &'static Words {
        self.look.words()
    }

    /// Whoever is signed in.
    pub(crate) fn reader(&self) -> Result<Reader, Fault> {
        self.reader.ok_or(Fault::SignedOut)
    }

    /// The address of whoever is signed in.
    pub(crate) fn address(&self) -> Result<Address, Fault> {
        Ok(self.reader()?.address())
    }

    /// The patient who is signed in.
    pub(crate) fn patient(&self) -> Result<Address, Fault> {
        match self.reader()? {
            Reader::Patient { account } => Ok(account),
            _ => Err(Fault::Refused("this page is for patients".into())),
        }
    }

    /// The gateway's own interfaces, asked as whoever is signed in.
    pub(crate) fn client(&self) -> Result<Client<'_>, Fault> {
        Client::new(&self.portal, self.reader()?)
    }

    /// The token that forms of this session carry.
    pub(crate) fn csrf(&self) -> &str {
        self.session.as_ref().map_or("", |session| &session.csrf)
    }

    /// What to call somebody: by name where one is known, or by the beginning and the end of the address.
    pub(crate) fn name(&self, address: Address) -> String {
        name(&self.portal, address)
    }

    /// A page with a title.
    pub(crate) fn page(&self, title: &str, content: Markup) -> Response {
        self.page_with(StatusCode::OK, title, content)
    }

    pub(crate) fn page_with(&self, status: StatusCode, title: &str, content: Markup) -> Response {
        let html = layout::page(self, title, content).into_string();
        (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
    }

    /// To another page of the portal, which says `message`.
    pub(crate) fn go_and_say(&self, to: &str, message: impl Into<String>) -> Response {
        if let Some(session) = &self.session {
            self.portal.sessions().say(&session.id, message.into());
        }
        go(to)
    }
}

/// What to call somebody.
pub(crate) fn name(portal: &Portal, address: Address) -> String {
    portal.home().name(address).unwrap_or_else(|| short(address))
}

/// An address, shortened to be told apart at sight.
pub(crate) fn short(address: Address) -> String {
    let text = address.to_string();
    format!("{}…{}", &text[..8], &text[text.len() - 4..])
}

/// To another page of the portal; to its beginning when `to` is none of its paths.
pub(crate) fn go(to: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, own_path(to))]).into_response()
}

/// A path of this portal, and the beginning for everything else: what comes from a request never leads elsewhere.
pub(crate) fn own_path(to: &str) -> &str {
    let is_own = to.starts_with('/')
        && !to.starts_with("//")
        && !to.contains(['\\', '#'])
        && to.bytes().all(|byte| byte.is_ascii_graphic());
    if is_own { to } else { "/" }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        // `admit` stands before every route, and puts it there.
        parts.extensions.get::<Self>().cloned().ok_or(Fault::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_paths_are_gone_to() {
        for own in ["/", "/patient/records?kind=allergy", "/a/b"] {
            assert_eq!(own_path(own), own);
        }
        let others = [
            "",
            "patient",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/a\r\nSet-Cookie: x=y",
            "/a b",
            "\t//evil.example",
            "/%0a#",
        ];
        for other in others {
            assert_eq!(own_path(other), "/", "{other:?}");
        }
    }
}
