//! Blocks, transactions before and after validation, contracts, events, gas.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, aliases::U40};
use alloy_sol_types::SolCall as _;
use axum::http::StatusCode;
use bindings::{Consents, Contract, Registry, patient_account::Call};

use super::world::{NOW, World};

fn grant(reader: Address) -> Consents::grantCall {
    let terms = Consents::Grant {
        opensAt: U40::from(NOW),
        closesAt: U40::from(NOW + 86_400),
        kinds: 1 << 5,
        purposes: 1,
    };
    Consents::grantCall { reader, record: B256::ZERO, terms }
}

#[tokio::test]
async fn blocks_are_listed_and_shown_with_their_transactions() {
    let world = Arc::new(World::begin());
    let mut browser = world.browser();
    browser.sign_in(world.physician.address).await;
    let list = browser.page("/explorer").await;
    // 17 contracts, an accreditation, two accounts.
    list.says(&["Blocks, the newest first", "/explorer/blocks/20\"", "the newest block"]);
    let older = browser.page("/explorer?before=5").await;
    older.says(&["/explorer/blocks/4\"", "/explorer/blocks/0\""]).hides(&["/explorer/blocks/5\""]);

    let block = browser.page("/explorer/blocks/18").await;
    block.says(&[
        "Registry: accredit",
        "St Brigid’s",
        "done",
        "/explorer/blocks/17",
        "/explorer/blocks/19",
    ]);
    browser.page("/explorer/blocks/1").await.says(&["deploys a contract"]);
    browser.page("/explorer/blocks/0").await.says(&["This is the beginning"]);
    for path in ["/explorer/blocks/21", "/explorer/blocks/x", "/explorer/blocks/-1"] {
        assert_eq!(browser.status(path).await, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(browser.status("/explorer?before=x").await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_sealed_transaction_is_told_call_by_call() {
    let world = Arc::new(World::begin());
    let consents = world.deployment.address(Contract::Consents);
    let reader = world.physician.address;
    let calls = vec![
        Call::to_contract(consents, &grant(reader)),
        Call::to_contract(consents, &Consents::revokeCall { reader, record: B256::ZERO }),
    ];
    let receipt = world.execute(world.account, 1, calls);
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let mut browser = world.browser();
    browser.sign_in(world.hospital.address).await;
    let hash = receipt["transactionHash"].as_str().unwrap();
    let page = browser.page(&format!("/explorer/transactions/{hash}")).await;
    page.says(&[
        "execute",
        "The account then calls",
        "grant",
        "revoke",
        "ConsentGranted",
        "ConsentRevoked",
        "laboratory",
        "treatment",
        "a patient's account",
        "For what it did",
        "0 blocks since",
    ]);
    // Names of people are escaped, and patients have none here.
    page.says(&["Dr &lt;b&gt;Nuala&lt;/b&gt;"]).hides(&["<b>Nuala", "Aoife Secret"]);

    let found = browser.get(&format!("/explorer/find?q={hash}")).await;
    assert_eq!(found.headers["location"], format!("/explorer/transactions/{hash}"));
    let missing = browser.get(&format!("/explorer/transactions/{}", B256::ZERO)).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    missing.says(&["No such transaction here"]);
}

#[tokio::test]
async fn a_refused_transaction_says_why() {
    let world = Arc::new(World::begin());
    let vote = Registry::voteCall { id: U256::from(99) };
    let receipt = world.run(&world.hospital, Contract::Registry, &vote);
    assert_eq!(receipt["status"], "0x0");
    let mut browser = world.browser();
    browser.sign_in(world.hospital.address).await;
    let path = format!("/explorer/transactions/{}", receipt["transactionHash"].as_str().unwrap());
    browser.page(&path).await.says(&["The contract refused", "nothing was changed"]);
}

#[tokio::test]
async fn what_waits_is_shown_with_each_checks_outcome() {
    let world = Arc::new(World::begin());
    let mut browser = world.browser();
    browser.sign_in(world.physician.address).await;
    browser.page("/explorer/pending").await.says(&["No transaction waits", "--seal-every"]);

    let good = world.send(&world.hospital, Contract::Consents, &grant(world.physician.address));
    let refused =
        world.send(&world.pharmacy, Contract::Registry, &Registry::voteCall { id: U256::from(99) });
    let input: Bytes = grant(world.physician.address).abi_encode().into();
    let consents = TxKind::Call(world.deployment.address(Contract::Consents));
    // Two before it never came; and one whose gas is too little for what it does.
    let early = world.submit(world.physician.sign(2, 1_000_000, consents, input.clone()));
    let short = world.submit(world.physician.sign(0, 30_000, consents, input));

    let list = browser.page("/explorer/pending").await;
    list.says(&["Consents: grant", "Registry: vote", "waits for an earlier one"]);
    browser.page("/explorer").await.says(&["transactions before validation"]);

    let page = browser.page(&format!("/explorer/transactions/{good}")).await;
    page.says(&[
        "Before validation",
        "It would go into the next block and do what it says.",
        "Signature",
        "Order (nonce)",
        "Balance",
        "Gas limit",
        "Simulation",
        "it does what it says",
        "it is the sender's own signature",
    ])
    .hides(&["badge bad", "badge warning"]);
    let page = browser.page(&format!("/explorer/transactions/{refused}")).await;
    page.says(&["the contract would refuse", "it would change nothing", "badge bad"]);
    let page = browser.page(&format!("/explorer/transactions/{early}")).await;
    page.says(&[
        "numbers 0 to 1 of the same sender come first",
        "It stays here until",
        "badge warning",
    ]);
    let page = browser.page(&format!("/explorer/transactions/{short}")).await;
    page.says(&["badge bad", "it would fail"]);

    let of_sender =
        browser.page(&format!("/explorer/pending?sender={}", world.pharmacy.address)).await;
    of_sender.says(&["Registry: vote"]).hides(&["Consents: grant"]);
    assert_eq!(browser.status("/explorer/pending?sender=x").await, StatusCode::BAD_REQUEST);

    // Each fares as its checks said.
    world.seal();
    let outcome = |hash: B256| {
        let receipt =
            world.rpc.handle("eth_getTransactionReceipt", serde_json::json!([hash])).unwrap();
        receipt["status"].as_str().map(str::to_owned)
    };
    assert_eq!(outcome(good).as_deref(), Some("0x1"));
    assert_eq!(outcome(refused).as_deref(), Some("0x0"));
    assert_eq!(outcome(short).as_deref(), Some("0x0"));
    assert_eq!(outcome(early), None);
    browser
        .page(&format!("/explorer/transactions/{good}"))
        .await
        .says(&["What it did", "ConsentGranted"]);
}

#[tokio::test]
async fn contracts_are_asked_through_forms() {
    let world = Arc::new(World::begin());
    let reader = world.physician.address;
    world.run(&world.pharmacy, Contract::Consents, &grant(reader));
    let mut browser = world.browser();
    browser.sign_in(reader).await;
    browser
        .page("/explorer/contracts")
        .await
        .says(&["Consents", "PatientAccount", " bytes"])
        .hides(&["not there"]);
    browser.page("/explorer/contracts/Consents").await.says(&[
        "consentOf",
        "What can be done",
        "ConsentGranted",
    ]);
    browser
        .page("/explorer/contracts/Consents/source")
        .await
        .says(&["pragma solidity", "contract Consents {"]);

    let selector = alloy_primitives::hex::encode_prefixed(Consents::consentOfCall::SELECTOR);
    let form = format!("/explorer/contracts/Consents/read/{selector}");
    browser
        .page(&form)
        .await
        .says(&["patient (address)", "record (bytes32)"])
        .hides(&["Answer", "It needs"]);
    let record = B256::ZERO;
    let asked = format!("{form}?a0={}&a1={reader}&a2={record}", world.pharmacy.address);
    browser.page(&asked).await.says(&["Answer", "laboratory", "treatment"]);
    let wrong = browser.page(&format!("{form}?a0=%3Cscript%3E&a1={reader}&a2={record}")).await;
    wrong
        .says(&["It needs 0x and 40 hexadecimal digits", "&lt;script&gt;"])
        .hides(&["Answer", "<script>"]);

    // Nothing but what reads can be called, and only what there is.
    let write = alloy_primitives::hex::encode_prefixed(Consents::grantCall::SELECTOR);
    for path in [
        format!("/explorer/contracts/Consents/read/{write}"),
        "/explorer/contracts/Consents/read/0xdeadbeef".into(),
        "/explorer/contracts/Consents/read/x".into(),
        "/explorer/contracts/Nothing".into(),
        "/explorer/contracts/WebAuthnVerifier/source".into(),
    ] {
        assert_eq!(browser.status(&path).await, StatusCode::NOT_FOUND, "{path}");
    }
    let count = alloy_primitives::hex::encode_prefixed(Registry::institutionCountCall::SELECTOR);
    browser
        .page(&format!("/explorer/contracts/Registry/read/{count}"))
        .await
        .says(&["Answer", ">2<"]);
    let long = format!("{form}?a0={}", "9".repeat(20_000));
    assert_eq!(browser.status(&long).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn events_are_found_by_kind_and_range() {
    let world = Arc::new(World::begin());
    let reader = world.physician.address;
    for _ in 0..3 {
        world.run(&world.pharmacy, Contract::Consents, &grant(reader));
    }
    world.run(
        &world.pharmacy,
        Contract::Consents,
        &Consents::revokeCall { reader, record: B256::ZERO },
    );
    let mut browser = world.browser();
    browser.sign_in(reader).await;
    let path = "/explorer/contracts/Consents/events";
    browser.page(path).await.says(&["4 events of blocks 0 to 24", "ConsentRevoked"]);
    let granted = browser.page(&format!("{path}?event=ConsentGranted")).await;
    granted.says(&["3 events of blocks"]).hides(&["<strong>ConsentRevoked"]);
    browser.page(&format!("{path}?from=22&to=22")).await.says(&[
        "1 events of blocks 22 to 22",
        "Older",
        "Newer",
    ]);
    browser.page(&format!("{path}?to=5")).await.says(&["Nothing was announced"]);
    assert_eq!(browser.status(&format!("{path}?from=9&to=5")).await, StatusCode::BAD_REQUEST);
    assert_eq!(browser.status(&format!("{path}?event=Nothing")).await, StatusCode::NOT_FOUND);

    let address = format!("/explorer/addresses/{reader}");
    browser.page(&address).await.says(&[
        "ProfessionalAccredited",
        "ConsentGranted",
        "professional",
    ]);
    let contract = browser
        .get(&format!("/explorer/addresses/{}", world.deployment.address(Contract::Claims)))
        .await;
    assert_eq!(contract.headers["location"], "/explorer/contracts/Claims");
}

#[tokio::test]
async fn gas_is_told_by_function() {
    let world = Arc::new(World::begin());
    world.run(&world.pharmacy, Contract::Consents, &grant(world.physician.address));
    let mut browser = world.browser();
    browser.sign_in(world.physician.address).await;
    let page = browser.page("/explorer/gas").await;
    page.says(&[
        "Consents.grant",
        "Registry.accredit",
        "PatientAccounts.create",
        "a new contract",
        "account.create",
    ]);
    browser.page("/explorer/gas?blocks=1").await.says(&["1 transactions in the newest 1 blocks"]);
    browser.page("/explorer/gas?blocks=99999999").await;
}

#[tokio::test]
async fn the_explorer_is_for_members() {
    let world = Arc::new(World::begin());
    let paths = [
        "/explorer",
        "/explorer/pending",
        "/explorer/contracts",
        "/explorer/gas",
        "/explorer/find?q=1",
    ];
    let mut nobody = world.browser();
    for path in paths {
        let answer = nobody.get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(
            answer.headers["location"].to_str().unwrap().starts_with("/sign-in?next="),
            "{path}"
        );
    }
    let mut patient = world.browser();
    patient.sign_in(world.account).await;
    for path in paths {
        assert_eq!(patient.status(path).await, StatusCode::FORBIDDEN, "{path}");
    }
}
