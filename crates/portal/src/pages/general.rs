//! What everybody has: the beginning, the way out, how pages look.

use axum::{
    http::{HeaderValue, header},
    response::Response,
    routing::{get, post},
};
use domain::{ProfessionalRole as Role, Reader};
use maud::html;

use crate::{
    admit::Form,
    design::parts::{act, card, facts},
    fault::Fault,
    look::{Language, Look, Theme},
    routes::{Audience, Route},
    session::SessionId,
    times,
    visitor::{Visitor, go, own_path},
};

pub(crate) fn routes() -> Vec<Route> {
    use Audience::{Everyone, SignedIn};
    vec![
        Route::get("/", Everyone, get(beginning)),
        Route::get("/account", SignedIn, get(account)),
        Route::post("/look", Everyone, post(set_look)),
        Route::post("/sign-out", SignedIn, post(sign_out)),
        Route::post("/sign-out/everywhere", SignedIn, post(sign_out_everywhere)),
    ]
}

/// `GET /`: to where somebody works, or what this is.
async fn beginning(visitor: Visitor) -> Response {
    let home = match &visitor.reader {
        Some(Reader::Patient { .. }) => "/patient",
        Some(Reader::Professional { role, .. }) => match role {
            Role::Physician | Role::Surgeon | Role::Nurse | Role::Paramedic => "/clinician",
            // Their work is done over `/api/steps`; there are no pages for it here.
            _ => "/account",
        },
        Some(Reader::Institution { .. }) => "/operator",
        None => {
            let words = visitor.words();
            let content = html! {
                p class="lead" { (words.beginning) }
                p class="actions" { a class="button" href="/sign-in" { (words.sign_in) } }
            };
            return visitor.page(words.beginning_title, content);
        }
    };
    go(home)
}

/// `GET /account`: who is signed in, since when, and the way out everywhere.
async fn account(visitor: Visitor) -> Result<Response, Fault> {
    let (words, address) = (visitor.words(), visitor.address()?);
    let session = visitor.session.as_ref().ok_or(Fault::SignedOut)?;
    let portal = &visitor.portal;
    let count = portal.sessions().count(address, portal.home().now_ms());
    let about = [
        (words.name.to_owned(), html! { (visitor.name(address)) }),
        (words.account.to_owned(), html! { code { (address) } }),
        (words.signed_in_since.to_owned(), times::stamp(session.began_ms / 1_000)),
        (words.signed_in_places.to_owned(), html! { (count) }),
    ];
    let content = html! {
        (card("", facts(&about)))
        (card(words.passkeys, html! {
            p { (words.passkeys_text) }
            @if visitor.patient().is_ok() {
                p class="actions" {
                    a class="button" href="/account/passkey" { (words.new_passkey) }
                    a class="button" href="/patient/sealed" { (words.own_key) }
                }
            }
        }))
        (card(words.sign_out_everywhere, html! {
            p { (words.sign_out_everywhere_text) }
            (act(&visitor, "/sign-out/everywhere", &[], words.sign_out_everywhere, true))
        }))
    };
    Ok(visitor.page(words.your_account, content))
}

/// `POST /look`.
async fn set_look(visitor: Visitor, form: Form) -> Response {
    let mut look: Look = visitor.look;
    match form.text("look") {
        "en" => look.language = Language::English,
        "ga" => look.language = Language::Irish,
        "light" => look.theme = Theme::Light,
        "dark" => look.theme = Theme::Dark,
        "large" => look.is_large = true,
        "normal" => look.is_large = false,
        _ => {}
    }
    let mut response = go(own_path(form.text("back")));
    set_cookie(&mut response, &look.set_cookie());
    response
}

/// `POST /sign-out`.
async fn sign_out(visitor: Visitor) -> Response {
    if let Some(session) = &visitor.session {
        visitor.portal.sessions().end(&session.id);
    }
    left()
}

/// `POST /sign-out/everywhere`.
async fn sign_out_everywhere(visitor: Visitor) -> Result<Response, Fault> {
    visitor.portal.sessions().end_all(visitor.address()?);
    Ok(left())
}

fn left() -> Response {
    let mut response = go("/");
    set_cookie(&mut response, &SessionId::unset_cookie());
    response
}

/// Adds a cookie to an answer.
pub(crate) fn set_cookie(response: &mut Response, cookie: &str) {
    let cookie = HeaderValue::try_from(cookie).expect("a cookie of ours is ASCII");
    response.headers_mut().append(header::SET_COOKIE, cookie);
}
