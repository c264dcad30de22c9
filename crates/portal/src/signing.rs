//! Check and sign: a step of a workflow, begun at `/api/steps` and signed where the person's key is.
//!
//! What is shown is what `/api/steps` says that the call does, decoded from the bytes that are signed, and not what
//! the page asked for. In the browser the script signs; in the demonstration a button does, with a key that stands in
//! for the person's device.

use alloy_primitives::{Address, B256, Bytes};
use axum::{
    Json,
    extract::Path,
    http::{Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::{
    admit::Form,
    client::Answered,
    design::parts::{Tone, act, card, code, csrf, facts, more, notice},
    fault::Fault,
    routes::{Audience, Route},
    session::StepPlace,
    sign_in::{rp_id, signer_of},
    visitor::{Visitor, go, own_path},
    words,
};

/// A step as the page that begins it tells of it.
pub(crate) struct Asked<'a> {
    /// What is asked for, as a heading.
    pub(crate) title: &'a str,
    /// Where to go when it is done or given up.
    pub(crate) back: &'a str,
    /// What is said when it is done.
    pub(crate) done: &'a str,
}

pub(crate) fn routes() -> Vec<Route> {
    use Audience::SignedIn;
    vec![
        Route::get("/sign/{id}", SignedIn, get(show)),
        Route::post("/sign/{id}", SignedIn, post(answer)),
        Route::post("/sign/{id}/demonstration", SignedIn, post(sign_for)),
        Route::post("/sign/{id}/give-up", SignedIn, post(give_up)),
    ]
}

/// Begins a step, and leads to where it is checked and signed.
///
/// # Errors
///
/// What the chain or the workflow says against it; then nothing happened.
pub(crate) async fn begin(
    visitor: &Visitor,
    step: Value,
    asked: Asked<'_>,
) -> Result<Response, Fault> {
    let client = visitor.client()?;
    let answered = client.api_send(Method::POST, "/steps", Some(&step)).await?;
    let place = StepPlace {
        back: own_path(asked.back).to_owned(),
        title: asked.title.to_owned(),
        done: asked.done.to_owned(),
    };
    after(visitor, answered, place)
}

/// Where to go after an answer about a step.
fn after(visitor: &Visitor, answered: Answered, place: StepPlace) -> Result<Response, Fault> {
    let body = answered.ok()?;
    if body["state"] == "done" {
        return Ok(done(visitor, &body, &place));
    }
    let id: B256 = body["id"].as_str().and_then(|id| id.parse().ok()).ok_or(Fault::Unavailable)?;
    let session = visitor.session.as_ref().ok_or(Fault::SignedOut)?;
    visitor.portal.sessions().add_step(&session.id, id, place);
    Ok(go(&format!("/sign/{id}")))
}

/// Back to where the step was begun, with what was done; what was found instead of doing it is said.
fn done(visitor: &Visitor, body: &Value, place: &StepPlace) -> Response {
    let findings = body["result"]["findings"].as_array();
    let text = match findings {
        Some(findings) if !findings.is_empty() => {
            let texts = findings
                .iter()
                .filter_map(|finding| finding.as_str().or_else(|| finding["text"].as_str()));
            format!(
                "Not done yet, because of what was found: {}.",
                texts.collect::<Vec<_>>().join("; ")
            )
        }
        _ => place.done.clone(),
    };
    visitor.go_and_say(&place.back, text)
}

fn place(visitor: &Visitor, id: B256) -> Result<StepPlace, Fault> {
    let session = visitor.session.as_ref().ok_or(Fault::SignedOut)?;
    visitor.portal.sessions().step(&session.id, id).ok_or(Fault::NotFound)
}

/// `GET /sign/{id}`.
async fn show(visitor: Visitor, Path(id): Path<B256>) -> Result<Response, Fault> {
    let place = place(&visitor, id)?;
    let body = visitor.client()?.api(&format!("/steps/{id}")).await?;
    let words = visitor.words();
    match body["state"].as_str() {
        Some("done") => return Ok(done(&visitor, &body, &place)),
        Some("waiting") => {}
        _ => {
            let content = html! {
                (notice(Tone::Plain, words.working, html! { p { (words.working_text) } }))
                p class="actions" { a class="button" href=(visitor.path) data-again { (words.look_again) } }
            };
            return Ok(visitor.page(&place.title, content));
        }
    }
    let sign = &body["sign"];
    let is_patient = visitor.patient().is_ok();
    let session = visitor.session.as_ref().ok_or(Fault::SignedOut)?;
    let signer = visitor.portal.sessions().signer(&session.id);
    let is_wallet = signer.as_ref().is_some_and(|signer| signer.len() == Address::len_bytes());
    let content = html! {
        (card(words.you_agree_to, html! {
            ul class="does" { @for call in calls(sign) { li { (says(&visitor, &call, is_patient)) } } }
        }))
        div class="signing" data-sign data-step=(id) data-by=[is_wallet.then_some("wallet")]
            data-signer=[signer.as_ref()] data-rp-id=(rp_id(visitor.portal.origin())) data-label=(words.sign) {
            template data-signing { (sign.to_string()) }
            p class="actions" data-signer-actions hidden {
                button type="button" data-sign-now { (words.sign) }
            }
        }
        @if visitor.portal.home().demonstration().is_some() {
            form method="post" action={ "/sign/" (id) "/demonstration" } class="act" {
                (csrf(&visitor))
                input type="hidden" name="digest" value=(sign["digest"].as_str().unwrap_or_default());
                button type="submit" { (words.sign_demonstration) }
                p class="hint" { (words.sign_demonstration_text) }
            }
        } @else {
            noscript { (notice(Tone::Warning, words.needs_script, html! {})) }
        }
        (act(&visitor, &format!("/sign/{id}/give-up"), &[], words.do_not_sign, false))
        (more(words.exactly, exactly(sign)))
    };
    Ok(visitor.page(&place.title, content))
}

/// A call that is signed: what it does as the gateway decodes it, and its bytes.
struct Call<'a> {
    does: &'a Value,
    data: &'a Value,
}

/// The calls that a signature is under: of a transaction one, of a patient's account each.
fn calls(sign: &Value) -> Vec<Call<'_>> {
    match &sign["does"] {
        Value::Array(calls) => {
            let signed = &sign["typed_data"]["message"]["calls"];
            let call = |(at, does)| Call { does, data: &signed[at]["data"] };
            calls.iter().enumerate().map(call).collect()
        }
        does => vec![Call { does, data: &sign["data"] }],
    }
}

/// What a call does, in words.
fn says(visitor: &Visitor, call: &Call<'_>, is_patient: bool) -> Markup {
    let (contract, text) = (call.does["to"].as_str(), call.does["call"].as_str());
    let said = contract.filter(|_| is_patient);
    match said.and_then(|contract| words::of_call(visitor, contract, call.data)) {
        Some(said) => said,
        None => code(text.unwrap_or_default()),
    }
}

/// What is signed, to the byte.
fn exactly(sign: &Value) -> Markup {
    let mut shown = Vec::new();
    for name in [
        "kind",
        "account",
        "from",
        "to",
        "nonce",
        "gas_limit",
        "max_fee_per_gas",
        "value",
        "digest",
    ] {
        let value = match &sign[name] {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        shown.push((name.replace('_', " "), code(&value)));
    }
    for call in calls(sign) {
        shown.push(("call".to_owned(), code(call.does["call"].as_str().unwrap_or_default())));
    }
    facts(&shown)
}

/// `POST /sign/{id}`: what the script brings. It goes to `/api/steps` as it is.
async fn answer(visitor: Visitor, Path(id): Path<B256>, form: Form) -> Result<Response, Fault> {
    let place = place(&visitor, id)?;
    let said = with_signer(&visitor, form.json()).await?;
    let response = relay(&visitor, id, &said, place).await?;
    let next = response.headers().get(header::LOCATION).and_then(|next| next.to_str().ok());
    let next = own_path(next.unwrap_or("/")).to_owned();
    Ok((StatusCode::OK, Json(json!({ "next": next }))).into_response())
}

/// What the script brings, with whose it is: a passkey does not say its public key.
async fn with_signer(visitor: &Visitor, said: &Value) -> Result<Value, Fault> {
    let mut said = said.clone();
    if !said["authorisation"].is_object() || said["authorisation"]["signer"].is_string() {
        return Ok(said);
    }
    let unusable = || Fault::Unusable("what the browser sent is no answer of a passkey".into());
    let assertion = said["authorisation"]["signature"].as_str();
    let assertion: Bytes = assertion.and_then(|text| text.parse().ok()).ok_or_else(unusable)?;
    let signer = signer_of(visitor, visitor.patient()?, &assertion).await?;
    let refused = || Fault::Refused("this passkey is not of your account, or not any more".into());
    said["authorisation"]["signer"] = json!(signer.ok_or_else(refused)?);
    Ok(said)
}

/// `POST /sign/{id}/demonstration`: signs what was shown, as the person's device would.
async fn sign_for(visitor: Visitor, Path(id): Path<B256>, form: Form) -> Result<Response, Fault> {
    let demonstration = visitor.portal.home().demonstration().ok_or(Fault::NotFound)?;
    let (place, shown) = (place(&visitor, id)?, form.parse::<B256>("digest", "What to sign")?);
    // Only what waits for this person's signature is signed, never whatever digest a form brings.
    let body = visitor.client()?.api(&format!("/steps/{id}")).await?;
    if body["sign"]["digest"] != shown.to_string() {
        return Err(Fault::NotAllowed(
            "this waits for no signature any more, or for another one".into(),
        ));
    }
    let said = demonstration.sign(visitor.address()?, shown).await?;
    relay(&visitor, id, &said, place).await
}

/// Brings a signature, and leads on.
async fn relay(
    visitor: &Visitor,
    id: B256,
    said: &Value,
    place: StepPlace,
) -> Result<Response, Fault> {
    let client = visitor.client()?;
    let answered = client.api_send(Method::POST, &format!("/steps/{id}"), Some(said)).await?;
    after(visitor, answered, place)
}

/// `POST /sign/{id}/give-up`.
async fn give_up(visitor: Visitor, Path(id): Path<B256>) -> Result<Response, Fault> {
    let place = place(&visitor, id)?;
    visitor.client()?.api_send(Method::DELETE, &format!("/steps/{id}"), None).await?.ok()?;
    Ok(visitor.go_and_say(&place.back, visitor.words().given_up))
}
