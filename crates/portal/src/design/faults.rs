//! What went wrong, on a page: what happened, and what to do.

use axum::response::Response;
use maud::html;

use super::parts::{Tone, notice};
use crate::{fault::Fault, visitor::Visitor};

/// A fault as a title and a text.
pub(crate) fn words(fault: &Fault) -> (&'static str, String) {
    match fault {
        Fault::SignedOut => (
            "You are signed out",
            "Your session is over, or you have no part in the network now. Sign in again.".into(),
        ),
        Fault::Refused(why) => ("You may not see this", sentence(why)),
        Fault::NotFound => (
            "There is nothing here",
            "It may have been moved or ended, or it is not for you to see.".into(),
        ),
        Fault::Unusable(why) => ("This was not understood", sentence(why)),
        Fault::NotAllowed(why) => ("This was not done", sentence(why)),
        Fault::TooOften(seconds) => (
            "Too many tries",
            format!("Wait {seconds} seconds, then try again."),
        ),
        Fault::Unavailable => (
            "The gateway cannot answer now",
            "Nothing was changed. Wait a moment, then try again; if it stays so, tell whoever runs this gateway."
                .into(),
        ),
    }
}

/// A reason as a sentence: the interfaces say theirs as fragments.
fn sentence(why: &str) -> String {
    let mut letters = why.chars();
    let Some(first) = letters.next() else { return String::new() };
    let text: String = first.to_uppercase().chain(letters).collect();
    if text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}

pub(crate) fn page(visitor: &Visitor, fault: &Fault) -> Response {
    let (title, text) = words(fault);
    let content = html! {
        (notice(Tone::Warning, &text, html! {}))
        p class="actions" {
            @if matches!(fault, Fault::SignedOut) {
                a class="button" href="/sign-in" { "Sign in" }
            } @else {
                a class="button" href="/" { "Back to the beginning" }
            }
        }
    };
    visitor.page_with(fault.status(), title, content)
}
