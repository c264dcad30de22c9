//! Pages of those who treat: their patients, each one's records as far as they may read them, and what came for them.

mod inbox;
mod one;
mod patients;

use axum::routing::{get, post};

use crate::routes::{Audience::Clinicians, Route};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/clinician", Clinicians, get(patients::page)),
        Route::get("/clinician/patients/{id}", Clinicians, get(one::page)),
        Route::get("/clinician/patients/{patient}/{type}/{id}", Clinicians, get(one::record)),
        Route::get("/clinician/inbox", Clinicians, get(inbox::page)),
        Route::post("/clinician/inbox/read", Clinicians, post(inbox::mark_read)),
    ]
}
