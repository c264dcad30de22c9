//! The parts that pages are made of. Whatever they are given as text is escaped when it is shown.

use alloy_primitives::Address;
use maud::{Markup, html};

use crate::visitor::Visitor;

/// What something means for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// The session's token, which every form that does something carries.
pub(crate) fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf()); }
}

/// A form that does something.
pub(crate) fn form(visitor: &Visitor, action: &str, fields: Markup) -> Markup {
    html! { form method="post" action=(action) class="fields" { (csrf(visitor)) (fields) } }
}

/// A button that does one thing by itself, with hidden fields that say to what.
pub(crate) fn act(
    visitor: &Visitor,
    action: &str,
    hidden: &[(&str, &str)],
    label: &str,
    is_danger: bool,
) -> Markup {
    html! {
        form method="post" action=(action) class="act" {
            (csrf(visitor))
            @for (name, value) in hidden { input type="hidden" name=(name) value=(value); }
            button type="submit" class=[is_danger.then_some("danger")] { (label) }
        }
    }
}

/// The button at the end of a form.
pub(crate) fn submit(label: &str) -> Markup {
    html! { p class="actions" { button type="submit" { (label) } } }
}

/// A labelled field of one line. `kind` is HTML's `type`.
pub(crate) fn field(name: &str, label: &str, kind: &str, value: &str, hint: &str) -> Markup {
    let id = format!("f-{name}");
    let described = (!hint.is_empty()).then(|| format!("{id}-hint"));
    html! {
        div class="field" {
            label for=(id) { (label) }
            @if let Some(described) = &described { p class="hint" id=(described) { (hint) } }
            input id=(id) name=(name) type=(kind) value=(value) aria-describedby=[described.as_ref()] required[kind != "search"];
        }
    }
}

/// A labelled field that may stay empty.
pub(crate) fn optional(name: &str, label: &str, kind: &str, value: &str, hint: &str) -> Markup {
    let id = format!("f-{name}");
    let described = (!hint.is_empty()).then(|| format!("{id}-hint"));
    html! {
        div class="field" {
            label for=(id) { (label) }
            @if let Some(described) = &described { p class="hint" id=(described) { (hint) } }
            input id=(id) name=(name) type=(kind) value=(value) aria-describedby=[described.as_ref()];
        }
    }
}

/// One of several, as a list that opens: values with their labels.
pub(crate) fn select(
    name: &str,
    label: &str,
    options: &[(String, String)],
    chosen: &str,
) -> Markup {
    let id = format!("f-{name}");
    html! {
        div class="field" {
            label for=(id) { (label) }
            select id=(id) name=(name) {
                @for (value, label) in options {
                    option value=(value) selected[value == chosen] { (label) }
                }
            }
        }
    }
}

/// Boxes to tick: values, labels, whether ticked.
pub(crate) fn boxes(name: &str, legend: &str, options: &[(String, String, bool)]) -> Markup {
    html! {
        fieldset {
            legend { (legend) }
            div class="choices" {
                @for (value, label, is_ticked) in options {
                    label class="choice" {
                        input type="checkbox" name=(name) value=(value) checked[*is_ticked];
                        span { (label) }
                    }
                }
            }
        }
    }
}

/// Something that stands by itself, with a heading.
pub(crate) fn card(title: &str, content: Markup) -> Markup {
    html! { section class="card" { @if !title.is_empty() { h2 { (title) } } (content) } }
}

/// A card that leads somewhere: a number or a word, and what it is.
pub(crate) fn tile(href: &str, figure: &str, label: &str, tone: Tone) -> Markup {
    html! {
        a class={ "tile " (tone.class()) } href=(href) {
            span class="figure" { (figure) }
            span class="label" { (label) }
        }
    }
}

/// Cards or tiles beside each other, where there is room.
pub(crate) fn grid(items: Markup) -> Markup {
    html! { div class="grid" { (items) } }
}

/// A short word about how something stands.
pub(crate) fn badge(tone: Tone, text: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (text) } }
}

/// Something to be noticed.
pub(crate) fn notice(tone: Tone, title: &str, content: Markup) -> Markup {
    html! { div class={ "notice " (tone.class()) } { p class="notice-title" { (title) } (content) } }
}

/// That there is nothing, why, and what to do.
pub(crate) fn empty(title: &str, text: &str, action: Option<(&str, &str)>) -> Markup {
    html! {
        div class="empty" {
            p class="empty-title" { (title) }
            p { (text) }
            @if let Some((href, label)) = action { p class="actions" { a class="button" href=(href) { (label) } } }
        }
    }
}

/// Rows under headings. On a telephone each row is a card, and each cell says its heading.
pub(crate) fn table(caption: &str, headings: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div class="table" {
            table {
                caption { (caption) }
                thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (cell, heading) in row.iter().zip(headings) {
                                td data-label=(heading) { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What is known of something: a name and what it is.
pub(crate) fn facts(facts: &[(String, Markup)]) -> Markup {
    html! {
        dl class="facts" {
            @for (name, value) in facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// What is only for whoever wants to know more.
pub(crate) fn more(summary: &str, content: Markup) -> Markup {
    html! { details { summary { (summary) } (content) } }
}

/// Links to parts of the same thing: address, label, whether it is the one that is shown.
pub(crate) fn tabs(label: &str, tabs: &[(String, String, bool)]) -> Markup {
    html! {
        nav class="tabs" aria-label=(label) {
            ul {
                @for (href, label, is_current) in tabs {
                    li { a href=(href) aria-current=[is_current.then_some("page")] { (label) } }
                }
            }
        }
    }
}

/// The way to what is older or newer.
pub(crate) fn pages(previous: Option<(&str, &str)>, next: Option<(&str, &str)>) -> Markup {
    html! {
        @if previous.is_some() || next.is_some() {
            nav class="pages" aria-label="Pages" {
                @if let Some((href, label)) = previous { a class="button secondary" rel="prev" href=(href) { (label) } }
                @if let Some((href, label)) = next { a class="button secondary" rel="next" href=(href) { (label) } }
            }
        }
    }
}

/// An address, digest or number as it stands: for those who compare them.
pub(crate) fn code(text: &str) -> Markup {
    html! { code { (text) } }
}

/// Somebody: what they are called, and their address behind it for those who compare.
pub(crate) fn person(visitor: &Visitor, address: Address) -> Markup {
    html! { span class="person" title=(address) { (visitor.name(address)) } }
}
