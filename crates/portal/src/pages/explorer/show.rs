//! What the explorer's pages are made of: calls, events, values, numbers, and the way between them.

use alloy_primitives::{Address, B256};
use maud::{Markup, html};

use super::{
    checks::Outcome,
    people::People,
    said::{Argument, Call, Event, Value},
};
use crate::{
    design::parts::{Tone, badge, code, facts, more, tabs},
    times,
};

/// How many values of a list are shown.
const LIST_MAX: usize = 50;

/// How many bytes are shown at once, and how many behind "all of it".
const BYTES_SHOWN: usize = 32;
const BYTES_MAX: usize = 4_096;

/// The explorer's parts, and the field to find something.
pub(crate) fn ways(current: &str) -> Markup {
    let parts = [
        ("/explorer", "Blocks"),
        ("/explorer/pending", "Before validation"),
        ("/explorer/contracts", "Contracts"),
        ("/explorer/gas", "Gas"),
    ];
    let parts = parts.map(|(href, label)| (href.to_owned(), label.to_owned(), href == current));
    html! {
        (tabs("Explorer", &parts))
        form method="get" action="/explorer/find" role="search" class="fields inline" {
            div class="field" {
                label for="f-q" { "Find a block, transaction or address" }
                input id="f-q" name="q" type="search" autocomplete="off" spellcheck="false";
            }
            p class="actions" { button type="submit" { "Find" } }
        }
    }
}

/// 1234567 as 1,234,567.
pub(crate) fn thousands(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// How long ago something was.
pub(crate) fn ago(then_s: u64, now_ms: u64) -> String {
    let seconds = (now_ms / 1_000).saturating_sub(then_s);
    match seconds {
        0..2 => "just now".into(),
        2..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A time, and how long ago that is.
pub(crate) fn when(then_s: u64, now_ms: u64) -> Markup {
    html! { (times::stamp(then_s)) " " small { "(" (ago(then_s, now_ms)) ")" } }
}

/// A link to a block.
pub(crate) fn block_link(number: u64) -> Markup {
    html! { a href={ "/explorer/blocks/" (number) } { (thousands(number)) } }
}

/// A link to a transaction, by the beginning of its hash.
pub(crate) fn transaction_link(hash: B256) -> Markup {
    let text = hash.to_string();
    html! { a href={ "/explorer/transactions/" (text) } title=(text) { code { (&text[..12]) "…" } } }
}

/// Somebody, or a contract: by name where one may be told.
pub(crate) fn who(people: &People, address: Address) -> Markup {
    let what = people.what(address);
    html! {
        a href={ "/explorer/addresses/" (address) } title=(address) { (people.name(address)) }
        @if let Some(what) = what.filter(|what| *what != "contract") { " " small { (what) } }
    }
}

/// How a check ended.
pub(crate) fn outcome(outcome: Outcome) -> Markup {
    match outcome {
        Outcome::Passes => badge(Tone::Good, "passes"),
        Outcome::Waits => badge(Tone::Warning, "waits"),
        Outcome::Unknown => badge(Tone::Plain, "not known"),
        Outcome::Fails => badge(Tone::Bad, "fails"),
    }
}

/// A call in one line.
pub(crate) fn call_line(people: &People, call: &Call) -> Markup {
    let only = match call.inner.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    html! {
        @match (only, call.to) {
            // What an account does is what its patient wants.
            (Some(only), _) => { (call_line(people, only)) " " small { "through a patient's account" } }
            (None, Some(to)) => {
                @if let Some(contract) = call.contract { (contract) ": " } @else { (people.name(to)) ": " }
                (call.function)
                @if !call.inner.is_empty() { " " small { (call.inner.len() + call.inner_left_out) " calls" } }
            }
            (None, None) => { (call.function) }
        }
    }
}

/// A call with its arguments, and the calls within it.
pub(crate) fn call(people: &People, said: &Call) -> Markup {
    html! {
        div class="call" {
            p class="call-head" {
                @if let Some(to) = said.to {
                    (who(people, to))
                    @if let Some(contract) = said.contract.filter(|_| people.what(to) != Some("contract")) { " (" (contract) ")" }
                    ": "
                }
                strong { (said.function) }
            }
            @if let Some(sentence) = &said.sentence { p { (sentence) } }
            (arguments(people, &said.arguments))
            @if !said.inner.is_empty() {
                p { "The account then calls, in this order and all or nothing:" }
                ol class="calls" { @for inner in &said.inner { li { (call(people, inner)) } } }
                @if said.inner_left_out > 0 { p { "And " (said.inner_left_out) " more." } }
            }
        }
    }
}

/// An event with its arguments.
pub(crate) fn event(people: &People, event: &Event) -> Markup {
    html! {
        div class="call" {
            p class="call-head" {
                @if let Some(contract) = event.contract { (contract) ": " } @else { (who(people, event.from)) ": " }
                strong { (event.name) }
            }
            @if let Some(sentence) = &event.sentence { p { (sentence) } }
            (arguments(people, &event.arguments))
        }
    }
}

/// Values with their names.
pub(crate) fn arguments(people: &People, arguments: &[Argument]) -> Markup {
    let rows: Vec<(String, Markup)> = arguments
        .iter()
        .map(|argument| {
            let name = if argument.name.is_empty() {
                "result"
            } else {
                argument.name.trim_start_matches('_')
            };
            (format!("{name} ({})", argument.kind), value(people, &argument.value))
        })
        .collect();
    html! { @if !rows.is_empty() { (facts(&rows)) } }
}

fn value(people: &People, shown: &Value) -> Markup {
    match shown {
        Value::Text(text) => html! { (text) },
        Value::Meant { stored, means } => html! { (means) " " small { code { (stored) } } },
        Value::Time(time) => times::stamp(time.0),
        Value::Address(address) if address.is_zero() => html! { "nobody" },
        Value::Address(address) => who(people, *address),
        Value::Bytes(text, size) => bytes(text, *size),
        Value::List(values) if values.is_empty() => html! { "none" },
        Value::List(values) => html! {
            ol { @for one in values.iter().take(LIST_MAX) { li { (value(people, one)) } } }
            @if values.len() > LIST_MAX { p { "And " (values.len() - LIST_MAX) " more." } }
        },
        Value::Fields(fields) => arguments(people, fields),
    }
}

/// Bytes in hexadecimal: whole when there are few of them.
pub(crate) fn bytes(text: &str, size: usize) -> Markup {
    if size <= BYTES_SHOWN {
        return code(text);
    }
    let (head, most) = (2 + 2 * BYTES_SHOWN, 2 + 2 * BYTES_MAX);
    html! {
        code { (&text[..head]) "…" } " " small { (thousands(size as u64)) " bytes" }
        (more("All of it", html! { (code(text.get(..most).unwrap_or(text))) @if text.len() > most { "…" } }))
    }
}

/// Wei as ether, to all its decimals that are not zeros.
pub(crate) fn ether(wei: alloy_primitives::U256) -> String {
    let digits = format!("{wei:0>19}");
    let (whole, rest) = digits.split_at(digits.len() - 18);
    let rest = rest.trim_end_matches('0');
    let whole = whole.parse::<u128>().map_or_else(|_| whole.to_owned(), thousands);
    if rest.is_empty() { format!("{whole} ETH") } else { format!("{whole}.{rest} ETH") }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;

    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(0_u64), "0");
        assert_eq!(thousands(999_u64), "999");
        assert_eq!(thousands(1_234_567_u64), "1,234,567");
        assert_eq!(ether(U256::from(1_u64)), "0.000000000000000001 ETH");
        assert_eq!(ether(U256::from(10).pow(U256::from(20))), "100 ETH");
        assert_eq!(ether(U256::ZERO), "0 ETH");
        assert_eq!(ago(1_000, 1_090_000), "90 s ago");
        assert_eq!(ago(2_000, 1_000_000), "just now");
    }
}
