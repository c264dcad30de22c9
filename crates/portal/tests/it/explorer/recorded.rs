//! What a patient sees of how things are recorded.

use std::sync::Arc;

use alloy_primitives::{B256, aliases::U40};
use axum::http::StatusCode;
use bindings::{Consents, Contract, patient_account::Call};

use super::world::{NOW, World};

fn grants(world: &World) -> Vec<Call> {
    let terms = Consents::Grant {
        opensAt: U40::from(NOW),
        closesAt: U40::from(NOW + 86_400),
        kinds: 1,
        purposes: 1,
    };
    let call = Consents::grantCall { reader: world.physician.address, record: B256::ZERO, terms };
    vec![Call::to_contract(world.deployment.address(Contract::Consents), &call)]
}

#[tokio::test]
async fn a_patient_sees_the_entries_about_them_and_no_others() {
    let world = Arc::new(World::begin());
    let own = world.execute(world.account, 1, grants(&world));
    let other = world.execute(world.other_account, 1, grants(&world));
    assert_eq!((&own["status"], &other["status"]), (&"0x1".into(), &"0x1".into()));
    let path = |receipt: &serde_json::Value| {
        format!("/patient/recorded/{}", receipt["transactionHash"].as_str().unwrap())
    };
    let mut browser = world.browser();
    browser.sign_in(world.account).await;
    let list = browser.page("/patient/recorded").await;
    list.says(&[
        "How it is recorded",
        "You let somebody see records of yours",
        "Your account was made",
        "Dr &lt;b&gt;Nuala&lt;/b&gt;",
        &path(&own),
    ]);
    list.hides(&[&path(&other), "Brian Secret", "blockchain"]);
    browser
        .page(&path(&own))
        .await
        .says(&["This entry is in the book", "You let somebody see records"]);
    assert_eq!(browser.status(&path(&other)).await, StatusCode::NOT_FOUND);
    assert_eq!(browser.status("/patient/recorded/x").await, StatusCode::NOT_FOUND);

    let mut physician = world.browser();
    physician.sign_in(world.physician.address).await;
    assert_eq!(physician.status("/patient/recorded").await, StatusCode::FORBIDDEN);
}
