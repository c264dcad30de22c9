//! A patient's beginning: what waits for them, who may read, who looked, and their records by kind.

use axum::response::Response;
use maud::html;

use super::{Entry, entry_row, records::href_of_kind};
use crate::{
    design::parts::{Tone, card, empty, grid, table, tile},
    fault::Fault,
    view,
    visitor::Visitor,
};

/// How many of those who looked lately are shown.
const LOOKS: usize = 5;

/// `GET /patient`.
pub(super) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let (words, client) = (visitor.words(), visitor.client()?);
    let proposed = client.api("/records?state=proposed").await?;
    let proposed = proposed["records"].as_array().map_or(0, Vec::len);
    let inbox = client.api("/inbox?limit=1").await?;
    let unread = inbox["unread"].as_u64().unwrap_or_default();
    let sharing = super::sharing::in_force(&visitor).await?.len();
    // A gateway that never had records of theirs has no such log either.
    let log = match client.api("/access-log?limit=50").await {
        Ok(log) => log,
        Err(Fault::NotFound) => serde_json::Value::Null,
        Err(fault) => return Err(fault),
    };
    let own = visitor.address()?;
    let entries: Vec<Entry> =
        log["entries"].as_array().into_iter().flatten().filter_map(Entry::of).collect();
    let others: Vec<_> = entries.iter().filter(|entry| entry.who != own).take(LOOKS).collect();
    let rows: Vec<_> = others.iter().map(|entry| entry_row(&visitor, entry)).collect();
    let tone = |count: u64| if count > 0 { Tone::Warning } else { Tone::Plain };
    let content = html! {
        (grid(html! {
            (tile("/patient/proposed", &proposed.to_string(), words.proposed_records, tone(proposed as u64)))
            (tile("/patient/inbox", &unread.to_string(), words.new_messages, tone(unread)))
            (tile("/patient/sharing", &sharing.to_string(), words.people_who_may, Tone::Plain))
        }))
        @if rows.is_empty() {
            (card(words.recent_looks, empty(words.no_looks, words.no_looks_text, None)))
        } @else {
            (table(words.recent_looks, &super::looked::headings(words), &rows))
            p { a href="/patient/looked" { (words.see_all) } }
        }
        (card(words.your_records, html! {
            ul class="links" {
                @for kind in view::SHOWN { li { a href=(href_of_kind(kind)) { ((words.kind)(kind)) } } }
            }
        }))
    };
    Ok(visitor.page(words.hello, content))
}
