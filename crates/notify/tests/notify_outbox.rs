//! From events on chain to notifications in the outbox, and from there to inboxes and streams.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256, U256, aliases::U24, keccak256};
use alloy_sol_types::SolValue as _;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use bindings::{
    Claims, Consents, Contract, DataExchange, EmergencyAccess, LabOrders, PatientAccount,
    PatientAccounts, PaymentToken, Prescriptions, Records, Relationships, Surgeries, WaitingLists,
    convert::{make_id, to_anchor, to_grant, to_opening, to_uint40},
    patient_account::{Recover, deadline, guardians_digest, recover_digest},
};
use common::{CHAIN_ID, Place, World, address, all_of, everybody, name_of, wallet};
use domain::{Kind, KindSet, Period, Purpose, PurposeSet, Terms, Timestamp};
use ledger::PatientKey;
use notify::{Clearance, Notification, Outbox, SseSettings, Subject, Topic, last_event_id};

on_both! {
    tells_those_whom_an_event_concerns,
    following_again_tells_nothing_twice,
    a_cursor_gives_each_once,
    an_inbox_counts_what_was_not_read,
    a_due_review_is_told_once_and_not_after_the_review,
    another_chain_is_followed_anew_and_numbers_go_on,
    only_those_who_are_served_are_told,
}

/// What the outbox holds behind a sequence number, as `topic recipient`.
async fn told(outbox: &Outbox, after: u64) -> Vec<String> {
    let all = all_of(outbox).await;
    let new = all.iter().filter(|notification| notification.sequence > after);
    new.map(|one| format!("{} {}", one.topic, name_of(one.recipient))).collect()
}

async fn tells_those_whom_an_event_concerns(place: Place) {
    let world = World::found(&place.chain()).await;
    let database = place.database().await;
    let outbox = Outbox::open(&database).await.unwrap();
    world.follow(&outbox).await;
    assert_eq!(told(&outbox, 0).await, [""; 0], "members are not news");

    let mut last = 0;
    let mut check = async |expected: &[&str]| {
        world.follow(&outbox).await;
        assert_eq!(told(&outbox, last).await, expected);
        last = outbox.last_sequence().await.unwrap();
    };

    relationships(&world).await;
    check(&[
        "relationship-proposed pat",
        "relationship-accepted hospital",
        "relationship-proposed quinn",
        "relationship-withdrawn quinn",
        "relationship-proposed pat",
        "relationship-declined emergency",
        "policy-proposed pat",
        "policy-changed hospital",
    ])
    .await;

    records(&world).await;
    check(&[
        "record-proposed pat",
        "record-answered hospital",
        "record-answered hospital",
        "record-answered hospital",
        "erasure-requested hospital",
        "record-erased pat",
        "record-proposed pat",
        "record-withdrawn pat",
    ])
    .await;

    consents(&world).await;
    check(&[
        "consent-granted physician",
        "countersignature-wanted hospital",
        "consent-countersigned physician",
        "consent-countersigned pat",
        "countersignature-withdrawn physician",
        "countersignature-withdrawn pat",
        "consent-revoked physician",
        "consent-granted hospital",
    ])
    .await;

    outbox.set_contacts(address("pat"), &[address("nobody")]).await.unwrap();
    outbox.set_contacts(address("pat"), &[address("quinn")]).await.unwrap();
    assert_eq!(outbox.contacts(address("pat")).await.unwrap(), [address("quinn")]);
    emergency(&world).await;
    check(&[
        "emergency-opened pat",
        "emergency-opened emergency",
        "emergency-opened hospital",
        "emergency-opened quinn",
        "emergency-ended pat",
        "emergency-ended emergency",
        "emergency-reviewed pat",
        "emergency-reviewed paramedic",
        "emergency-reviewed emergency",
    ])
    .await;

    prescriptions(&world).await;
    check(&[
        "prescription-issued pat",
        "prescription-permitted pat",
        "prescription-permitted pharmacy",
        "prescription-permitted physician",
        "prescription-permitted pharmacy",
        "prescription-claimed pat",
        "prescription-claimed physician",
        "prescription-released pat",
        "prescription-released physician",
        "prescription-permit-withdrawn physician",
        "prescription-permit-withdrawn pharmacy",
        "prescription-permitted physician",
        "prescription-permitted pharmacy",
        "prescription-claimed pat",
        "prescription-claimed physician",
        "prescription-dispensed pat",
        "prescription-dispensed physician",
        "prescription-cancelled physician",
        "prescription-cancelled pharmacy",
    ])
    .await;

    laboratory(&world).await;
    check(&[
        "lab-ordered pat",
        "lab-ordered laboratory",
        "lab-collected pat",
        "lab-collected physician",
        "lab-collected laboratory",
        "lab-resulted physician",
        "lab-resulted hospital",
        "lab-resulted physician",
        "lab-resulted hospital",
        "lab-critical physician",
        "lab-critical hospital",
        "lab-acknowledged laboratory",
        "lab-released pat",
        "lab-resulted physician",
        "lab-resulted hospital",
        "lab-critical physician",
        "lab-critical hospital",
        "lab-critical physician",
        "lab-critical hospital",
        "lab-ordered pat",
        "lab-ordered laboratory",
        "lab-cancelled physician",
        "lab-cancelled laboratory",
    ])
    .await;

    surgery(&world).await;
    check(&[
        "surgery-referred pat",
        "surgery-referred hospital",
        "surgery-planned pat",
        "surgery-consented hospital",
        "surgery-consent-withdrawn hospital",
        "surgery-consented hospital",
        "surgery-scheduled pat",
        "surgery-scheduled surgeon",
        "surgery-scheduled physician",
        "surgery-complication pat",
        "surgery-complication physician",
        "surgery-complication hospital",
        "surgery-cancelled physician",
        "surgery-cancelled hospital",
    ])
    .await;

    waiting(&world).await;
    check(&[
        "waiting-listed pat",
        "waiting-listed hospital",
        "waiting-prioritised pat",
        "waiting-prioritised physician",
        "appointment-scheduled pat",
        "appointment-scheduled physician",
        "appointment-missed pat",
        "appointment-missed physician",
        "appointment-scheduled pat",
        "waiting-attended physician",
        "waiting-listed pat",
        "waiting-listed hospital",
        "waiting-removed physician",
        "waiting-removed hospital",
    ])
    .await;

    claims(&world).await;
    check(&[
        // The fill that is claimed.
        "prescription-issued pat",
        "prescription-permitted pat",
        "prescription-permitted pharmacy",
        "prescription-permitted physician",
        "prescription-permitted pharmacy",
        "prescription-claimed pat",
        "prescription-claimed physician",
        "coverage-offered pat",
        "coverage-accepted insurer",
        "prescription-dispensed pat",
        "prescription-dispensed physician",
        "prescription-completed pat",
        "prescription-completed physician",
        "authorisation-requested insurer",
        "authorisation-decided pat",
        "authorisation-decided pharmacy",
        "claim-submitted pat",
        "claim-submitted insurer",
        "claim-withdrawn pat",
        "claim-withdrawn insurer",
        "claim-submitted pat",
        "claim-submitted insurer",
        "claim-contested insurer",
        "claim-contested pharmacy",
        "claim-decided pat",
        "claim-decided pharmacy",
        "claim-appealed insurer",
        "claim-appealed pharmacy",
        "claim-decided pat",
        "claim-decided pharmacy",
        "claim-paid pharmacy",
        "copayment-paid pharmacy",
        "claim-refunded insurer",
        "coverage-ended pat",
    ])
    .await;

    research(&world).await;
    check(&[
        "study-approved institute",
        "study-approved researcher",
        "study-approved institute",
        "study-approved researcher",
        "study-consented institute",
        "study-consent-withdrawn institute",
        "study-consent-withdrawn hospital",
        "study-consented institute",
        "extract-ordered hospital",
        "extract-delivered institute",
        "extract-disputed hospital",
        "extract-breached quinn",
        "extract-breached hospital",
        "extract-breached institute",
        "extract-refunded hospital",
        "extract-refunded institute",
        "extract-ordered hospital",
        "extract-delivered institute",
        "extract-settled hospital",
        "extract-settled institute",
        "study-ended institute",
        "study-ended hospital",
        "study-ended pat",
    ])
    .await;

    let end = Relationships::endCall { steward: address("hospital") };
    world.send("pat", Contract::Relationships, &end).await;
    check(&["relationship-ended hospital"]).await;

    let account = recovery(&world).await;
    world.follow(&outbox).await;
    let inbox = outbox.inbox(account, None, 10).await.unwrap();
    let begun = inbox[0].notification;
    assert_eq!((begun.topic, begun.subject), (Topic::RecoveryBegun, Subject::Address(account)));
    assert_eq!((inbox.len(), begun.patient), (1, account));

    // A notification says where the event is, and holds nothing but ids and addresses (S1).
    for notification in all_of(&outbox).await {
        let receipt = world.ledger.receipt(notification.transaction).await.unwrap().unwrap();
        assert_eq!(receipt.block_number, Some(notification.block));
        let logs = receipt.inner.logs();
        assert!(logs.iter().any(|log| log.log_index == Some(notification.log_index)));
        let json = serde_json::to_value(notification).unwrap();
        let back: Notification = serde_json::from_value(json).unwrap();
        assert_eq!(back, notification);
    }
    database.close().await;
}

async fn relationships(world: &World) {
    use Contract::Relationships as RELATIONSHIPS;
    world.relate("hospital", "pat", false).await;
    let propose =
        |patient| Relationships::proposeCall { patient: address(patient), countersigned: false };
    world.send("hospital", RELATIONSHIPS, &propose("quinn")).await;
    let withdraw = Relationships::withdrawCall { patient: address("quinn") };
    world.send("hospital", RELATIONSHIPS, &withdraw).await;
    world.send("emergency", RELATIONSHIPS, &propose("pat")).await;
    let decline = Relationships::declineCall { steward: address("emergency") };
    world.send("pat", RELATIONSHIPS, &decline).await;
    let (patient, steward, countersigned) = (address("pat"), address("hospital"), true);
    let call = Relationships::proposePolicyCall { patient, countersigned };
    world.send("hospital", RELATIONSHIPS, &call).await;
    let call = Relationships::acceptPolicyCall { steward, countersigned };
    world.send("pat", RELATIONSHIPS, &call).await;
}

async fn records(world: &World) {
    use Contract::Records as RECORDS;
    let one = world.propose("pat", keccak256("one")).await;
    world.accept("pat", &one).await;
    let anchor = to_anchor(&one);
    world.send("pat", RECORDS, &Records::disputeCall { anchor: anchor.clone() }).await;
    world.send("pat", RECORDS, &Records::resolveCall { anchor: anchor.clone() }).await;
    world.send("pat", RECORDS, &Records::requestErasureCall { anchor: anchor.clone() }).await;
    let erase = Records::eraseCall { anchor, receipt: keccak256("receipt") };
    world.send("hospital", RECORDS, &erase).await;
    let two = world.propose("pat", keccak256("two")).await;
    world.send("hospital", RECORDS, &Records::withdrawCall { anchor: to_anchor(&two) }).await;
}

async fn consents(world: &World) {
    use Contract::Consents as CONSENTS;
    let until = world.now().after(Duration::from_secs(86_400));
    let terms = to_grant(&Terms {
        period: Period::new(world.now(), until).unwrap(),
        kinds: KindSet::of(&[Kind::Laboratory]),
        purposes: PurposeSet::of(&[Purpose::Treatment]),
    });
    let (patient, reader, record) = (address("pat"), address("physician"), B256::ZERO);
    let grant = Consents::grantCall { reader, record, terms: terms.clone() };
    let granted = world.send("pat", CONSENTS, &grant).await;
    let version = granted.events::<Consents::ConsentGranted>()[0].version;
    let sign = Consents::countersignCall { patient, reader, record, version };
    world.send("hospital", CONSENTS, &sign).await;
    let withdraw = Consents::withdrawCountersignatureCall { patient, reader, record };
    world.send("hospital", CONSENTS, &withdraw).await;
    world.send("pat", CONSENTS, &Consents::revokeCall { reader, record }).await;
    // A steward does not countersign what it is granted itself.
    let grant = Consents::grantCall { reader: address("hospital"), record, terms };
    world.send("pat", CONSENTS, &grant).await;
}

/// Opens an emergency; returns the opening as the contract wants it back.
async fn open_emergency(world: &World, reason: &str) -> EmergencyAccess::Opening {
    let call = EmergencyAccess::openCall {
        patient: address("pat"),
        kinds: KindSet::of(&[Kind::Allergy]).bits(),
        period: to_uint40(Timestamp(3_600)),
        reason: keccak256(reason),
    };
    let opened = world.send("paramedic", Contract::EmergencyAccess, &call).await;
    to_opening(&opened.events::<EmergencyAccess::EmergencyOpened>()[0])
}

async fn review(world: &World, opening: EmergencyAccess::Opening) {
    let call = EmergencyAccess::reviewCall { opening, verdict: 1, note: keccak256("note") };
    world.send("officer", Contract::EmergencyAccess, &call).await;
}

async fn emergency(world: &World) {
    let opening = open_emergency(world, "unconscious").await;
    let end = EmergencyAccess::endCall { opening: opening.clone() };
    world.send("paramedic", Contract::EmergencyAccess, &end).await;
    review(world, opening).await;
}

async fn prescriptions(world: &World) {
    use Contract::Prescriptions as PRESCRIPTIONS;
    let after = |days: u64| to_uint40(world.now().after(Duration::from_secs(days * 86_400)));
    let (salt, pharmacy) = (keccak256("a prescription"), address("pharmacy"));
    let id = make_id(address("physician"), salt);
    let terms = Prescriptions::Terms {
        patient: address("pat"),
        digest: keccak256("sealed"),
        quantity: 30,
        fills: 2,
        validUntil: after(30),
        fillInterval: to_uint40(Timestamp(0)),
    };
    world.send("physician", PRESCRIPTIONS, &Prescriptions::issueCall { salt, terms }).await;
    let permit = Prescriptions::permitCall { id, pharmacy };
    let claim = Prescriptions::claimCall { id };
    world.send("physician", PRESCRIPTIONS, &permit).await;
    world.send("pat", PRESCRIPTIONS, &permit).await;
    world.send("pharmacist", PRESCRIPTIONS, &claim).await;
    world.send("pharmacist", PRESCRIPTIONS, &Prescriptions::releaseCall { id }).await;
    let withdraw = Prescriptions::withdrawPermitCall { id, pharmacy };
    world.send("pat", PRESCRIPTIONS, &withdraw).await;
    world.send("pat", PRESCRIPTIONS, &permit).await;
    world.send("pharmacist", PRESCRIPTIONS, &claim).await;
    let dispensing = Prescriptions::Dispensing {
        quantity: 10,
        productExpiry: after(400),
        batch: keccak256("batch"),
        record: keccak256("dispensing"),
    };
    let dispense = Prescriptions::dispenseCall { id, dispensing };
    world.send("pharmacist", PRESCRIPTIONS, &dispense).await;
    world.send("pat", PRESCRIPTIONS, &Prescriptions::cancelCall { id }).await;
}

async fn laboratory(world: &World) {
    use Contract::LabOrders as ORDERS;
    let order = |salt| LabOrders::orderCall {
        salt,
        patient: address("pat"),
        laboratory: address("laboratory"),
        digest: keccak256("sealed"),
    };
    // Another contract's id may be the same; nobody else is told because of it.
    let salt = keccak256("a prescription");
    let id = make_id(address("physician"), salt);
    world.send("physician", ORDERS, &order(salt)).await;
    let collect = LabOrders::collectCall { id, specimen: keccak256("specimen") };
    world.send("scientist", ORDERS, &collect).await;
    let (hand_over, digest) = (keccak256("to the bench"), keccak256("preliminary"));
    let take_over = LabOrders::takeOverCall { id, handOver: hand_over, previousHead: B256::ZERO };
    world.send("scientist", ORDERS, &take_over).await;
    let preliminary = LabOrders::reportPreliminaryCall { id, digest, critical: false };
    world.send("scientist", ORDERS, &preliminary).await;
    let digest = keccak256("result");
    let report = LabOrders::reportCall { id, digest, critical: true };
    world.send("scientist", ORDERS, &report).await;
    world.send("physician", ORDERS, &LabOrders::acknowledgeCall { id, digest }).await;
    world.send("physician", ORDERS, &LabOrders::releaseCall { id, digest }).await;
    let digest = keccak256("corrected");
    let correct = LabOrders::correctCall { id, digest, critical: true };
    world.send("scientist", ORDERS, &correct).await;
    world.advance(Duration::from_secs(3_600));
    world.send("scientist", ORDERS, &LabOrders::escalateCall { id }).await;
    let salt = keccak256("another order");
    let id = make_id(address("physician"), salt);
    world.send("physician", ORDERS, &order(salt)).await;
    world.send("pat", ORDERS, &LabOrders::cancelCall { id }).await;
}

async fn surgery(world: &World) {
    use Contract::Surgeries as SURGERIES;
    let salt = keccak256("a surgery");
    let refer = Surgeries::referCall {
        salt,
        patient: address("pat"),
        hospital: address("hospital"),
        referral: keccak256("sealed"),
    };
    let (id, plan) = (make_id(address("physician"), salt), keccak256("a plan"));
    world.send("physician", SURGERIES, &refer).await;
    world.send("surgeon", SURGERIES, &Surgeries::assessCall { id, plan }).await;
    world.send("pat", SURGERIES, &Surgeries::consentCall { id, plan }).await;
    world.send("pat", SURGERIES, &Surgeries::withdrawConsentCall { id }).await;
    world.send("pat", SURGERIES, &Surgeries::consentCall { id, plan }).await;
    let schedule = Surgeries::scheduleCall {
        id,
        team: ["surgeon", "physician", "nurse"].map(address),
        scheduledAt: to_uint40(world.now().after(Duration::from_secs(3_600))),
        theatre: keccak256("a theatre"),
    };
    world.send("nurse", SURGERIES, &schedule).await;
    let sign = Surgeries::signInCall { id, checklist: keccak256("a checklist") };
    world.send("physician", SURGERIES, &sign).await;
    world.send("nurse", SURGERIES, &sign).await;
    let complication = Surgeries::reportComplicationCall { id, digest: keccak256("sealed") };
    world.send("nurse", SURGERIES, &complication).await;
    let cancel = Surgeries::cancelCall { id, reason: B256::ZERO };
    world.send("pat", SURGERIES, &cancel).await;
}

async fn waiting(world: &World) {
    use Contract::WaitingLists as LISTS;
    let list = |salt| WaitingLists::listCall {
        salt,
        patient: address("pat"),
        hospital: address("hospital"),
        referral: keccak256("a referral"),
        entry: keccak256("sealed"),
    };
    let hour = Duration::from_secs(3_600);
    let (salt, again) = (keccak256("a listing"), keccak256("another listing"));
    let id = make_id(address("physician"), salt);
    let schedule = || {
        let appointment = to_uint40(world.now().after(hour));
        WaitingLists::scheduleCall { id, appointmentAt: appointment }
    };
    world.send("physician", LISTS, &list(salt)).await;
    world.send("surgeon", LISTS, &WaitingLists::prioritiseCall { id, priority: 2 }).await;
    world.send("surgeon", LISTS, &schedule()).await;
    world.advance(hour);
    world.send("surgeon", LISTS, &WaitingLists::missCall { id }).await;
    world.send("physician", LISTS, &schedule()).await;
    world.advance(hour);
    world.send("surgeon", LISTS, &WaitingLists::attendCall { id }).await;
    world.send("physician", LISTS, &list(again)).await;
    let id = make_id(address("physician"), again);
    let remove = WaitingLists::removeCall { id, reason: keccak256("the reason") };
    world.send("pat", LISTS, &remove).await;
    // A census concerns nobody.
    let census = WaitingLists::publishCensusCall {
        hospital: B256::right_padding_from(b"0999"),
        month: 202_401,
        root: keccak256("a root"),
        rows: 2,
        total: 3,
    };
    world.send("hospital", LISTS, &census).await;
}

/// A fill is claimed, taken back and claimed again; the money comes from the insurer's purse and the patient's.
async fn claims(world: &World) {
    use Contract::{Claims as CLAIMS, PaymentToken as TOKEN, Prescriptions as PRESCRIPTIONS};
    let day = Duration::from_secs(86_400);
    let until = to_uint40(world.now().after(100 * day));
    for (holder, amount) in [("insurer", 10_000), ("pat", 1_000)] {
        let value = U256::from(amount);
        let approve = PaymentToken::approveCall { spender: world.at(CLAIMS), value };
        world.send("insurer", TOKEN, &approve).await;
        let deposit = Claims::depositCall { holder: address(holder), amount: value };
        world.send("insurer", CLAIMS, &deposit).await;
    }
    let (salt, policy) = (keccak256("a coverage"), keccak256("a policy"));
    let coverage = make_id(address("insurer"), salt);
    let terms = Claims::Terms {
        patient: address("pat"),
        from: to_uint40(world.now()),
        until,
        copayment: 1_000,
        limit: 5_000,
        policy,
    };
    let offer = Claims::offerCoverageCall { salt, terms };
    let accept = Claims::acceptCoverageCall { id: coverage, policy };

    let service = make_id(address("physician"), keccak256("a fill"));
    let issue = Prescriptions::issueCall {
        salt: keccak256("a fill"),
        terms: Prescriptions::Terms {
            patient: address("pat"),
            digest: keccak256("sealed"),
            quantity: 1,
            fills: 1,
            validUntil: until,
            fillInterval: to_uint40(Timestamp(0)),
        },
    };
    let evidence = keccak256("what was handed out");
    let permit = Prescriptions::permitCall { id: service, pharmacy: address("pharmacy") };
    let dispense = Prescriptions::dispenseCall {
        id: service,
        dispensing: Prescriptions::Dispensing {
            quantity: 1,
            productExpiry: until,
            batch: keccak256("a batch"),
            record: evidence,
        },
    };
    world.send("physician", PRESCRIPTIONS, &issue).await;
    world.send("physician", PRESCRIPTIONS, &permit).await;
    world.send("pat", PRESCRIPTIONS, &permit).await;
    world.send("pharmacist", PRESCRIPTIONS, &Prescriptions::claimCall { id: service }).await;
    world.send("insurer", CLAIMS, &offer).await;
    world.send("pat", CLAIMS, &accept).await;
    // It runs from the next second on.
    world.advance(Duration::from_secs(1));
    world.send("pharmacist", PRESCRIPTIONS, &dispense).await;

    let request = make_id(address("pharmacy"), keccak256("a request"));
    let ask = Claims::requestAuthorisationCall {
        salt: keccak256("a request"),
        coverage,
        amount: 800,
        request: keccak256("sealed"),
    };
    world.send("pharmacy", CLAIMS, &ask).await;
    let grant = Claims::decideAuthorisationCall { id: request, granted: 500, until };
    world.send("adjudicator", CLAIMS, &grant).await;
    let submit = |salt| Claims::submitCall {
        salt,
        submission: Claims::Submission {
            coverage,
            source: 0,
            service,
            part: U256::ONE,
            evidence,
            amount: 1_000,
            authorisation: B256::ZERO,
            digest: keccak256("sealed"),
        },
    };
    let (first, second) = (keccak256("a claim"), keccak256("the claim again"));
    world.send("pharmacy", CLAIMS, &submit(first)).await;
    let id = make_id(address("pharmacy"), first);
    world.send("pharmacy", CLAIMS, &Claims::withdrawClaimCall { id }).await;
    world.send("pharmacy", CLAIMS, &submit(second)).await;
    let id = make_id(address("pharmacy"), second);
    let reason = keccak256("the reason");
    world.send("pat", CLAIMS, &Claims::contestCall { id, reason }).await;
    let decision = |approved| Claims::Decision {
        approved,
        flags: 8,
        rules: keccak256("rules"),
        explanation: keccak256("sealed"),
    };
    let decide = Claims::adjudicateCall { id, decision: decision(800) };
    world.send("adjudicator", CLAIMS, &decide).await;
    world.send("pat", CLAIMS, &Claims::appealCall { id, reason }).await;
    let decide = Claims::decideAppealCall { id, decision: decision(900) };
    world.send("arbiter", CLAIMS, &decide).await;
    world.send("nurse", CLAIMS, &Claims::payCall { id }).await;
    world.send("pat", CLAIMS, &Claims::payCopaymentCall { id }).await;
    let refund = Claims::refundCall { id, toInsurer: 100, toPatient: 0 };
    world.send("pharmacy", CLAIMS, &refund).await;
    world.send("insurer", CLAIMS, &Claims::endCoverageCall { id: coverage }).await;
}

/// A study that costs nothing, with an extract in which somebody is who did not consent, and one that is settled.
async fn research(world: &World) {
    use Contract::DataExchange as EXCHANGE;
    let day = Duration::from_secs(86_400);
    let offer = make_id(address("hospital"), keccak256("an offer"));
    let call = DataExchange::offerCall {
        salt: keccak256("an offer"),
        price: 0,
        patientShare: 0,
        dataset: keccak256("a dataset"),
        terms: keccak256("terms"),
    };
    world.send("hospital", EXCHANGE, &call).await;
    let (salt, protocol) = (keccak256("a study"), keccak256("a protocol"));
    let study = make_id(address("researcher"), salt);
    let until = to_uint40(world.now().after(100 * day));
    world
        .send("researcher", EXCHANGE, &DataExchange::proposeStudyCall { salt, until, protocol })
        .await;
    for officer in ["officer", "keeper"] {
        let opinion = keccak256("an opinion");
        let call = DataExchange::approveStudyCall { id: study, protocol, opinion };
        world.send(officer, EXCHANGE, &call).await;
    }
    let consent = DataExchange::consentCall { study, protocol };
    world.send("pat", EXCHANGE, &consent).await;
    let query = keccak256("a question");
    let call = DataExchange::answerCall { study, query, count: 5, leastDifference: 5 };
    world.send("hospital", EXCHANGE, &call).await;
    world.send("pat", EXCHANGE, &DataExchange::withdrawConsentCall { study }).await;
    world.send("pat", EXCHANGE, &consent).await;
    for order in ["an order", "another order"] {
        let (salt, leaf_salt) = (keccak256(order), keccak256("of a leaf"));
        let id = make_id(address("institute"), salt);
        let call = DataExchange::orderCall { salt, study, offer_: offer, query };
        world.send("institute", EXCHANGE, &call).await;
        // Whoever did not consent is in it.
        let leaf = keccak256(keccak256((id, address("quinn"), leaf_salt).abi_encode()));
        let call = DataExchange::deliverCall {
            id,
            extract: keccak256([order, "'s extract"].concat()),
            patients: leaf,
            count: 5,
            withdrawals: 1,
        };
        world.send("hospital", EXCHANGE, &call).await;
        if order == "another order" {
            world.send("institute", EXCHANGE, &DataExchange::settleCall { id }).await;
            continue;
        }
        let call = DataExchange::disputeCall { id, reason: keccak256("the reason") };
        world.send("institute", EXCHANGE, &call).await;
        let (patient, salt) = (address("quinn"), leaf_salt);
        let call = DataExchange::challengeCall { id, patient, salt, proof: Vec::new() };
        world.send("laboratory", EXCHANGE, &call).await;
    }
    let call = DataExchange::endStudyCall { id: study, reason: keccak256("the reason") };
    world.send("researcher", EXCHANGE, &call).await;
}

/// An account whose only guardian begins to replace its key; returns the account.
async fn recovery(world: &World) -> Address {
    let verifier = world.at(Contract::WebAuthnVerifier);
    let signer = |name| PatientKey::Wallet(wallet(name)).signer(verifier);
    let (salt, signers) = (keccak256("salt"), vec![signer("guardian")]);
    let create = PatientAccounts::createCall {
        signer: signer("lost phone"),
        guardians: guardians_digest(salt, 1, &signers),
        recoveryDelay: U24::from(86_400),
        custodians: Vec::new(),
        salt: B256::ZERO,
    };
    let created = world.send("hospital", Contract::PatientAccounts, &create).await;
    let account = created.events::<PatientAccounts::AccountCreated>()[0].account;
    let until = deadline(world.now().after(Duration::from_secs(600)));
    let (new_signer, nonce) = (signer("new phone"), U256::ZERO);
    let recovery = Recover { newSigner: new_signer.clone(), nonce, deadline: until };
    let digest = recover_digest(CHAIN_ID, account, &recovery);
    let propose = PatientAccount::proposeRecoveryCall {
        newSigner: new_signer,
        set: PatientAccount::GuardianSet { salt, threshold: 1, signers },
        deadline: until,
        signatures: vec![PatientKey::Wallet(wallet("guardian")).sign(digest)],
    };
    world.sender("hospital").send(account, &propose).await.unwrap();
    account
}

/// Some proposals for the patient, and answers for the hospital.
async fn busy(world: &World, count: u8) {
    for number in 0..count {
        let anchor = world.propose("pat", keccak256([number])).await;
        world.accept("pat", &anchor).await;
    }
}

async fn following_again_tells_nothing_twice(place: Place) {
    let world = World::found(&place.chain()).await;
    world.relate("hospital", "pat", false).await;
    let database = place.database().await;
    let outbox = Outbox::open(&database).await.unwrap();
    busy(&world, 3).await;
    assert_eq!(world.follow(&outbox).await, 8);
    assert_eq!(world.follow(&outbox).await, 0);
    let before = all_of(&outbox).await;
    database.close().await;

    // Another start of the program goes on where the one before was.
    let database = place.database().await;
    let outbox = Outbox::open(&database).await.unwrap();
    assert_eq!(world.follow(&outbox).await, 0);
    world.propose("pat", keccak256("later")).await;
    assert_eq!(world.follow(&outbox).await, 1);
    let after = all_of(&outbox).await;
    assert_eq!(after[..before.len()], before);
    let sequences: Vec<_> = after.iter().map(|notification| notification.sequence).collect();
    assert_eq!(sequences, (1..=9).collect::<Vec<_>>());
    database.close().await;
}

async fn a_cursor_gives_each_once(place: Place) {
    let world = World::found(&place.chain()).await;
    world.relate("hospital", "pat", false).await;
    let database = place.database().await;
    let outbox = Outbox::open(&database).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    for round in 0..5_u8 {
        for number in 0..3 {
            world.propose("pat", keccak256([round, number])).await;
        }
        world.follow(&outbox).await;
        loop {
            let page = outbox.inbox(address("pat"), after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.notification.sequence);
            seen.extend(page.iter().map(|entry| entry.notification));
        }
    }
    let replayed = outbox.inbox(address("pat"), None, 100).await.unwrap();
    let replayed: Vec<_> = replayed.iter().map(|entry| entry.notification).collect();
    assert_eq!((seen.len(), &seen), (16, &replayed));
    let newest = outbox.newest(address("pat"), None, 3).await.unwrap();
    assert_eq!(newest[0].notification, seen[15]);
    let older = outbox.newest(address("pat"), Some(seen[1].sequence), 3).await.unwrap();
    assert_eq!(older.len(), 1);
    database.close().await;
}

async fn an_inbox_counts_what_was_not_read(place: Place) {
    let world = World::found(&place.chain()).await;
    world.relate("hospital", "pat", false).await;
    let database = place.database().await;
    let outbox = Outbox::open(&database).await.unwrap();
    busy(&world, 3).await;
    world.follow(&outbox).await;
    let pat = address("pat");
    assert_eq!(outbox.unread(pat).await.unwrap(), 4);
    let second = outbox.inbox(pat, None, 2).await.unwrap()[1].notification.sequence;
    assert!(outbox.mark_read(pat, second, Timestamp(5)).await.unwrap());
    assert!(!outbox.mark_read(pat, second, Timestamp(6)).await.unwrap());
    assert!(!outbox.mark_read(address("quinn"), second + 1, Timestamp(6)).await.unwrap());
    assert_eq!(outbox.unread(pat).await.unwrap(), 3);
    let entry = outbox.inbox(pat, Some(second - 1), 1).await.unwrap()[0];
    assert_eq!(entry.read_at, Some(Timestamp(5)));
    let third = outbox.inbox(pat, Some(second), 1).await.unwrap()[0].notification.sequence;
    assert_eq!(outbox.mark_read_up_to(pat, third, Timestamp(7)).await.unwrap(), 2);
    assert_eq!(outbox.unread(pat).await.unwrap(), 1);
    assert_eq!(outbox.unread(address("hospital")).await.unwrap(), 4);
    database.close().await;
}

async fn a_due_review_is_told_once_and_not_after_the_review(place: Place) {
    let world = World::found(&place.chain()).await;
    let database = place.database().await;
    let outbox = Outbox::open(&database).await.unwrap();
    let opening = open_emergency(&world, "first").await;
    world.advance(Duration::from_secs(4_000));
    open_emergency(&world, "second").await;
    review(&world, opening).await;
    world.follow(&outbox).await;
    let last = outbox.last_sequence().await.unwrap();

    world.advance(Duration::from_secs(47 * 3_600));
    assert_eq!(world.follow(&outbox).await, 0);
    world.advance(Duration::from_secs(3_600));
    assert_eq!(world.follow(&outbox).await, 1);
    assert_eq!(world.follow(&outbox).await, 0);
    assert_eq!(told(&outbox, last).await, ["emergency-review-due emergency"]);
    database.close().await;
}

async fn another_chain_is_followed_anew_and_numbers_go_on(place: Place) {
    let database = place.database().await;
    let outbox = Outbox::open(&database).await.unwrap();
    let world = World::found(&place.chain().join("one")).await;
    world.relate("hospital", "pat", true).await;
    assert_eq!(world.follow(&outbox).await, 2);
    let before = all_of(&outbox).await;

    // The same contracts in other blocks: what an endpoint shows that took its blocks back.
    let world = World::open(&place.chain().join("other"));
    world.advance(Duration::from_secs(1));
    world.begin().await;
    world.relate("hospital", "pat", false).await;
    assert_eq!(world.follow(&outbox).await, 2);
    let after = all_of(&outbox).await;
    assert_eq!(after[..2], before);
    let sequences: Vec<_> = after.iter().map(|notification| notification.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
    assert_eq!(world.follow(&outbox).await, 0);
    database.close().await;
}

async fn only_those_who_are_served_are_told(place: Place) {
    let world = World::found(&place.chain()).await;
    world.relate("hospital", "pat", true).await;
    let database = place.database().await;
    let outbox = Outbox::open(&database).await.unwrap();
    let only_hospital = |who: Address| who == address("hospital");
    let follow = || outbox.follow(&world.ledger, &world.deployment, &only_hospital, world.now());
    assert_eq!(follow().await.unwrap(), 1);
    // What others' events left behind is known all the same.
    consents(&world).await;
    follow().await.unwrap();
    assert_eq!(
        told(&outbox, 1).await,
        ["countersignature-wanted hospital", "consent-granted hospital"]
    );
    database.close().await;
}

/// What a test's server answers streams from.
#[derive(Clone)]
struct Served {
    outbox: Outbox,
    stall_max: Duration,
    allowed: Arc<AtomicBool>,
}

async fn serve(State(served): State<Served>, headers: HeaderMap) -> Response {
    let Ok(after) = last_event_id(&headers) else { return StatusCode::BAD_REQUEST.into_response() };
    let settings =
        SseSettings { heartbeat: Duration::from_millis(100), stall_max: served.stall_max };
    let allowed = Arc::clone(&served.allowed);
    let may = move |_| {
        let allowed = allowed.load(Ordering::SeqCst);
        async move { if allowed { Clearance::Granted } else { Clearance::Refused } }
    };
    served.outbox.events(address("pat"), after, settings, may).await.unwrap().into_response()
}

/// An outbox with some notifications, streamed over HTTP.
struct Streamed {
    world: World,
    outbox: Outbox,
    allowed: Arc<AtomicBool>,
    url: String,
    _place: Place,
}

impl Streamed {
    async fn new(stall_max: Duration) -> Self {
        let place = Place::sqlite();
        let world = World::found(&place.chain()).await;
        world.relate("hospital", "pat", false).await;
        let outbox = Outbox::open(&place.database().await).await.unwrap();
        busy(&world, 2).await;
        world.follow(&outbox).await;
        let allowed = Arc::new(AtomicBool::new(true));
        let served = Served { outbox: outbox.clone(), stall_max, allowed: Arc::clone(&allowed) };
        let router = Router::new().route("/events", get(serve)).with_state(served);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { world, outbox, allowed, url, _place: place }
    }

    async fn connect(&self, last_event_id: Option<&str>) -> Stream {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let request = reqwest::Client::new().get(&self.url);
        let request = match last_event_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        Stream { response: request.send().await.unwrap(), text: String::new() }
    }
}

struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    /// The id and the notification of the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(u64, Notification)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| {
                    let lines = event.lines();
                    lines.filter_map(|line| line.strip_prefix(name)).next().map(str::trim)
                };
                // A comment is a heartbeat.
                let Some(data) = field("data:") else { continue };
                let notification: Notification = serde_json::from_str(data).unwrap();
                assert_eq!(field("event:"), Some(notification.topic.name()));
                return Some((field("id:").unwrap().parse().unwrap(), notification));
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_behind_the_last_event() {
    let streamed = Streamed::new(PATIENCE).await;
    let inbox = streamed.outbox.inbox(address("pat"), None, 10).await.unwrap();
    let inbox: Vec<_> = inbox.iter().map(|entry| entry.notification).collect();
    assert_eq!(inbox.len(), 3);
    let mut stream = streamed.connect(Some("0")).await;
    assert_eq!(stream.next().await.unwrap(), (inbox[0].sequence, inbox[0]));
    drop(stream);
    let mut stream = streamed.connect(Some(&inbox[0].sequence.to_string())).await;
    assert_eq!(stream.next().await.unwrap().1, inbox[1]);
    assert_eq!(stream.next().await.unwrap().1, inbox[2]);
    // What is new comes as it is taken in, also to whoever never came before.
    let mut fresh = streamed.connect(None).await;
    streamed.world.propose("pat", keccak256("new")).await;
    streamed.world.follow(&streamed.outbox).await;
    let new = stream.next().await.unwrap();
    assert!(new.0 > inbox[2].sequence);
    assert_eq!(fresh.next().await.unwrap(), new);
    assert_eq!(streamed.connect(Some("x")).await.response.status(), StatusCode::BAD_REQUEST);

    streamed.outbox.stop();
    assert_eq!(stream.next().await, None);
    assert_eq!(fresh.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_when_its_reader_may_be_told_no_more() {
    let streamed = Streamed::new(PATIENCE).await;
    let mut stream = streamed.connect(None).await;
    streamed.allowed.store(false, Ordering::SeqCst);
    streamed.world.propose("pat", keccak256("new")).await;
    streamed.world.follow(&streamed.outbox).await;
    assert_eq!(stream.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_let_go_and_catches_up() {
    // Any reader is too slow here.
    let streamed = Streamed::new(Duration::ZERO).await;
    let mut last = 0;
    for _ in 0..3 {
        let mut stream = streamed.connect(Some(&last.to_string())).await;
        let (id, _) = stream.next().await.unwrap();
        assert!(id > last);
        last = id;
        assert_eq!(stream.next().await, None);
    }
    assert_eq!(
        streamed.outbox.newest(address("pat"), None, 1).await.unwrap()[0].notification.sequence,
        last
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_until_it_is_stopped() {
    let place = Place::sqlite();
    let world = Arc::new(World::found(&place.chain()).await);
    let outbox = Outbox::open(&place.database().await).await.unwrap();
    let (running, in_world) = (outbox.clone(), Arc::clone(&world));
    let following = tokio::spawn(async move {
        let clock = || in_world.now();
        running.run(&in_world.ledger, &in_world.deployment, &everybody, &clock).await;
    });
    world.relate("hospital", "pat", false).await;
    while outbox.last_sequence().await.unwrap() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    outbox.stop();
    following.await.unwrap();
}
