//! The one table of what there is and for whom.
//!
//! Every route stands behind `admit`, which is told here whom it lets in; there is no other way to add one. Tests
//! try each route of the table as everybody.

use axum::{
    Router,
    http::Method,
    middleware::from_fn_with_state,
    routing::{MethodRouter, get},
};
use domain::{ProfessionalRole as Role, Reader};

use crate::{Portal, admit, assets, pages, sign_in, signing};

/// Whom a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Everyone,
    SignedIn,
    Patients,
    /// Doctors, nurses and paramedics.
    Clinicians,
    /// Professionals and institutions.
    Members,
    /// The institution's own systems and whoever runs them.
    Operators,
}

impl Audience {
    /// Whether somebody is of those whom a page is for.
    pub(crate) const fn has(self, reader: Option<&Reader>) -> bool {
        let Some(reader) = reader else { return matches!(self, Self::Everyone) };
        match (self, reader) {
            (Self::Everyone | Self::SignedIn, _)
            | (Self::Patients, Reader::Patient { .. })
            | (Self::Members, Reader::Professional { .. } | Reader::Institution { .. })
            | (Self::Operators, Reader::Institution { .. }) => true,
            (Self::Clinicians, Reader::Professional { role, .. }) => {
                matches!(role, Role::Physician | Role::Surgeon | Role::Nurse | Role::Paramedic)
            }
            _ => false,
        }
    }

    /// In words, to whom it is told that a page is not for them.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::SignedIn => "people who are signed in",
            Self::Patients => "patients",
            Self::Clinicians => "doctors, nurses and paramedics",
            Self::Members => "members of the network",
            Self::Operators => "whoever runs this gateway",
        }
    }
}

/// Something that is there.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) audience: Audience,
    pub(crate) handler: MethodRouter,
}

impl Route {
    /// Something that is read.
    pub(crate) fn get(path: &'static str, audience: Audience, handler: MethodRouter) -> Self {
        Self { method: Method::GET, path, audience, handler }
    }

    /// Something that is done. It takes a form of this portal's, or JSON of its script.
    pub(crate) fn post(path: &'static str, audience: Audience, handler: MethodRouter) -> Self {
        Self { method: Method::POST, path, audience, handler }
    }
}

fn table() -> Vec<Route> {
    let own = [Route::get("/assets/{digest}/{name}", Audience::Everyone, get(assets::serve))];
    let mut all = Vec::from(own);
    all.extend(sign_in::routes());
    all.extend(signing::routes());
    all.extend(pages::routes());
    all
}

/// What is served.
pub(crate) fn router(portal: &Portal) -> Router {
    let mut router = Router::new();
    for Route { path, audience, handler, .. } in table() {
        let door = admit::Door { portal: portal.clone(), audience };
        router = router.route(path, handler.layer(from_fn_with_state(door, admit::admit)));
    }
    router
}

/// A route as tests and documentation list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `GET` or `POST`.
    pub method: Method,
    /// The path, with `{names}` of what changes in it.
    pub path: &'static str,
    /// Whom it is for, in words.
    pub audience: &'static str,
    /// Whether somebody is of those.
    has: Audience,
}

impl Listed {
    /// Whether it is for somebody, or for whoever is not signed in.
    #[must_use]
    pub const fn is_for(&self, reader: Option<&Reader>) -> bool {
        self.has.has(reader)
    }
}

/// Everything that the portal serves.
#[must_use]
pub fn listed() -> Vec<Listed> {
    let list = |route: Route| Listed {
        method: route.method,
        path: route.path,
        audience: route.audience.words(),
        has: route.audience,
    };
    table().into_iter().map(list).collect()
}
