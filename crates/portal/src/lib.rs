//! Show Salus in a browser.
//!
//! The portal is what patients, clinicians, pharmacists, laboratories, privacy officers, insurers, researchers,
//! auditors and operators use. It renders pages and keeps sessions, and nothing else: whatever a page shows, it asks
//! of the gateway's own FHIR interface and `/api`, as the person who is signed in, so that consent is decided and a
//! receipt is left as for everybody who asks (S2, S5). It has no way to a record of its own, and no key of anybody's.
//!
//! What only the process knows comes through [`Home`]. A step of a workflow is begun at `/api/steps` and signed where
//! the person's key is, in the browser; in the demonstration, whose people have no devices, [`Demonstration`] signs.
//!
//! What stands where: `routes` is the one table of what there is and for whom, `admit` the one door before it.

#![warn(missing_docs)]

mod admit;
mod assets;
mod client;
mod design;
mod fault;
mod home;
mod look;
mod pages;
mod rate;
mod routes;
mod session;
mod sign_in;
mod signing;
mod times;
mod view;
mod visitor;
mod words;

use std::sync::Arc;

use axum::Router;
use parking_lot::Mutex;

pub use home::{BoxFuture, Demonstration, Home, HomeError, Institution, Member, Picked};
pub use routes::{Listed, listed};

use rate::Buckets;
use session::Sessions;

/// The portal of one gateway. Clones are the same.
#[derive(Clone)]
pub struct Portal(Arc<Inner>);

struct Inner {
    home: Arc<dyn Home>,
    fhir: Router,
    api: Router,
    origin: String,
    sessions: Sessions,
    sign_ins: Mutex<Buckets>,
}

impl Portal {
    /// The portal of the gateway whose interfaces are `fhir` and `api`, reached by browsers at `origin`, such as
    /// `http://localhost:8081`.
    #[must_use]
    pub fn new(home: Arc<dyn Home>, fhir: Router, api: Router, origin: impl Into<String>) -> Self {
        let origin = origin.into().trim_end_matches('/').to_owned();
        let (sessions, sign_ins) = (Sessions::default(), Mutex::new(sign_in::buckets()));
        Self(Arc::new(Inner { home, fhir, api, origin, sessions, sign_ins }))
    }

    /// What is served, at the root.
    pub fn router(&self) -> Router {
        routes::router(self)
    }

    /// A page that says that there is nothing, for whatever else was asked for by a browser.
    pub async fn nothing(&self, request: axum::extract::Request) -> axum::response::Response {
        admit::nothing(self, request).await
    }

    pub(crate) fn home(&self) -> &dyn Home {
        &*self.0.home
    }

    /// The address of this portal as browsers know it, without a slash at its end.
    pub(crate) fn origin(&self) -> &str {
        &self.0.origin
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }
}
