//! What a contract announced, the newest first, in bounded ranges of blocks.

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Log;
use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    asked::Asked,
    chain,
    contracts::named,
    interfaces,
    node::{Node, NodeError},
    people::{self, People},
    said,
    show::{arguments, block_link, thousands, transaction_link, ways},
};
use crate::{
    design::parts::{Tone, card, empty, notice, pages, table},
    fault::Fault,
    times,
    visitor::Visitor,
};

/// How many blocks are looked through at once, unless a page asks for less.
pub(crate) const RANGE: u64 = 5_000;

/// The most blocks that are looked through at once.
pub(crate) const RANGE_MAX: u64 = 50_000;

/// Events on a page.
const EVENTS: usize = 50;

/// A range of blocks, both ends in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Range {
    /// The range that is asked for, cut to what there is and to what one page may look through. `is_cut` says that it
    /// was cut to the latter.
    pub(crate) fn of(from: Option<u64>, to: Option<u64>, head: u64) -> (Self, bool) {
        let to = to.unwrap_or(head).min(head);
        let asked = from.unwrap_or_else(|| to.saturating_sub(RANGE - 1)).min(to);
        let from = asked.max(to.saturating_sub(RANGE_MAX - 1));
        (Self { from, to }, from != asked)
    }

    /// As a filter has it.
    pub(crate) fn filter(self) -> Value {
        json!({ "fromBlock": format!("{:#x}", self.from), "toBlock": format!("{:#x}", self.to) })
    }
}

/// `GET /explorer/contracts/{name}/events?event=&from=&to=&skip=`.
pub(crate) async fn list(
    visitor: Visitor,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let interface = named(&name)?;
    let address = interfaces::address(interface, deployment).ok_or(Fault::NotFound)?;
    let event = asked.text("event");
    let topic = match event {
        "" => None,
        event => {
            let found = interface.abi.events().find(|known| known.name == event);
            Some(found.ok_or(Fault::NotFound)?.selector())
        }
    };
    let head = node.head().await?;
    let (from, to) = (asked.number("from", "from block")?, asked.number("to", "to block")?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Fault::Unusable(
            "the first block is after the last; go back and exchange them".into(),
        ));
    }
    let (range, is_cut) = Range::of(from, to, head);
    let logs = logs(node, address, topic, range).await?;
    let (logs, is_too_many) = match logs {
        Some(logs) => (logs, false),
        None => (Vec::new(), true),
    };
    let skip = asked.number("skip", "skip")?.unwrap_or(0);
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(logs.len());
    let shown: Vec<&Log> = logs.iter().rev().skip(skip).take(EVENTS).collect();
    let mut addresses = Vec::new();
    let events: Vec<said::Event> = shown
        .iter()
        .map(|log| {
            let event = said::event(deployment, &log.inner);
            people::of_event(&event, &mut addresses);
            event
        })
        .collect();
    let people = People::of(&visitor, addresses).await;
    let rows: Vec<Vec<Markup>> = shown
        .iter()
        .zip(&events)
        .map(|(log, event)| {
            vec![
                html! { (block_link(log.block_number.unwrap_or_default())) @if let Some(time) = log.block_timestamp { br; (times::stamp(time)) } },
                html! { strong { (event.name) } @if let Some(sentence) = &event.sentence { br; (sentence) } },
                arguments(&people, &event.arguments),
                html! { @if let Some(hash) = log.transaction_hash { (transaction_link(hash)) } },
            ]
        })
        .collect();
    let here = format!("/explorer/contracts/{}/events", interface.name);
    let query = |range: Range, skip: usize| {
        format!("{here}?event={event}&from={}&to={}&skip={skip}", range.from, range.to)
    };
    let newer = if skip > 0 {
        Some(query(range, skip.saturating_sub(EVENTS)))
    } else {
        (range.to < head).then(|| {
            let width = range.to - range.from;
            query(Range { from: range.to + 1, to: range.to.saturating_add(1 + width) }, 0)
        })
    };
    let older = if skip + shown.len() < logs.len() {
        Some(query(range, skip + EVENTS))
    } else {
        let before = range.from.checked_sub(1);
        before.map(|to| query(Range { from: to.saturating_sub(range.to - range.from), to }, 0))
    };
    let names = interface.abi.events().map(|event| (event.name.clone(), event.name.clone()));
    let mut names: Vec<(String, String)> = names.collect();
    names.insert(0, (String::new(), "all".into()));
    let content = html! {
        (ways("/explorer/contracts"))
        (card("", html! {
            form method="get" class="fields inline" {
                (crate::design::parts::select("event", "Event", &names, event))
                (number("from", "From block", range.from))
                (number("to", "To block", range.to))
                p class="actions" { button type="submit" { "Show" } }
            }
        }))
        @if is_cut {
            (notice(Tone::Warning, "Not the whole range was looked through", html! {
                p { "A page looks through " (thousands(RANGE_MAX)) " blocks at most. Go on with “Older”." }
            }))
        }
        @if is_too_many {
            (notice(Tone::Warning, "Too many events in this range", html! { p { "Ask for fewer blocks, or for one kind of event." } }))
        } @else if rows.is_empty() {
            (empty("Nothing was announced in these blocks", "Look at other blocks with “Older”, or at all events.", None))
        } @else {
            (table(
                &format!("{} events of blocks {} to {}, the newest first", thousands(logs.len() as u64), thousands(range.from), thousands(range.to)),
                &["Block", "Event", "Of what", "Transaction"],
                &rows,
            ))
        }
        (pages(newer.as_deref().map(|href| (href, "Newer")), older.as_deref().map(|href| (href, "Older"))))
        p { a href={ "/explorer/contracts/" (interface.name) } { "Back to " (interface.name) } }
    };
    Ok(visitor.page(&format!("Events of {}", interface.name), content))
}

fn number(name: &str, label: &str, value: u64) -> Markup {
    let id = format!("f-{name}");
    html! {
        div class="field" {
            label for=(id) { (label) }
            input id=(id) name=(name) type="number" min="0" value=(value);
        }
    }
}

/// What a contract announced in a range; `None` when it is more than the chain gives at once.
async fn logs(
    node: Node<'_>,
    address: Address,
    topic: Option<B256>,
    range: Range,
) -> Result<Option<Vec<Log>>, Fault> {
    let mut filter = range.filter();
    filter["address"] = json!(address);
    if let Some(topic) = topic {
        filter["topics"] = json!([topic]);
    }
    match node.logs(filter).await {
        Ok(logs) => Ok(Some(logs)),
        // Its code for "more than a limit", here and at most public endpoints.
        Err(NodeError::Refused { code: -32_005, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_bounded() {
        let range = |from, to| Range { from, to };
        assert_eq!(Range::of(None, None, 10), (range(0, 10), false));
        assert_eq!(Range::of(None, None, 20_000), (range(15_001, 20_000), false));
        assert_eq!(Range::of(Some(0), None, 200_000), (range(150_001, 200_000), true));
        assert_eq!(Range::of(Some(7), Some(u64::MAX), 9), (range(7, 9), false));
        assert_eq!(Range::of(Some(u64::MAX), Some(5), 9), (range(5, 5), false));
    }
}
