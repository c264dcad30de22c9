//! Signing in as somebody of the demonstration, by picking them. No other gateway has this.

use alloy_primitives::Address;
use axum::response::Response;
use maud::{Markup, html};

use super::{count, enter, known};
use crate::{
    admit::Form,
    design::parts::{Tone, badge, card, csrf},
    fault::Fault,
    home::{Demonstration, Picked},
    visitor::{Visitor, go, own_path},
};

/// How many patients are shown; the others are found by name.
const SHOWN_MAX: usize = 12;

/// Who can be picked. Whoever a link names (`?as=`) is shown first.
pub(super) fn people(
    visitor: &Visitor,
    demonstration: &dyn Demonstration,
    next: &str,
    named: Option<&str>,
) -> Markup {
    let words = visitor.words();
    let mut people: Vec<Picked> =
        demonstration.people().into_iter().filter(|person| person.is_here).collect();
    let first = people.iter().position(|person| Some(&*person.name) == named);
    if let Some(first) = first {
        let person = people.remove(first);
        people.insert(0, person);
    }
    let more = people.len().saturating_sub(SHOWN_MAX);
    html! {
        (card(words.pick, html! {
            p { (words.pick_text) " " (badge(Tone::Warning, words.demonstration_only)) }
            form method="post" action="/sign-in/demonstration" {
                (csrf(visitor))
                input type="hidden" name="next" value=(next);
                ul class="people" {
                    @for person in people.iter().take(SHOWN_MAX) {
                        li {
                            button type="submit" name="who" value=(person.address) class="secondary" {
                                span class="who-name" { (person.name) }
                                span class="who-role" { (person.role) }
                            }
                        }
                    }
                }
            }
            @if more > 0 { p class="hint" { (more) " " (words.more_people) } }
        }))
    }
}

/// `POST /sign-in/demonstration`.
pub(super) async fn pick(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let demonstration = visitor.portal.home().demonstration().ok_or(Fault::NotFound)?;
    let who: Address = form.parse("who", "Person")?;
    if !demonstration.people().iter().any(|person| person.address == who) {
        return Err(Fault::NotFound);
    }
    count(&visitor, who)?;
    let reader = known(&visitor, who).await?;
    Ok(enter(&visitor, &reader, None, go(own_path(form.text("next")))))
}
