//! Records that open in the browser only: the question is signed there, the answer comes sealed to a key that is made
//! there, and this side sees neither the key nor, on its way back, the records.

use alloy_primitives::Bytes;
use axum::{
    Json,
    http::Method,
    response::Response,
    routing::{get, post},
};
use bindings::patient_account::message_signature;
use maud::html;
use serde_json::{Value, json};

use crate::{
    admit::Form,
    design::parts::{card, csrf},
    fault::Fault,
    routes::{Audience, Route},
    sign_in::signer_of,
    visitor::Visitor,
};

pub(crate) fn routes() -> Vec<Route> {
    use Audience::Patients;
    vec![
        Route::get("/patient/sealed", Patients, get(page)),
        Route::post("/patient/sealed/question", Patients, post(question)),
        Route::post("/patient/sealed/answer", Patients, post(answer)),
    ]
}

/// `GET /patient/sealed`.
async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let words = visitor.words();
    let content = card(
        "",
        html! {
            p { (words.own_key_text) }
            form method="post" action="/patient/sealed" data-sealed="opened" {
                (csrf(&visitor))
                div class="field" {
                    label for="recovery-key" { (words.own_key_sheet) }
                    p class="hint" id="recovery-key-hint" { (words.own_key_sheet_hint) }
                    input id="recovery-key" data-recovery-key type="text" autocomplete="off" spellcheck="false"
                        aria-describedby="recovery-key-hint";
                }
                p class="actions" { button type="submit" hidden { (words.own_key_open) } }
                p role="status" class="problem" {}
            }
            noscript { p class="hint" { (words.needs_script) } }
            div id="opened" {}
        },
    );
    Ok(visitor.page(words.own_key, content))
}

/// `POST /patient/sealed/question`: what to sign, for the public key that the browser names.
async fn question(visitor: Visitor, form: Form) -> Result<Json<Value>, Fault> {
    let asked = json!({ "public_key": form.json()["publicKey"], "after": form.json()["after"] });
    let client = visitor.client()?;
    let answered = client.api_send(Method::POST, "/sealed/question", Some(&asked)).await?;
    Ok(Json(answered.ok()?))
}

/// `POST /patient/sealed/answer`: the query with the passkey's assertion, which is completed with whose it is.
async fn answer(visitor: Visitor, form: Form) -> Result<Json<Value>, Fault> {
    let unusable = || Fault::Unusable("what the browser sent is no answer of a passkey".into());
    let said = form.json();
    let assertion = said["assertion"].as_str().and_then(|text| text.parse::<Bytes>().ok());
    let assertion = assertion.ok_or_else(unusable)?;
    let signer = signer_of(&visitor, visitor.patient()?, &assertion).await?;
    let refused = || Fault::Refused("this passkey is not of your account, or not any more".into());
    let signature = message_signature(&signer.ok_or_else(refused)?, &assertion);
    let asked = json!({
        "message": said["message"],
        "public_key": said["publicKey"],
        "signature": signature,
    });
    let answered = visitor.client()?.api_send(Method::POST, "/sealed", Some(&asked)).await?;
    Ok(Json(answered.ok()?))
}
