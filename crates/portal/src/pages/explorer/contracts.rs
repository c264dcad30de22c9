//! The contracts: what each is for, what it tells and takes, and its source.

use axum::{extract::Path, response::Response};
use maud::{Markup, html};

use super::{
    chain, gas,
    interfaces::{self, Interface},
    people::People,
    said::kind_of,
    show::{thousands, ways, who},
};
use crate::{
    design::parts::{Tone, badge, card, code, facts, more, table},
    fault::Fault,
    visitor::Visitor,
};

/// The contract that a path names.
pub(crate) fn named(name: &str) -> Result<&'static Interface, Fault> {
    interfaces::named(name).ok_or(Fault::NotFound)
}

/// `GET /explorer/contracts`.
pub(crate) async fn list(visitor: Visitor) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let mut rows: Vec<Vec<Markup>> = Vec::new();
    let mut missing = 0;
    for interface in interfaces::all() {
        let address = interfaces::address(interface, deployment);
        let size = match address {
            Some(address) => node.code_bytes(address).await?,
            None => 0,
        };
        missing += usize::from(address.is_some() && size == 0);
        rows.push(vec![
            html! { a href={ "/explorer/contracts/" (interface.name) } { (interface.name) } },
            html! { (interface.about()) },
            html! {
                @match address {
                    Some(address) => { (code(&address.to_string())) }
                    None => { "one for each patient" }
                }
            },
            html! {
                @if size > 0 { (thousands(size as u64)) " bytes" }
                @else if address.is_some() { (badge(Tone::Bad, "not there")) }
            },
        ]);
    }
    let content = html! {
        (ways("/explorer/contracts"))
        @if missing > 0 {
            p { (badge(Tone::Bad, "not there")) " means that this chain has no code at the address that the configuration names: it is another chain, or the contracts were not deployed yet." }
        }
        (table("The contracts of the network", &["Contract", "What it is for", "Address", "Code"], &rows))
    };
    Ok(visitor.page("Contracts", content))
}

/// `GET /explorer/contracts/{name}`: what it tells, and what it takes.
pub(crate) async fn one(visitor: Visitor, Path(name): Path<String>) -> Result<Response, Fault> {
    let (_, deployment) = chain(&visitor)?;
    let interface = named(&name)?;
    let address = interfaces::address(interface, deployment);
    let people = People::of(&visitor, address).await;
    let name = interface.name;
    let readers: Vec<Vec<Markup>> = interface
        .readers()
        .map(|function| {
            let names = function.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>();
            vec![
                html! { a href={ "/explorer/contracts/" (name) "/read/" (function.selector()) } { (function.name) } },
                html! { @if names.is_empty() { "nothing" } @else { (names.join(", ")) } },
                html! { (interface.function_sentence(&function.name).unwrap_or("–")) },
            ]
        })
        .collect();
    let writers: Vec<Vec<Markup>> = interface
        .writers()
        .map(|function| {
            let inputs = function.inputs.iter();
            let inputs: Vec<String> =
                inputs.map(|input| format!("{} {}", kind_of(input), input.name)).collect();
            vec![
                html! { (function.name) },
                html! { @if inputs.is_empty() { "nothing" } @else { (inputs.join(", ")) } },
                html! { (interface.function_sentence(&function.name).unwrap_or("–")) },
                html! {
                    @match gas::range(name, &function.name) {
                        Some((least, most)) if least == most => { (thousands(least)) }
                        Some((least, most)) => { (thousands(least)) " to " (thousands(most)) }
                        None => { "–" }
                    }
                },
            ]
        })
        .collect();
    let events: Vec<Vec<Markup>> = interface
        .abi
        .events()
        .map(|event| {
            vec![
                html! {
                    @if address.is_some() {
                        a href={ "/explorer/contracts/" (name) "/events?event=" (event.name) } { (event.name) }
                    } @else { (event.name) }
                },
                html! { (interface.event_sentence(&event.name).unwrap_or("–")) },
            ]
        })
        .collect();
    let about = [
        ("What it is for".to_owned(), html! { (interface.about()) }),
        (
            "Address".to_owned(),
            match address {
                Some(address) => html! { (who(&people, address)) " " (code(&address.to_string())) },
                None => html! { "each patient has one; look one up by its address" },
            },
        ),
    ];
    let content = html! {
        (ways("/explorer/contracts"))
        (card("", html! {
            (facts(&about))
            p class="actions" {
                @if address.is_some() { a class="button secondary" href={ "/explorer/contracts/" (name) "/events" } { "Events" } " " }
                @if !interface.source.is_empty() { a class="button secondary" href={ "/explorer/contracts/" (name) "/source" } { "Source" } }
            }
        }))
        (card("What can be asked", html! {
            @if readers.is_empty() { p { "It answers nothing by itself." } }
            @else if address.is_none() { p { "Look an account up by its address, and ask it there." } (table("Functions that only read", &["Function", "Of what", "What it tells"], &readers)) }
            @else { (table("Functions that only read", &["Function", "Of what", "What it tells"], &readers)) }
        }))
        @if !writers.is_empty() {
            (card("What can be done", html! {
                p { "These take a signed transaction. They are done on the pages of whoever may do them." }
                (table("Functions that change something", &["Function", "With what", "What it does", "Gas"], &writers))
            }))
        }
        @if !events.is_empty() {
            (card("What it announces", more(&format!("{} kinds of events", events.len()), table("Events", &["Event", "What it says"], &events))))
        }
    };
    Ok(visitor.page(name, content))
}

/// `GET /explorer/contracts/{name}/source`: what it was compiled from.
pub(crate) async fn source(visitor: Visitor, Path(name): Path<String>) -> Result<Response, Fault> {
    let interface = named(&name)?;
    if interface.source.is_empty() {
        return Err(Fault::NotFound);
    }
    let content = html! {
        (ways("/explorer/contracts"))
        p {
            "The Solidity source of "
            a href={ "/explorer/contracts/" (interface.name) } { (interface.name) }
            ". Compiling it with the compiler that its first lines name gives the code on the chain, byte for byte."
        }
        pre class="source" tabindex="0" aria-label={ "Source of " (interface.name) } { code { (interface.source) } }
    };
    Ok(visitor.page(&format!("Source of {}", interface.name), content))
}
