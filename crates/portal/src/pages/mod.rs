//! The pages, one file each, by whom they are for.

mod clinician;
mod explorer;
mod general;
mod operator;
mod passkeys;
mod patient;
mod sealed;
mod study;

pub(crate) use general::set_cookie;

use crate::routes::Route;

/// What there is.
pub(crate) fn routes() -> Vec<Route> {
    let areas = [
        general::routes(),
        patient::routes(),
        passkeys::routes(),
        sealed::routes(),
        clinician::routes(),
        operator::routes(),
        explorer::routes(),
        study::routes(),
    ];
    areas.into_iter().flatten().collect()
}
