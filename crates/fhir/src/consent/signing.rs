//! The patient's signature: `$sign` says what to sign, takes the signature and relays it.

use std::{collections::HashMap, time::Duration};

use axum::http::StatusCode;
use domain::{Kind, KindSet, Outcome, Timestamp};
use ledger::SendError;
use serde_json::{Value, json};
use workflows::{WorkflowError, consent::Signed};

use super::{
    access::{Sees, filer_of, may_file},
    mirror::mirrored,
    showing::versions,
    waiting::forget,
};
use crate::{
    caller::{Caller, Interaction},
    derived::Names,
    outcome::FhirError,
    request::{Reply, Request},
    resources::Resources,
};

/// How long a patient has to sign what `$sign` gave out.
const SIGNATURE_PERIOD: Duration = Duration::from_secs(600);

/// What a patient signs.
pub(crate) async fn to_sign(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Reply, FhirError> {
    caller.require("Consent", Interaction::Read)?;
    resources.gatekeeper().refresh(resources.now()).await?;
    let one = filer_of(resources, caller, id).await?;
    let filed = one.filed.ok_or_else(nothing_waits)?;
    let gateway = &resources.inner.gateway;
    let account = one.key.patient;
    let basis = may_file(resources, caller, account).await.flatten();
    let outcome = Outcome::Allowed { records: Vec::new(), basis };
    let kinds = KindSet::of(&[Kind::Administrative]);
    let (gatekeeper, now) = (resources.gatekeeper(), resources.now());
    gatekeeper.note(caller.reading(), account, kinds, outcome, now).await?;
    let until = resources.now().after(SIGNATURE_PERIOD);
    let to_sign = filed.change().to_sign(gateway, account, until).await?;
    let text = |name: &str, value: String| json!({ "name": name, "valueString": value });
    Ok(Reply::json(&json!({
        "resourceType": "Parameters",
        "parameter": [
            text("account", account.to_string()),
            text("digest", to_sign.digest.to_string()),
            text("nonce", to_sign.nonce.to_string()),
            text("deadline", until.0.to_string()),
            text("typedData", to_sign.typed_data.to_string()),
        ],
    })))
}

/// Takes the patient's signature, and relays it.
pub(crate) async fn sign(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    request: &Request,
) -> Result<Reply, FhirError> {
    caller.require("Consent", Interaction::Update)?;
    resources.gatekeeper().refresh(resources.now()).await?;
    let one = filer_of(resources, caller, id).await?;
    let filed = one.filed.ok_or_else(nothing_waits)?;
    let parameters: Value = serde_json::from_slice(&request.body)
        .map_err(|_| FhirError::bad_request("the body is not JSON"))?;
    let parameters = parameters["parameter"].as_array().cloned().unwrap_or_default();
    let given: HashMap<&str, &str> = parameters
        .iter()
        .filter_map(|one| Some((one["name"].as_str()?, one["valueString"].as_str()?)))
        .collect();
    let signed = signed(&given).ok_or_else(|| {
        FhirError::bad_request(
            "a Parameters with `nonce` and `deadline` as $sign gave them, `signer` and `signature` \
             in hexadecimal",
        )
    })?;
    let gateway = &resources.inner.gateway;
    let relayed = filed.change().relay(gateway, one.key.patient, &signed).await;
    relayed.map_err(|error| match error {
        WorkflowError::Send(SendError::Refused(_) | SendError::Reverted { .. }) => {
            let text = "the patient's account refuses it: sign anew what $sign gives now";
            FhirError::unprocessable("business-rule", text)
        }
        error => error.into(),
    })?;
    resources.gatekeeper().refresh(resources.now()).await?;
    forget(resources, id).await?;
    let all = mirrored(resources, one.key.patient).await?;
    let one = all.into_iter().find(|other| other.id == id).ok_or_else(FhirError::not_found)?;
    let mut names = Names::new(resources);
    let versions = versions(resources, &mut names, &one, Sees::All(None)).await?;
    let newest = versions.last().ok_or_else(FhirError::not_found)?;
    Ok(Reply::read(&newest.resource()?))
}

fn signed(given: &HashMap<&str, &str>) -> Option<Signed> {
    Some(Signed {
        nonce: given.get("nonce")?.parse().ok()?,
        deadline: Timestamp(given.get("deadline")?.parse().ok()?),
        signer: given.get("signer")?.parse().ok()?,
        signature: given.get("signature")?.parse().ok()?,
    })
}

fn nothing_waits() -> FhirError {
    let text = "nothing waits for the patient's signature here";
    FhirError::new(StatusCode::CONFLICT, "conflict", text)
}
