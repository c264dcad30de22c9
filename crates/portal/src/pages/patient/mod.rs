//! Pages of patients: their records, who may read them, and who did.

mod home;
mod inbox;
mod looked;
mod proposed;
pub(crate) mod records;
mod sharing;
mod timeline;

use alloy_primitives::Address;
use axum::routing::{get, post};

use crate::{
    client::Client,
    fault::Fault,
    routes::{Audience::Patients, Route},
};

pub(crate) use looked::{Entry, entry_row};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/patient", Patients, get(home::page)),
        Route::get("/patient/records", Patients, get(records::list)),
        Route::get("/patient/records/{type}/{id}", Patients, get(records::one)),
        Route::get("/patient/proposed", Patients, get(proposed::list)),
        Route::post("/patient/proposed", Patients, post(proposed::answer)),
        Route::get("/patient/sharing", Patients, get(sharing::list)),
        Route::get("/patient/sharing/new", Patients, get(sharing::new)),
        Route::post("/patient/sharing/preview", Patients, post(sharing::preview)),
        Route::post("/patient/sharing/grant", Patients, post(sharing::grant)),
        Route::post("/patient/sharing/revoke", Patients, post(sharing::revoke)),
        Route::get("/patient/looked", Patients, get(looked::page)),
        Route::get("/patient/inbox", Patients, get(inbox::page)),
        Route::post("/patient/inbox/read", Patients, post(inbox::mark_read)),
        Route::get("/patient/timeline", Patients, get(timeline::page)),
    ]
}

/// The id of the patient's `Patient` here; `None` when this institution keeps no records of theirs. The gateway knows
/// it by their account, too.
async fn own_id(client: &Client<'_>, account: Address) -> Result<Option<String>, Fault> {
    match client.fhir(&format!("/Patient/{account}")).await {
        Ok(patient) => Ok(patient["id"].as_str().map(str::to_owned)),
        Err(Fault::NotFound | Fault::Refused(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}
