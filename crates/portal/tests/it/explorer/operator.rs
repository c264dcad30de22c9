//! The operator's pages.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::http::StatusCode;
use bindings::{Contract, Registry};
use domain::InstitutionRole;

use super::world::World;

const PATHS: [&str; 6] = [
    "/operator",
    "/operator/members",
    "/operator/professionals",
    "/operator/keys",
    "/operator/figures",
    "/operator/backup",
];

#[tokio::test]
async fn an_operator_sees_how_the_gateway_fares() {
    let world = Arc::new(World::begin());
    let admission = Registry::proposeAdmissionCall {
        account: Address::repeat_byte(0x77),
        role: InstitutionRole::Laboratory.number(),
    };
    world.run(&world.pharmacy, Contract::Registry, &admission);
    let mut browser = world.browser();
    browser.sign_in(world.hospital.address).await;
    browser.page("/operator").await.says(&[
        "cannot do all of its work",
        "the institution is no member of the network",
        "the other members have to vote for it",
        "1 of 2",
    ]);
    browser.page("/operator/members").await.says(&[
        "St Brigid’s",
        "hospital",
        "Late Pharmacy",
        "in force",
        "Admit a new institution",
        "1 of the 2 that it takes",
        "1 to vote on",
    ]);
    browser.page("/operator/professionals").await.says(&[
        "Dr &lt;b&gt;Nuala&lt;/b&gt;",
        "physician",
        "in force",
    ]);
    let keys = browser.page("/operator/keys").await;
    keys.says(&[
        &world.hospital.address.to_string(),
        "its first key",
        "The key was never changed",
        "No profile is entered",
    ]);
    browser.page("/operator/figures").await.says(&["Versions of records in the vault", "1,234"]);
    browser.page("/operator/backup").await.says(&["salus gateway"]);
}

#[tokio::test]
async fn the_operators_pages_are_the_institutions() {
    let world = Arc::new(World::begin());
    for who in [world.physician.address, world.account] {
        let mut browser = world.browser();
        browser.sign_in(who).await;
        for path in PATHS {
            assert_eq!(browser.status(path).await, StatusCode::FORBIDDEN, "{path}");
        }
    }
}
