//! The explorer: what is on the chain, and what waits for it. For members; patients see what is recorded about them
//! under "How it is recorded", without the words of a chain.
//!
//! It asks in standard JSON-RPC, so that it shows any chain that the gateway is configured for, and puts everything
//! into words by the contracts' own ABIs and sources. Nothing here writes.

mod addresses;
mod asked;
mod blocks;
mod checks;
mod contracts;
mod events;
mod gas;
pub(super) mod interfaces;
pub(super) mod node;
mod pending;
pub(super) mod people;
mod plain;
mod read;
mod recorded;
mod said;
pub(super) mod show;
mod transactions;

use axum::routing::get;
use bindings::Deployment;
use maud::html;

use crate::{
    design::parts::empty,
    fault::Fault,
    routes::{Audience, Route},
    visitor::Visitor,
};

use node::Node;

/// What there is.
pub(crate) fn routes() -> Vec<Route> {
    use Audience::{Members, Patients};
    vec![
        Route::get("/explorer", Members, get(blocks::list)),
        Route::get("/explorer/find", Members, get(addresses::find)),
        Route::get("/explorer/blocks/{number}", Members, get(blocks::one)),
        Route::get("/explorer/transactions/{hash}", Members, get(transactions::one)),
        Route::get("/explorer/pending", Members, get(pending::list)),
        Route::get("/explorer/addresses/{address}", Members, get(addresses::one)),
        Route::get("/explorer/contracts", Members, get(contracts::list)),
        Route::get("/explorer/contracts/{name}", Members, get(contracts::one)),
        Route::get("/explorer/contracts/{name}/source", Members, get(contracts::source)),
        Route::get("/explorer/contracts/{name}/events", Members, get(events::list)),
        Route::get("/explorer/contracts/{name}/read/{selector}", Members, get(read::one)),
        Route::get("/explorer/gas", Members, get(gas::list)),
        Route::get("/patient/recorded", Patients, get(recorded::list)),
        Route::get("/patient/recorded/{hash}", Patients, get(recorded::one)),
    ]
}

/// The way to "How it is recorded", for patients' pages.
pub(super) fn recorded_link(visitor: &Visitor) -> maud::Markup {
    html! { p { a href="/patient/recorded" { (plain::of(visitor.look.language).title) } } }
}

/// The chain, and where the contracts are on it.
pub(super) fn chain(visitor: &Visitor) -> Result<(Node<'_>, &Deployment), Fault> {
    let home = visitor.portal.home();
    let deployment = home.deployment().ok_or(Fault::Unavailable)?;
    Ok((Node::new(home), deployment))
}

/// That the chain holds nothing of a sort yet.
fn nothing_yet(title: &str, text: &str) -> maud::Markup {
    html! { (empty(title, text, Some(("/explorer", "Newest blocks")))) }
}
