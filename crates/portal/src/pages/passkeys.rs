//! A passkey of one's own: made in the browser, and put into force by a step that the signer before it signs.

use alloy_primitives::{Address, Bytes};
use axum::{
    Json,
    http::header,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use maud::html;
use serde_json::json;

use crate::{
    admit::Form,
    design::parts::{card, csrf},
    fault::Fault,
    routes::{Audience, Route},
    signing::{self, Asked},
    visitor::{Visitor, own_path},
};

/// Both coordinates of a passkey's public key, in bytes.
const KEY_LEN: usize = 64;

pub(crate) fn routes() -> Vec<Route> {
    use Audience::Patients;
    vec![
        Route::get("/account/passkey", Patients, get(page)),
        Route::post("/account/passkey", Patients, post(begin)),
    ]
}

/// `GET /account/passkey`.
async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let (words, account) = (visitor.words(), visitor.patient()?);
    let content = card(
        "",
        html! {
            p { (words.passkeys_text) }
            p { (words.new_passkey_text) }
            form method="post" action="/account/passkey" data-new-passkey
                data-account=(account) data-name=(visitor.name(account)) {
                (csrf(&visitor))
                p class="actions" { button type="submit" hidden { (words.new_passkey) } }
                p role="status" class="problem" {}
            }
            noscript { p class="hint" { (words.needs_script) } }
        },
    );
    Ok(visitor.page(words.new_passkey, content))
}

/// `POST /account/passkey`: the public halves of what the browser made.
async fn begin(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let (words, account, said) = (visitor.words(), visitor.patient()?, form.json());
    let unusable = || Fault::Unusable("what the browser sent is no passkey; try again".into());
    let key: Bytes =
        said["publicKey"].as_str().and_then(|key| key.parse().ok()).ok_or_else(unusable)?;
    if key.len() != KEY_LEN {
        return Err(unusable());
    }
    let verifier: Address = visitor.portal.home().passkey_verifier();
    let step = json!({
        "step": "account.change-signer",
        "patient": account,
        "signer": Bytes::from([verifier.as_slice(), &key].concat()),
        "keys": said["keys"],
    });
    let asked = Asked { title: words.new_passkey, back: "/account", done: words.new_passkey_done };
    let begun = signing::begin(&visitor, step, asked).await?;
    let next = begun.headers().get(header::LOCATION).and_then(|next| next.to_str().ok());
    Ok(Json(json!({ "next": own_path(next.unwrap_or("/")) })).into_response())
}
