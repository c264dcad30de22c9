//! Asks a contract something: a form with a field for each argument, checked by its type, and the answer in words.

use alloy_dyn_abi::{DynSolType, DynSolValue, JsonAbiExt as _, Specifier as _};
use alloy_json_abi::{Function, Param};
use alloy_primitives::{Address, B256, Selector, U256, hex};
use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use serde_json::json;

use super::{
    asked::Asked,
    chain,
    contracts::named,
    interfaces,
    node::NodeError,
    people::{self, People},
    said::{self, kind_of},
    show::{arguments, ways},
    transactions::why,
};
use crate::{
    design::parts::{Tone, card, notice},
    fault::Fault,
    times,
    visitor::Visitor,
};

/// The longest argument that is taken, in bytes.
const ARGUMENT_BYTES_MAX: usize = 4_096;

/// The most gas that an answer may take: a page is no way to keep a node busy.
const GAS_MAX: u64 = 10_000_000;

/// The longest answer that is put into words, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// `GET /explorer/contracts/{name}/read/{selector}`: a form, and the answer to what it sent.
pub(crate) async fn one(
    visitor: Visitor,
    Path((name, selector)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, Fault> {
    let (node, deployment) = chain(&visitor)?;
    let interface = named(&name)?;
    let selector: Selector = selector.parse().map_err(|_| Fault::NotFound)?;
    let function = interface.readers().find(|function| function.selector() == selector);
    let function = function.ok_or(Fault::NotFound)?;
    let fixed = interfaces::address(interface, deployment);
    let at = asked.text("at");
    let (address, at_problem) = match fixed {
        Some(address) => (Some(address), None),
        None if at.is_empty() => (None, None),
        None => match at.parse::<Address>() {
            Ok(address) => (Some(address), None),
            Err(_) => (None, Some("an address: 0x and 40 hexadecimal digits")),
        },
    };
    // A function of nothing answers at once; else the form was sent when it has all its fields.
    let was_sent = (0..function.inputs.len()).all(|index| asked.has(&field_name(index)))
        && (fixed.is_some() || !at.is_empty());
    let parsed: Vec<Result<DynSolValue, String>> = function
        .inputs
        .iter()
        .enumerate()
        .map(|(index, param)| parse(param, asked.text(&field_name(index))))
        .collect();
    let problems: Vec<Option<&str>> = parsed
        .iter()
        .map(|value| value.as_ref().err().map(String::as_str).filter(|_| was_sent))
        .collect();
    let values: Option<Vec<DynSolValue>> =
        parsed.iter().map(|value| value.as_ref().ok().cloned()).collect();
    let answer = match (was_sent, address, values) {
        (true, Some(address), Some(values)) => {
            let input = function.abi_encode_input(&values).map_err(|_| {
                Fault::Unusable(
                    "these values do not fit the function; go back and look at each".into(),
                )
            })?;
            let call = json!({ "to": address, "input": hex::encode_prefixed(&input), "gas": U256::from(GAS_MAX) });
            Some(match node.call(call, "latest").await {
                Ok(data) if data.len() > ANSWER_BYTES_MAX => notice(
                    Tone::Warning,
                    "The answer is too long for a page",
                    html! {
                        p { "Ask for less, or ask the chain's own interface." }
                    },
                ),
                Ok(data) => match said::outputs(interface, function, &data) {
                    Some(outputs) => {
                        let mut addresses = Vec::new();
                        people::of_arguments(&outputs, &mut addresses);
                        let people = People::of(&visitor, addresses).await;
                        card(
                            "Answer",
                            html! { div class="answer" role="status" {
                                @if outputs.is_empty() { p { "Nothing: the function gives nothing back." } }
                                @else { (arguments(&people, &outputs)) }
                            } },
                        )
                    }
                    None => notice(
                        Tone::Bad,
                        "The answer cannot be read",
                        html! {
                            p { "There is no such contract at this address on this chain, or another version of it." }
                        },
                    ),
                },
                Err(NodeError::Refused { data: Some(data), .. }) => notice(
                    Tone::Warning,
                    "The contract does not answer this",
                    html! { p { (why(deployment, Some(address), &input, &data)) } },
                ),
                Err(error) => return Err(error.into()),
            })
        }
        _ => None,
    };
    let content = html! {
        (ways("/explorer/contracts"))
        p { @if let Some(sentence) = interface.function_sentence(&function.name) { (sentence) } @else { "Reads, and changes nothing." } }
        @if was_sent && (at_problem.is_some() || problems.iter().any(Option::is_some)) {
            div role="alert" { (notice(Tone::Bad, "Not every field was understood", html! { p { "Look at the fields that say what they need, then ask again." } })) }
        }
        @if fixed.is_none() || !function.inputs.is_empty() {
            form method="get" class="fields" {
                @if fixed.is_none() { (typed("at", "account (address)", at, "0x and 40 hexadecimal digits", at_problem)) }
                @for (index, param) in function.inputs.iter().enumerate() {
                    @let name = field_name(index);
                    @let label = label(param, index);
                    (typed(&name, &label, asked.text(&name), &hint(param), problems[index]))
                }
                p class="actions" { button type="submit" { "Ask" } }
            }
        }
        @if let Some(answer) = answer { (answer) }
        p class="actions" { a class="button secondary" href={ "/explorer/contracts/" (interface.name) } { "Back to " (interface.name) } }
    };
    Ok(visitor.page(&format!("{}: {}", interface.name, signature(function)), content))
}

fn field_name(index: usize) -> String {
    format!("a{index}")
}

fn signature(function: &Function) -> String {
    let names: Vec<&str> = function.inputs.iter().map(|input| input.name.as_str()).collect();
    format!("{}({})", function.name, names.join(", "))
}

fn label(param: &Param, index: usize) -> String {
    let kind = kind_of(param);
    if param.name.is_empty() {
        format!("value {} ({kind})", index + 1)
    } else {
        format!("{} ({kind})", param.name)
    }
}

fn typed(name: &str, label: &str, value: &str, hint: &str, problem: Option<&str>) -> Markup {
    let id = format!("f-{name}");
    let described = format!("{id}-hint");
    html! {
        div class="field" {
            label for=(id) { (label) }
            p class="hint" id=(described) {
                @if let Some(problem) = problem { strong { "It needs " (problem) "." } } @else { (hint) }
            }
            input id=(id) name=(name) value=(value) aria-describedby=(described) aria-invalid=[problem.map(|_| "true")]
                autocomplete="off" spellcheck="false" maxlength=(ARGUMENT_BYTES_MAX);
        }
    }
}

/// What a field wants, in words.
fn hint(param: &Param) -> String {
    match param.ty.as_str() {
        "address" => "0x and 40 hexadecimal digits".into(),
        "bool" => "yes or no".into(),
        "string" => "a text".into(),
        "bytes" => "0x and hexadecimal digits, two for each byte".into(),
        "bytes32" => "0x and 64 hexadecimal digits, or a short text in “quotes”".into(),
        "uint40" => "a time: 2026-11-24, 2026-11-24T08:00:00Z, or seconds since 1970".into(),
        kind if kind.ends_with(']') => {
            format!("a list of {}: [a, b, c]", kind.trim_end_matches("[]"))
        }
        kind if kind.starts_with("tuple") => "its parts in order: (a, b, c)".into(),
        kind if kind.starts_with("uint") => "a whole number".into(),
        kind if kind.starts_with("int") => {
            "a whole number, with a minus if it is below zero".into()
        }
        kind if kind.starts_with("bytes") => {
            format!("0x and {} hexadecimal digits", 2 * kind[5..].parse::<usize>().unwrap_or(32))
        }
        kind => format!("a value of type {kind}"),
    }
}

/// Reads an argument by its type.
///
/// # Errors
///
/// What the field needs, in words.
fn parse(param: &Param, text: &str) -> Result<DynSolValue, String> {
    let needs = || hint(param);
    if text.len() > ARGUMENT_BYTES_MAX {
        return Err(format!("at most {ARGUMENT_BYTES_MAX} bytes"));
    }
    let kind = param.resolve().map_err(|_| needs())?;
    match kind {
        DynSolType::String => return Ok(DynSolValue::String(text.to_owned())),
        DynSolType::Bool => {
            return match text.to_ascii_lowercase().as_str() {
                "yes" | "true" => Ok(DynSolValue::Bool(true)),
                "no" | "false" => Ok(DynSolValue::Bool(false)),
                _ => Err(needs()),
            };
        }
        DynSolType::Uint(bits) => {
            let number = match time(text).filter(|_| bits == 40) {
                Some(time) => U256::from(time),
                None => number(text).ok_or_else(needs)?,
            };
            if number.bit_len() > bits {
                return Err(format!("a number below 2 to the {bits}"));
            }
            return Ok(DynSolValue::Uint(number, bits));
        }
        DynSolType::FixedBytes(32) => {
            if let Some(short) = quoted(text) {
                let mut word = B256::ZERO;
                let place = word
                    .get_mut(..short.len())
                    .ok_or_else(|| "a text of at most 32 bytes".to_owned())?;
                place.copy_from_slice(short.as_bytes());
                return Ok(DynSolValue::FixedBytes(word, 32));
            }
        }
        _ => {}
    }
    if text.is_empty() {
        return Err(needs());
    }
    kind.coerce_str(text).map_err(|_| needs())
}

/// A number in decimal or in hexadecimal: nothing else is one here.
fn number(text: &str) -> Option<U256> {
    let plain = text.replace([',', '_'], "");
    match plain.strip_prefix("0x") {
        Some(digits) if !digits.is_empty() => U256::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit()) => None,
        None => U256::from_str_radix(&plain, 10).ok(),
    }
}

fn time(text: &str) -> Option<u64> {
    times::of_day(text).or_else(|| times::parse(text))
}

fn quoted(text: &str) -> Option<&str> {
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    plain.or_else(|| text.strip_prefix('“').and_then(|rest| rest.strip_suffix('”')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(kind: &str) -> Param {
        Param { ty: kind.into(), name: "x".into(), components: Vec::new(), internal_type: None }
    }

    #[track_caller]
    fn check(kind: &str, text: &str, expected: Option<DynSolValue>) {
        assert_eq!(parse(&param(kind), text).ok(), expected, "{kind} {text:?}");
    }

    #[test]
    fn arguments_are_read_by_their_types() {
        let uint = |number: u64, bits| Some(DynSolValue::Uint(U256::from(number), bits));
        check("uint256", "1,200", uint(1_200, 256));
        check("uint8", "0x10", uint(16, 8));
        check("uint8", "256", None);
        check("uint8", "-1", None);
        check("uint8", "1e2", None);
        check("uint8", "1 ether", None);
        check("uint8", "", None);
        check("uint40", "2026-11-24", uint(1_795_478_400, 40));
        check("uint40", "7", uint(7, 40));
        check("bool", "Yes", Some(DynSolValue::Bool(true)));
        check("bool", "1", None);
        check("string", "", Some(DynSolValue::String(String::new())));
        check("address", "0x01", None);
        let address = Address::repeat_byte(0xab);
        check("address", &address.to_string(), Some(DynSolValue::Address(address)));
        check("bytes32", "\"Consents\"", {
            let mut word = B256::ZERO;
            word[..8].copy_from_slice(b"Consents");
            Some(DynSolValue::FixedBytes(word, 32))
        });
        check("bytes32", "\"a text that is longer than one word is\"", None);
        check("bytes32", "0x12", None);
        check(
            "uint8[]",
            "[1, 2]",
            Some(DynSolValue::Array(vec![
                DynSolValue::Uint(U256::from(1), 8),
                DynSolValue::Uint(U256::from(2), 8),
            ])),
        );
        check("uint8[]", "[1, 300]", None);
        check("bytes", "0xzz", None);
    }

    #[test]
    fn whatever_is_typed_in_is_answered() {
        let nested = "[".repeat(4_000);
        let long = "9".repeat(5_000);
        for kind in
            ["uint256", "uint8[][]", "bytes", "address[]", "int64", "bytes4", "bool", "uint40"]
        {
            for text in
                ["'", "\0", "[[[[", "((((", "]", "1e999999999", "0x", "“", "é", &nested, &long]
            {
                let _ = parse(&param(kind), text);
            }
        }
    }

    #[test]
    fn every_reader_of_every_contract_has_a_form() {
        for interface in interfaces::all() {
            for function in interface.readers() {
                for param in &function.inputs {
                    assert!(param.resolve().is_ok(), "{}.{}", interface.name, function.name);
                    assert!(!hint(param).is_empty());
                }
            }
        }
    }
}
