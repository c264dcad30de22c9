//! Signing in: by passkey, by wallet, and in the demonstration by picking somebody.
//!
//! Whichever way, the answer is an address, and the registry is asked who that is now; nobody gets a session whom it
//! does not know. A challenge is made here, belongs to one session, lasts five minutes and serves once.

mod demonstration;
mod passkey;
mod signer;
mod wallet;

pub(crate) use passkey::rp_id;
pub(crate) use signer::signer_of;

use alloy_primitives::{Address, Bytes};
use axum::{
    Json,
    http::Uri,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use domain::Reader;
use maud::html;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    design::parts::{Tone, card, notice},
    fault::Fault,
    pages::set_cookie,
    rate::Buckets,
    routes::{Audience, Route},
    session::SessionId,
    visitor::{Visitor, own_path},
};

/// How long somebody has to answer a challenge.
const CHALLENGE_MS: u64 = 5 * 60 * 1_000;

/// How often somebody may try to sign in as the same: eight times, and again once in half a minute.
pub(crate) fn buckets() -> Buckets {
    Buckets::new(8, 30_000)
}

/// What somebody who signs in has to answer.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    made_ms: u64,
    asks: Asks,
}

#[derive(Clone, Debug)]
enum Asks {
    /// A signature of this message by this wallet.
    Wallet { address: Address, message: String },
    /// A passkey's assertion over these bytes.
    Passkey([u8; 32]),
}

pub(crate) fn routes() -> Vec<Route> {
    use Audience::Everyone;
    vec![
        Route::get("/sign-in", Everyone, get(page)),
        Route::post("/sign-in/demonstration", Everyone, post(demonstration::pick)),
        Route::post("/sign-in/wallet/challenge", Everyone, post(wallet::challenge)),
        Route::post("/sign-in/wallet/answer", Everyone, post(wallet::answer)),
        Route::post("/sign-in/passkey/challenge", Everyone, post(passkey::challenge)),
        Route::post("/sign-in/passkey/answer", Everyone, post(passkey::answer)),
    ]
}

/// `GET /sign-in`.
async fn page(mut visitor: Visitor, uri: Uri) -> Response {
    let words = visitor.words();
    let parameter = |name: &str| {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let next = own_path(&parameter("next").unwrap_or_default()).to_owned();
    let mut cookie = None;
    if visitor.session.is_none() {
        // Challenges belong to a session, so there is one before anybody is in it.
        let id = begin(&visitor, None);
        cookie = Some(id.set_cookie());
        visitor.session = visitor.portal.sessions().of(&id);
    }
    let content = html! {
        @if let Some(reader) = &visitor.reader {
            (notice(Tone::Plain, words.already_signed_in, html! {
                p { (visitor.name(reader.address())) " " a href=(next) { (words.go_on) } }
            }))
        }
        @if let Some(demonstration) = visitor.portal.home().demonstration() {
            (demonstration::people(&visitor, demonstration, &next, parameter("as").as_deref()))
        }
        (card(words.with_passkey, html! {
            p { (words.with_passkey_text) }
            div data-passkey-sign-in data-next=(next) hidden {
                p class="actions" { button type="button" { (words.with_passkey) } }
            }
            noscript { p class="hint" { (words.needs_script) } }
        }))
        (card(words.with_wallet, html! {
            p { (words.with_wallet_text) }
            div data-wallet-sign-in data-next=(next) data-label=(words.with_wallet) hidden {}
            noscript { p class="hint" { (words.needs_script) } }
        }))
    };
    let mut response = visitor.page(words.sign_in, content);
    if let Some(cookie) = cookie {
        set_cookie(&mut response, &cookie);
    }
    response
}

/// Begins a session in the visitor's browser.
fn begin(visitor: &Visitor, who: Option<Address>) -> SessionId {
    let portal = &visitor.portal;
    let home = portal.home();
    portal.sessions().begin(|| home.random(), who, &visitor.browser, home.now_ms())
}

/// Counts a try to sign in as somebody.
fn count(visitor: &Visitor, who: Address) -> Result<(), Fault> {
    let portal = &visitor.portal;
    let tried = portal.0.sign_ins.lock().take(who.as_slice(), portal.home().now_ms());
    tried.map_err(Fault::TooOften)
}

/// Keeps a challenge for the visitor's session.
fn ask(visitor: &Visitor, asks: Asks) -> Result<(), Fault> {
    let session = visitor.session.as_ref().ok_or(Fault::SignedOut)?;
    let made_ms = visitor.portal.home().now_ms();
    visitor.portal.sessions().set_challenge(&session.id, Challenge { made_ms, asks });
    Ok(())
}

/// The challenge of the visitor's session, which serves once and for a while.
fn asked(visitor: &Visitor) -> Result<Asks, Fault> {
    let session = visitor.session.as_ref().ok_or(Fault::SignedOut)?;
    let over = || Fault::Unusable("this took too long or was answered already; begin again".into());
    let challenge = visitor.portal.sessions().take_challenge(&session.id).ok_or_else(over)?;
    let now_ms = visitor.portal.home().now_ms();
    if now_ms.saturating_sub(challenge.made_ms) > CHALLENGE_MS {
        return Err(over());
    }
    Ok(challenge.asks)
}

/// Who an address is now, if anybody.
async fn known(visitor: &Visitor, address: Address) -> Result<Reader, Fault> {
    let nobody = || Fault::Refused("whoever this is has no part in the network here now".into());
    visitor.portal.home().who(address).await?.ok_or_else(nobody)
}

/// A new session for somebody; the one before ends. `signer` is what they signed in by.
fn enter(
    visitor: &Visitor,
    who: &Reader,
    signer: Option<Bytes>,
    mut response: Response,
) -> Response {
    let sessions = visitor.portal.sessions();
    if let Some(session) = &visitor.session {
        sessions.end(&session.id);
    }
    let id = begin(visitor, Some(who.address()));
    if let Some(signer) = signer {
        sessions.set_signer(&id, signer);
    }
    set_cookie(&mut response, &id.set_cookie());
    response
}

/// The answer to a script that signed somebody in: where to go on.
fn entered(visitor: &Visitor, who: &Reader, signer: Bytes, sent: &Value) -> Response {
    let next = own_path(sent["next"].as_str().unwrap_or_default());
    enter(visitor, who, Some(signer), Json(json!({ "next": next })).into_response())
}
