//! The operator's pages: whether the gateway can do its work, who is in the network, keys, figures, backups.
//!
//! What is on the chain is read from the chain; what only the process knows comes from `/readyz` and `/metrics`. There
//! is no health data here, and nobody's name but members'.

mod figures;
mod registry;

use alloy_primitives::Address;
use axum::{response::Response, routing::get};
use maud::{Markup, html};
use serde_json::Value;

use crate::{
    design::parts::{Tone, badge, card, code, empty, facts, grid, notice, table, tabs, tile},
    fault::Fault,
    pages::explorer::{
        chain,
        people::People,
        show::{thousands, when, who},
    },
    routes::{Audience, Route},
    times,
    visitor::Visitor,
};

use registry::{PROFESSIONALS_MAX, Roll, What};

/// What there is.
pub(crate) fn routes() -> Vec<Route> {
    use Audience::Operators;
    vec![
        Route::get("/operator", Operators, get(overview)),
        Route::get("/operator/members", Operators, get(members)),
        Route::get("/operator/professionals", Operators, get(professionals)),
        Route::get("/operator/keys", Operators, get(keys)),
        Route::get("/operator/figures", Operators, get(measured)),
        Route::get("/operator/backup", Operators, get(backup)),
    ]
}

fn ways(current: &str) -> Markup {
    let parts = [
        ("/operator", "How it fares"),
        ("/operator/members", "Members and votes"),
        ("/operator/professionals", "Professionals"),
        ("/operator/keys", "Keys"),
        ("/operator/figures", "Figures"),
        ("/operator/backup", "Backup"),
    ];
    let parts = parts.map(|(href, label)| (href.to_owned(), label.to_owned(), href == current));
    tabs("Operator", &parts)
}

/// The parts of `/readyz`, what each is, and what to do when it fails.
const PARTS: [(&str, &str, &str); 5] = [
    ("database", "Database", "See that the database runs and that its disk has room."),
    (
        "chain",
        "Chain",
        "See that the chain that the configuration names can be reached, and that blocks are made.",
    ),
    (
        "projection",
        "What is known of the chain",
        "It catches up by itself once the chain answers; look at the log if it does not.",
    ),
    (
        "member",
        "Membership",
        "The institution is not in force: the other members have to vote for it.",
    ),
    ("notifications", "Notifications", "Events could not be followed; look at the log."),
];

/// `GET /operator`: whether the gateway can do its work, part by part.
async fn overview(visitor: Visitor) -> Result<Response, Fault> {
    let home = visitor.portal.home();
    let health = home.health().await;
    let is_ready = health["ready"] == true;
    let rows: Vec<Vec<Markup>> = PARTS.iter().map(|part| part_row(&health, part)).collect();
    let head = health["chain"]["head"].as_u64();
    let age = health["chain"]["age_s"].as_u64();
    let behind =
        head.zip(health["projection"]["block"].as_u64()).map(|(head, at)| head.saturating_sub(at));
    let peers = &health["peers"];
    let number = |number: Option<u64>| number.map_or_else(|| "–".to_owned(), thousands);
    let institution = home.institution();
    let about = [
        (
            "Institution".to_owned(),
            html! { (institution.name) ", " (institution.role.to_string().replace('-', " ")) },
        ),
        ("Member address".to_owned(), code(&institution.member.to_string())),
        ("Chain".to_owned(), html! { (home.chain_id()) }),
    ];
    let content = html! {
        (ways("/operator"))
        @if is_ready {
            (notice(Tone::Good, "The gateway does its work", html! {}))
        } @else {
            (notice(Tone::Bad, "The gateway cannot do all of its work", html! { p { "Look at the parts that say so; beside each stands what to do." } }))
        }
        (grid(html! {
            (tile("/explorer", &number(head), "the newest block", Tone::Plain))
            (tile("/explorer", &age.map_or_else(|| "–".into(), |age| format!("{} s", thousands(age))), "its age", Tone::Plain))
            (tile("/operator", &number(behind), "blocks not yet taken in", if behind.unwrap_or(0) > 5 { Tone::Warning } else { Tone::Plain }))
            @if let Some(known) = peers["known"].as_u64() {
                @let reached = peers["reached"].as_u64().unwrap_or(0);
                (tile("/operator/figures", &format!("{reached} of {known}"), "other holders reached", if reached < known { Tone::Warning } else { Tone::Good }))
            }
        }))
        (table("Parts of the gateway", &["Part", "State", "What to do"], &rows))
        @if peers.is_null() { p { "Copies are not moved between this gateway and others: the configuration has no exchange." } }
        (card("Whose gateway this is", facts(&about)))
    };
    Ok(visitor.page("Operator", content))
}

fn part_row(health: &Value, (name, label, advice): &(&str, &str, &str)) -> Vec<Markup> {
    let part = &health[*name];
    let is_well = part["ok"] == true;
    vec![
        html! { (label) },
        html! {
            @if is_well { (badge(Tone::Good, "well")) } @else { (badge(Tone::Bad, "not well")) }
            @if let Some(problem) = part["problem"].as_str() { " " (problem) }
        },
        html! { @if is_well { "–" } @else { (advice) } },
    ]
}

/// `GET /operator/members`: the institutions, and what they vote on.
async fn members(visitor: Visitor) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let roll = Roll::new(node, deployment);
    let institutions = roll.institutions().await?;
    let proposals = roll.proposals().await?;
    let majority = roll.majority().await?;
    let mut named: Vec<Address> = institutions.keys().copied().collect();
    for proposal in &proposals {
        named.extend(&proposal.voters);
        if let What::Member { member, .. } = &proposal.what {
            named.push(*member);
        }
    }
    let people = People::of(&visitor, named).await;
    let now_s = visitor.portal.home().now_ms() / 1_000;
    let own = visitor.portal.home().institution().member;
    let rows: Vec<Vec<Markup>> = institutions
        .iter()
        .map(|(member, institution)| {
            vec![
                html! { (who(&people, *member)) @if *member == own { " " (badge(Tone::Plain, "this one")) } },
                html! { (institution.role) },
                html! { @if let Some(since) = institution.since { (times::stamp(since)) } },
                html! { @if institution.is_in_force { (badge(Tone::Good, "in force")) } @else { (badge(Tone::Bad, "expelled")) } },
            ]
        })
        .collect();
    let votes: Vec<Vec<Markup>> = proposals
        .iter()
        .map(|proposal| {
            vec![
                html! { (proposal.id) },
                html! {
                    @match &proposal.what {
                        What::Member { doing, member } => { (doing) ": " (who(&people, *member)) }
                        What::Directory(names) => { "Enter contracts in the directory: " (names.join(", ")) }
                        What::Unknown => { "something that this version does not know" }
                    }
                },
                html! { (proposal.votes) " of the " (majority) " that it takes" br; small {
                    @for (index, voter) in proposal.voters.iter().enumerate() { @if index > 0 { ", " } (people.name(*voter)) }
                } },
                html! {
                    @if proposal.is_executed { (badge(Tone::Good, "decided")) }
                    @else if proposal.deadline < now_s { (badge(Tone::Plain, "ran out")) }
                    @else { (badge(Tone::Warning, "open")) " until " (times::stamp(proposal.deadline)) }
                },
            ]
        })
        .collect();
    let open =
        proposals.iter().filter(|proposal| !proposal.is_executed && proposal.deadline >= now_s);
    let open = open.filter(|proposal| !proposal.voters.contains(&own)).count();
    let content = html! {
        (ways("/operator/members"))
        @if open > 0 {
            (notice(Tone::Warning, &format!("{open} to vote on"), html! {
                p { "Votes are signed with the institution’s own key: send " (code("vote(id)")) " to the Registry with a wallet that holds it." }
            }))
        }
        (table("Institutions of the network", &["Institution", "Role", "Since", "State"], &rows))
        @if votes.is_empty() {
            (empty("Nothing was ever voted on", "A new institution, a lost key or a new contract is put to the vote of all institutions; it stands here then.", None))
        } @else {
            (table("What was put to the vote, the newest first", &["Number", "What", "Votes", "State"], &votes))
        }
    };
    Ok(visitor.page("Members and votes", content))
}

/// `GET /operator/professionals`: whom the institution vouches for.
async fn professionals(visitor: Visitor) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let own = visitor.portal.home().institution().member;
    let (found, are_more) = Roll::new(node, deployment).professionals(own).await?;
    let people = People::of(&visitor, found.keys().copied()).await;
    let now_s = visitor.portal.home().now_ms() / 1_000;
    let soon = now_s + 30 * 86_400;
    let rows: Vec<Vec<Markup>> = found
        .iter()
        .map(|(member, professional)| {
            vec![
                who(&people, *member),
                html! { (professional.role) },
                html! { @if professional.until > 0 { (times::stamp(professional.until)) } },
                html! {
                    @if !professional.is_in_force { (badge(Tone::Bad, "not in force")) }
                    @else if professional.until < soon { (badge(Tone::Warning, "ends within 30 days")) }
                    @else { (badge(Tone::Good, "in force")) }
                },
            ]
        })
        .collect();
    let content = html! {
        (ways("/operator/professionals"))
        p { "The institution answers for these people. Somebody who leaves is to be taken out of force at once: what they may read ends with it." }
        @if rows.is_empty() {
            (empty("Nobody is accredited here", "The institution’s key accredits people by accredit(signer, role, until) at the Registry.", Some(("/explorer/contracts/Registry", "The Registry"))))
        } @else {
            (table("Professionals", &["Who", "Role", "Until", "State"], &rows))
        }
        @if are_more { p { "The latest " (PROFESSIONALS_MAX) " are shown. The Registry’s events have all." } }
    };
    Ok(visitor.page("Professionals", content))
}

/// `GET /operator/keys`: which key signs, which did before, and how others reach and seal for the institution.
async fn keys(visitor: Visitor) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let own = visitor.portal.home().institution().member;
    let roll = Roll::new(node, deployment);
    let signer = roll.signer(own).await?;
    let balance = node.balance(signer).await?;
    let rotations = roll.rotations(own).await?;
    let profile = roll.profile(own).await?;
    let now_ms = visitor.portal.home().now_ms();
    let rows: Vec<Vec<Markup>> = rotations
        .iter()
        .map(|rotation| {
            vec![
                html! { @if let Some(at) = rotation.at { (when(at, now_ms)) } },
                code(&rotation.old.to_string()),
                code(&rotation.new.to_string()),
            ]
        })
        .collect();
    let signing = [
        ("Member address, for life".to_owned(), code(&own.to_string())),
        (
            "Signs with".to_owned(),
            html! { (code(&signer.to_string())) @if signer == own { " (its first key)" } },
        ),
        ("It has".to_owned(), html! { (crate::pages::explorer::show::ether(balance)) }),
    ];
    let content = html! {
        (ways("/operator/keys"))
        @if balance.is_zero() {
            (notice(Tone::Plain, "The signing key has no ether", html! { p { "On a network whose gas is free that is as it should be. Elsewhere it can send nothing: give it some." } }))
        }
        (card("Signing", facts(&signing)))
        (card("Changes of the key", html! {
            @if rows.is_empty() { p { "The key was never changed. It can be changed while it is held: rotate(newSigner, deadline, signature) at the Registry, with a proof of the new key. A lost one is replaced by a vote of the other institutions." } }
            @else { (table("Changes of the signing key, the newest first", &["When", "From", "To"], &rows)) }
        }))
        (card("How others reach and seal for it", html! {
            @match &profile {
                Some(profile) => {
                    (facts(&[
                        ("Version".to_owned(), html! { (profile.version) }),
                        ("Entered".to_owned(), html! { @if let Some(at) = profile.at { (when(at, now_ms)) } }),
                        ("Endpoint".to_owned(), html! { @if profile.endpoint.is_empty() { "none" } @else { (code(&profile.endpoint)) } }),
                        ("Peer".to_owned(), html! { @if profile.peer.is_zero() { "none" } @else { (code(&profile.peer.to_string())) } }),
                        ("Sealing key".to_owned(), html! { (thousands(profile.sealing_key_bytes as u64)) " bytes" }),
                    ]))
                }
                None => {
                    (empty("No profile is entered", "Others cannot send copies here. The gateway enters it by itself when it begins with an [exchange] in its configuration.", None))
                }
            }
        }))
    };
    Ok(visitor.page("Keys", content))
}

/// `GET /operator/figures`: what `/metrics` says, in tables.
async fn measured(visitor: Visitor) -> Result<Response, Fault> {
    let home = visitor.portal.home();
    let text = home.figures().await;
    let (figures, routes) = (figures::figures(&text), figures::routes(&text));
    let rows: Vec<Vec<Markup>> = figures
        .iter()
        .flat_map(|figure| {
            figure.values.iter().map(|(label, value)| {
                vec![
                    html! { (figure.about) @if !label.is_empty() { " (" (label) ")" } },
                    html! { (number(*value)) },
                    code(&figure.name),
                ]
            })
        })
        .collect();
    let of_routes: Vec<Vec<Markup>> = routes
        .iter()
        .map(|route| {
            vec![
                html! { (route.method) },
                code(&route.route),
                html! { (number(route.count)) },
                html! { @if route.failed > 0.0 { (badge(Tone::Bad, &number(route.failed))) } @else { "0" } },
                html! { @if let Some(mean) = route.mean_ms { (format!("{mean:.1} ms")) } @else { "–" } },
            ]
        })
        .collect();
    let content = html! {
        (ways("/operator/figures"))
        p { "As they are now, since the gateway began. A monitoring system reads them from " (code("/metrics")) "." }
        @if rows.is_empty() && of_routes.is_empty() {
            (empty("There are no figures yet", "They begin with the first requests that the gateway answers. Load this page again.", None))
        }
        @if !rows.is_empty() { (table("Figures", &["What", "How many", "Name in /metrics"], &rows)) }
        @if !of_routes.is_empty() {
            (table("Requests, by route", &["Method", "Route", "Answered", "Failed", "Took on average"], &of_routes))
        }
    };
    Ok(visitor.page("Figures", content))
}

/// A figure without needless decimals.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && (0.0..1e15).contains(&value) {
        // Whole, and below 2^53: its digits are exact.
        thousands(format!("{value:.0}").parse::<u64>().unwrap_or_default())
    } else {
        format!("{value:.3}")
    }
}

/// `GET /operator/backup`: what a backup holds, and how one is made and tried.
async fn backup(visitor: Visitor) -> Result<Response, Fault> {
    let home = visitor.portal.home();
    let name = &home.institution().name;
    let is_demonstration = home.demonstration().is_some();
    let content = html! {
        (ways("/operator/backup"))
        (notice(Tone::Warning, "The gateway does not know of its backups", html! {
            p { "They are made by a command, beside the running gateway, into a file that is carried elsewhere. Whether the last one is recent is for the calendar of whoever makes them." }
        }))
        @if is_demonstration { p { "This is a demonstration: it has nothing that is worth a backup." } }
        (card("Make one", html! {
            pre tabindex="0" { code { "salus gateway --config gateway.toml backup --to FILE.tar.zst" } }
            p { "It holds the keys under their passphrase, the vault of " (name) " at one instant, and the digest of every file in it. It does not hold the passphrase, which has to be kept apart, and not the chain, which every member has." }
        }))
        (card("Try it", html! {
            pre tabindex="0" { code { "salus gateway --config gateway.toml restore --from FILE.tar.zst" } }
            p { "On another machine, where there is nothing yet. Then hold the vault against the chain: whatever is missing or altered is told." }
            pre tabindex="0" { code { "salus gateway --config gateway.toml reconcile" } }
        }))
    };
    Ok(visitor.page("Backup", content))
}
