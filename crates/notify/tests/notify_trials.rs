//! Who is told what of a trial: sponsor, regulator, sites and subjects, each of what others did.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::{Contract, Registry, Trials, convert};
use common::{Place, World, address};
use domain::{InstitutionRole, ProfessionalRole};
use notify::Outbox;

/// Who takes part beside those of the network.
const GUESTS: [(&str, &str, ProfessionalRole); 2] = [
    ("regulator", "auditor", ProfessionalRole::Auditor),
    ("hospital", "dispenser", ProfessionalRole::Pharmacist),
];

/// Admits a regulator and accredits them.
async fn widen(world: &World) {
    let (hospital, ether) = (world.sender("hospital"), U256::from(10).pow(U256::from(18)));
    for name in ["regulator", "auditor", "dispenser"] {
        hospital.transfer(address(name), ether).await.unwrap();
    }
    let (account, role) = (address("regulator"), InstitutionRole::Regulator.number());
    let call = Registry::proposeAdmissionCall { account, role };
    let proposed = world.send("hospital", Contract::Registry, &call).await;
    let vote = Registry::voteCall { id: proposed.events::<Registry::Proposed>()[0].id };
    for (voter, _) in common::INSTITUTIONS {
        // Who proposed has voted, and whoever comes after the majority is refused.
        let _ = world.sender(voter).send(world.at(Contract::Registry), &vote).await;
    }
    let until = convert::to_uint40(world.now().after(Duration::from_secs(365 * 86_400)));
    for (employer, name, role) in GUESTS {
        let call = Registry::accreditCall { signer: address(name), role: role.number(), until };
        world.send(employer, Contract::Registry, &call).await;
    }
}

/// What was told after a sequence number: topic, to whom, and whose care it is about.
async fn told(outbox: &Outbox, after: u64) -> Vec<String> {
    let names: Vec<_> = common::names().chain(["regulator", "auditor", "dispenser"]).collect();
    let name = |who: Address| {
        let found = names.iter().find(|name| address(name) == who);
        if who.is_zero() { "nobody" } else { found.unwrap() }
    };
    let mut all = Vec::new();
    for recipient in &names {
        let page = outbox.inbox(address(recipient), None, 100).await.unwrap();
        all.extend(page.iter().map(|entry| entry.notification));
    }
    all.retain(|told| told.sequence > after);
    all.sort_by_key(|told| told.sequence);
    all.iter()
        .map(|told| format!("{} {} of {}", told.topic, name(told.recipient), name(told.patient)))
        .collect()
}

async fn each_is_told_of_what_others_did(place: Place) {
    let world = World::found(&place.chain()).await;
    widen(&world).await;
    let outbox = Outbox::open(&place.database().await).await.unwrap();
    world.follow(&outbox).await;
    let mut last = outbox.last_sequence().await.unwrap();
    let mut check = async |expected: &[&str]| {
        world.follow(&outbox).await;
        assert_eq!(told(&outbox, last).await, expected);
        last = outbox.last_sequence().await.unwrap();
    };
    let (word, site) = (|text: &str| keccak256(text), address("hospital"));
    let salt = word("salt");
    let id = convert::make_id(address("researcher"), salt);
    let commitment = |party: &str| {
        keccak256((id, address(party), word(&format!("seed of {party}"))).abi_encode())
    };
    let (protocol, criteria) = (word("protocol"), word("criteria"));
    const TRIALS: Contract = Contract::Trials;

    let design = Trials::Design { protocol, endpoints: word("endpoints"), criteria, arms: 2 };
    let call = Trials::registerCall { salt, design, commitment: commitment("institute") };
    world.send("researcher", TRIALS, &call).await;
    let call = Trials::approveCall { id, protocol, commitment: commitment("regulator") };
    world.send("auditor", TRIALS, &call).await;
    world.send("researcher", TRIALS, &Trials::inviteSiteCall { id, site }).await;
    world.send("hospital", TRIALS, &Trials::joinTrialCall { id }).await;
    check(&[
        "trial-registered institute of nobody",
        "trial-approved institute of nobody",
        "trial-approved researcher of nobody",
        "trial-invited hospital of nobody",
        "trial-joined institute of nobody",
        "trial-joined researcher of nobody",
    ])
    .await;

    let nonce = word("nonce");
    for patient in ["pat", "quinn"] {
        let consent = Trials::consentCall { id, site, version: 1, commitment: keccak256(nonce) };
        world.send(patient, TRIALS, &consent).await;
        let call = Trials::screenCall {
            id,
            patient: address(patient),
            eligible: patient == "pat",
            criteria,
            screening: word("screening"),
        };
        world.send("physician", TRIALS, &call).await;
    }
    world.send("pat", TRIALS, &Trials::openNonceCall { id, nonce }).await;
    check(&[
        "trial-consented hospital of pat",
        "trial-screened pat of pat",
        "trial-consented hospital of quinn",
        "trial-screened quinn of quinn",
        "trial-arm-wanted hospital of pat",
    ])
    .await;

    let patient = address("pat");
    let call = Trials::allocateCall { id, patient, allocation: word("allocation") };
    world.send("dispenser", TRIALS, &call).await;
    world.send("nurse", TRIALS, &Trials::enterCall { id, patient, digest: word("visit") }).await;
    // Of an arm nobody is told, and of what was sealed the patient is, as of any record.
    check(&[]).await;

    // Who was excluded is not asked to consent again.
    let amended = word("another protocol");
    let call = Trials::proposeAmendmentCall { id, protocol: amended, criteria };
    world.send("researcher", TRIALS, &call).await;
    let call = Trials::approveAmendmentCall { id, protocol: amended, criteria };
    world.send("auditor", TRIALS, &call).await;
    check(&[
        "trial-amendment-proposed regulator of nobody",
        "trial-amended institute of nobody",
        "trial-amended researcher of nobody",
        "trial-amended hospital of nobody",
        "trial-reconsent pat of pat",
    ])
    .await;

    let report = |serious| Trials::reportAdverseEventCall {
        id,
        patient,
        serious,
        awareAt: convert::to_uint40(world.now()),
        digest: word("report"),
    };
    world.send("nurse", TRIALS, &report(false)).await;
    world.send("nurse", TRIALS, &report(true)).await;
    let call = Trials::acknowledgeCall { id, number: U256::ONE };
    world.send("researcher", TRIALS, &call).await;
    let call = Trials::unblindCall { id, patient, reason: word("reason") };
    world.send("physician", TRIALS, &call).await;
    check(&[
        "trial-adverse-event institute of pat",
        "trial-adverse-event researcher of pat",
        "trial-serious-event institute of pat",
        "trial-serious-event researcher of pat",
        "trial-serious-event regulator of pat",
        "trial-event-acknowledged nurse of nobody",
        "trial-event-acknowledged hospital of nobody",
        "trial-unblinded institute of pat",
        "trial-unblinded researcher of pat",
        "trial-unblinded regulator of pat",
    ])
    .await;

    let call = Trials::trialOfCall { id };
    let held = world.ledger.call(world.at(TRIALS), &call, Default::default()).await.unwrap();
    world.send("researcher", TRIALS, &Trials::lockCall { id, head: held.dataHead }).await;
    for party in ["institute", "regulator"] {
        let seed = word(&format!("seed of {party}"));
        let call = Trials::revealCall { id, party: address(party), seed };
        world.send("auditor", TRIALS, &call).await;
    }
    // Whoever withdrew is not told of the results; who has no part in it withdraws unheard.
    world.send("pat", TRIALS, &Trials::withdrawCall { id, keepData: true }).await;
    world.send("quinn", TRIALS, &Trials::withdrawCall { id, keepData: true }).await;
    let call = Trials::publishCall {
        id,
        endpoints: word("endpoints"),
        dataHead: held.dataHead,
        results: word("results"),
    };
    world.send("researcher", TRIALS, &call).await;
    check(&[
        "trial-locked institute of nobody",
        "trial-locked regulator of nobody",
        "trial-locked hospital of nobody",
        "trial-seed-revealed researcher of nobody",
        "trial-seed-revealed regulator of nobody",
        "trial-seed-revealed hospital of nobody",
        "trial-seed-revealed institute of nobody",
        "trial-seed-revealed researcher of nobody",
        "trial-seed-revealed hospital of nobody",
        "trial-withdrawn hospital of pat",
        "trial-withdrawn institute of pat",
        "trial-withdrawn researcher of pat",
        "trial-published institute of nobody",
        "trial-published regulator of nobody",
        "trial-published hospital of nobody",
    ])
    .await;
}

async fn a_stopped_trial_is_told_to_its_subjects(place: Place) {
    let world = World::found(&place.chain()).await;
    widen(&world).await;
    let outbox = Outbox::open(&place.database().await).await.unwrap();
    let salt = B256::repeat_byte(1);
    let id = convert::make_id(address("researcher"), salt);
    let (site, word) = (address("hospital"), B256::repeat_byte(2));
    let design = Trials::Design { protocol: word, endpoints: word, criteria: word, arms: 2 };
    let call = Trials::registerCall { salt, design, commitment: word };
    world.send("researcher", Contract::Trials, &call).await;
    let call = Trials::approveCall { id, protocol: word, commitment: word };
    world.send("auditor", Contract::Trials, &call).await;
    world.send("researcher", Contract::Trials, &Trials::inviteSiteCall { id, site }).await;
    world.send("hospital", Contract::Trials, &Trials::joinTrialCall { id }).await;
    for patient in ["pat", "quinn"] {
        let call = Trials::consentCall { id, site, version: 1, commitment: word };
        world.send(patient, Contract::Trials, &call).await;
    }
    world.follow(&outbox).await;
    let last = outbox.last_sequence().await.unwrap();
    world.send("auditor", Contract::Trials, &Trials::stopCall { id, reason: word }).await;
    world.follow(&outbox).await;
    let mut told = told(&outbox, last).await;
    told.sort();
    let expected = [
        "trial-stopped hospital of nobody",
        "trial-stopped institute of nobody",
        "trial-stopped pat of pat",
        "trial-stopped quinn of quinn",
        "trial-stopped regulator of nobody",
        "trial-stopped researcher of nobody",
    ];
    assert_eq!(told, expected);
}

on_both! {
    each_is_told_of_what_others_did,
    a_stopped_trial_is_told_to_its_subjects,
}
