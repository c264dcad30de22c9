//! Sending, refusing, relaying, following: the same on the embedded chain and on anvil.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, U256};
use alloy_provider::Provider as _;
use bindings::{
    Consents, Contract, ContractError, EmergencyAccess, PatientAccount, Prescriptions, Registry,
    Relationships, convert,
    patient_account::{Call, deadline},
};
use common::{NOW, World, address, anvil, embedded, secret, wallet};
use domain::{
    InstitutionRole, Kind, KindSet, Period, Purpose, PurposeSet, Reader, RecordDigest, RecordId,
    RecordVersion, RelationshipState, Request, Terms, Timestamp,
};
use ledger::{
    CallError, Follower, Passkey, PatientKey, Projection, SendError, Sender, Step,
    is_valid_signature,
};

/// Runs a test on each chain there is.
macro_rules! on_every_chain {
    ($($name:ident)+) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                super::$name(super::World::new(super::embedded()).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn anvil() {
                if let Some(backend) = super::anvil().await {
                    super::$name(super::World::new(backend).await).await;
                }
            }
        }
    )+ };
}

on_every_chain! {
    contracts_are_deployed_and_listed
    refusals_come_back_as_errors_of_the_contract
    many_tasks_share_one_key
    two_programs_share_one_key
    restarted_sender_continues
    patients_act_by_passkey_and_by_wallet
    batches_run_whole_or_not_at_all
    replayed_and_expired_batches_are_refused
    guardians_recover_an_account_and_the_old_key_can_cancel
    projection_agrees_with_the_contracts
}

const VALID_UNTIL: Timestamp = Timestamp(NOW + 10_000_000);

fn terms(kinds: &[Kind]) -> Terms {
    Terms {
        period: Period::new(Timestamp(NOW - 10), Timestamp(NOW + 1_000_000)).unwrap(),
        kinds: KindSet::of(kinds),
        purposes: PurposeSet::of(&[Purpose::Treatment]),
    }
}

fn grant(reader: Address) -> Consents::grantCall {
    let terms = convert::to_grant(&terms(&[Kind::Laboratory]));
    Consents::grantCall { reader, record: B256::ZERO, terms }
}

async fn contracts_are_deployed_and_listed(world: World) {
    let registry = world.at(Contract::Registry);
    for contract in Contract::ALL.into_iter().filter(|contract| *contract != Contract::Registry) {
        let code = world.ledger().provider().get_code_at(world.at(contract)).await.unwrap();
        assert!(!code.is_empty(), "{contract} on {}", world.backend.name);
    }
    // Four founders: one vote is no majority yet.
    let name = bindings::contract_name(Contract::Records);
    let call = Registry::contractAtCall { name };
    let listed = world.ledger().call(registry, &call, BlockId::latest()).await.unwrap();
    assert_eq!(listed, Address::ZERO);
    for name in ["laboratory", "pharmacy"] {
        world.sender(name).send(registry, &Registry::voteCall { id: U256::ONE }).await.unwrap();
    }
    let listed = world.ledger().call(registry, &call, BlockId::latest()).await.unwrap();
    assert_eq!(listed, world.at(Contract::Records));
}

async fn refusals_come_back_as_errors_of_the_contract(world: World) {
    use bindings::Registry::RegistryErrors;
    let physician = world.sender("physician");
    let call = Registry::proposeExpulsionCall { member: address("pharmacy") };
    let refused = physician.send(world.at(Contract::Registry), &call).await;
    let expected = Registry::NotInstitution { signer: address("physician") };
    let expected = ContractError::Registry(RegistryErrors::NotInstitution(expected));
    assert!(matches!(refused, Err(SendError::Refused(error)) if *error == expected));

    // An error of a contract that the called one called.
    let call = Prescriptions::claimCall { id: B256::repeat_byte(1) };
    let refused = world.sender("hospital").send(world.at(Contract::Prescriptions), &call).await;
    let Err(SendError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().ends_with("(NotProfessional)"), "{error}");

    let call = Registry::institutionCall { signer: Address::ZERO };
    let refused = world.ledger().call(world.at(Contract::Registry), &call, BlockId::latest()).await;
    let Err(CallError::Reverted(error)) = refused else { panic!("{refused:?}") };
    assert!(matches!(*error, ContractError::Registry(_)), "{error}");
}

async fn many_tasks_share_one_key(world: World) {
    let sender = world.sender("hospital");
    let consents = world.at(Contract::Consents);
    let tasks: Vec<_> = (1..=40_u8)
        .map(|reader| {
            let sender = sender.clone();
            let call = grant(Address::repeat_byte(reader));
            tokio::spawn(async move { sender.send(consents, &call).await.unwrap().block() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap() > 0);
    }
}

async fn two_programs_share_one_key(world: World) {
    let consents = world.at(Contract::Consents);
    let programs = [world.sender("hospital"), world.sender("hospital")];
    let tasks: Vec<_> = (1..=20_u8)
        .flat_map(|reader| programs.iter().map(move |program| (reader, program.clone())))
        .map(|(reader, program)| {
            let call = grant(Address::repeat_byte(reader));
            tokio::spawn(async move { program.send(consents, &call).await.unwrap() })
        })
        .collect();
    let mut hashes = Vec::new();
    for task in tasks {
        hashes.push(task.await.unwrap().hash());
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 40, "each call ran in a transaction of its own");
}

async fn restarted_sender_continues(world: World) {
    let consents = world.at(Contract::Consents);
    for reader in 1..=5 {
        let sender = world.sender("hospital");
        sender.send(consents, &grant(Address::repeat_byte(reader))).await.unwrap();
    }
}

async fn patients_act_by_passkey_and_by_wallet(world: World) {
    let hospital = world.sender("hospital");
    let consents = world.at(Contract::Consents);
    let by_wallet = world.patient(PatientKey::Wallet(wallet("patient"))).await;
    let by_passkey = world.passkey_patient().await;
    for patient in [by_wallet, by_passkey] {
        let call = Call::to_contract(consents, &grant(address("laboratory")));
        let outcome = patient.act(&hospital, vec![call], VALID_UNTIL).await.unwrap();
        let granted = outcome.events::<Consents::ConsentGranted>();
        assert_eq!(granted[0].patient, patient.account());

        let digest = B256::repeat_byte(9);
        let signature = patient.sign_message(common::CHAIN_ID, digest).unwrap();
        let account = patient.account();
        let check = |hash, signature| is_valid_signature(world.ledger(), account, hash, signature);
        assert!(check(digest, signature.clone()).await.unwrap());
        assert!(!check(B256::ZERO, signature.clone()).await.unwrap());
        // Whoever relays for a patient cannot sign for them.
        let elsewhere = is_valid_signature(world.ledger(), consents, digest, signature).await;
        assert!(!elsewhere.unwrap());
    }
}

async fn batches_run_whole_or_not_at_all(world: World) {
    let hospital = world.sender("hospital");
    let consents = world.at(Contract::Consents);
    let patient = world.passkey_patient().await;
    let both = [address("laboratory"), address("pharmacy")]
        .map(|reader| Call::to_contract(consents, &grant(reader)));
    let outcome = patient.act(&hospital, both.to_vec(), VALID_UNTIL).await.unwrap();
    assert_eq!(outcome.events::<Consents::ConsentGranted>().len(), 2);

    let nothing = Consents::Grant { kinds: 0, ..convert::to_grant(&terms(&[Kind::Allergy])) };
    let bad =
        Consents::grantCall { reader: address("emergency"), record: B256::ZERO, terms: nothing };
    let good = Call::to_contract(consents, &grant(address("emergency")));
    let calls = vec![good, Call::to_contract(consents, &bad)];
    let refused = patient.act(&hospital, calls, VALID_UNTIL).await;
    let Err(SendError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().ends_with("(NoKinds)"), "{error}");
    let call = Consents::consentOfCall {
        patient: patient.account(),
        reader: address("emergency"),
        record: B256::ZERO,
    };
    let held = world.ledger().call(consents, &call, BlockId::latest()).await.unwrap();
    assert_eq!(held.kinds, 0, "the good half was not kept");
}

async fn replayed_and_expired_batches_are_refused(world: World) {
    let hospital = world.sender("hospital");
    let patient = world.passkey_patient().await;
    let call = Call::to_contract(world.at(Contract::Consents), &grant(address("laboratory")));
    let signed = patient.sign_batch(world.ledger(), vec![call.clone()], VALID_UNTIL).await.unwrap();
    hospital.send(patient.account(), &signed).await.unwrap();
    let refused = |outcome| match outcome {
        Err(SendError::Refused(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let again = refused(hospital.send(patient.account(), &signed).await);
    assert!(again.ends_with("(WrongNonce)"), "{again}");

    let late = patient.act(&hospital, vec![call.clone()], Timestamp(NOW - 1)).await;
    let late = refused(late);
    assert!(late.ends_with("(Expired)"), "{late}");

    // The same signature for another account.
    let other = world.patient(PatientKey::Wallet(wallet("patient"))).await;
    let signed = patient.sign_batch(world.ledger(), vec![call], VALID_UNTIL).await.unwrap();
    let moved = refused(hospital.send(other.account(), &signed).await);
    assert!(moved.ends_with("(NotAuthorised)") || moved.ends_with("(WrongNonce)"), "{moved}");
}

async fn guardians_recover_an_account_and_the_old_key_can_cancel(world: World) {
    use bindings::patient_account::{Recover, guardians_digest, recover_digest};
    let hospital = world.sender("hospital");
    let guardians = ["mother", "friend", "nurse"].map(wallet);
    let signers: Vec<_> = guardians.iter().map(|key| key.address().to_vec().into()).collect();
    let salt = secret("guardians");
    let verifier = world.at(Contract::WebAuthnVerifier);
    let old = PatientKey::Wallet(wallet("lost phone"));
    let create = bindings::PatientAccounts::createCall {
        signer: old.signer(verifier),
        guardians: guardians_digest(salt, 2, &signers),
        recoveryDelay: alloy_primitives::aliases::U24::from(86_400),
        custodians: Vec::new(),
        salt: B256::ZERO,
    };
    let factory = world.at(Contract::PatientAccounts);
    let account = ledger::predict_account(world.ledger(), factory, &create).await.unwrap();
    hospital.send(factory, &create).await.unwrap();

    let fresh = Passkey::from_secret(&secret("new phone"), "https://salus.example").unwrap();
    let new_signer = fresh.signer(verifier);
    let propose = |nonce: u64, signing: &[usize]| {
        let recovery = Recover {
            newSigner: new_signer.clone(),
            nonce: U256::from(nonce),
            deadline: deadline(VALID_UNTIL),
        };
        let digest = recover_digest(common::CHAIN_ID, account, &recovery);
        let signatures = guardians.iter().enumerate().map(|(index, key)| {
            let signed = signing.contains(&index);
            let key = PatientKey::Wallet(key.clone());
            if signed { key.sign(digest) } else { Default::default() }
        });
        PatientAccount::proposeRecoveryCall {
            newSigner: new_signer.clone(),
            set: PatientAccount::GuardianSet { salt, threshold: 2, signers: signers.clone() },
            deadline: deadline(VALID_UNTIL),
            signatures: signatures.collect(),
        }
    };
    let next_nonce = || async {
        let call = PatientAccount::recoveryCall {};
        let state = world.ledger().call(account, &call, BlockId::latest()).await.unwrap();
        state.nextNonce.to::<u64>()
    };
    let too_few = hospital.send(account, &propose(next_nonce().await, &[1])).await;
    assert!(matches!(too_few, Err(SendError::Refused(_))));
    hospital.send(account, &propose(next_nonce().await, &[0, 2])).await.unwrap();
    let finish = PatientAccount::finishRecoveryCall { newSigner: new_signer.clone() };
    let early = hospital.send(account, &finish).await;
    let Err(SendError::Refused(early)) = early else { panic!("{early:?}") };
    assert!(early.to_string().ends_with("(RecoveryNotReady)"), "{early}");

    // Whoever still has the old key stops it.
    let patient = ledger::Patient::new(account, verifier, old);
    let cancel = Call::to_contract(account, &PatientAccount::cancelRecoveryCall {});
    patient.act(&hospital, vec![cancel], VALID_UNTIL).await.unwrap();
    let stopped = hospital.send(account, &finish).await;
    assert!(matches!(stopped, Err(SendError::Refused(_))));
}

async fn projection_agrees_with_the_contracts(world: World) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("projection");
    let (hospital, patient) = (world.sender("hospital"), world.passkey_patient().await);
    let relationships = world.at(Contract::Relationships);
    let propose = Relationships::proposeCall { patient: patient.account(), countersigned: true };
    hospital.send(relationships, &propose).await.unwrap();
    let accept = Relationships::acceptCall { steward: address("hospital"), countersigned: true };
    let calls = vec![
        Call::to_contract(relationships, &accept),
        Call::to_contract(world.at(Contract::Consents), &grant(address("laboratory"))),
    ];
    patient.act(&hospital, calls, VALID_UNTIL).await.unwrap();
    let mut projection = Projection::default();
    assert!(projection.catch_up(world.ledger(), world.deployment()).await.unwrap());
    projection.save(&path).unwrap();

    // A second one continues from the file.
    let open = EmergencyAccess::openCall {
        patient: patient.account(),
        kinds: KindSet::of(&[Kind::Allergy]).bits(),
        period: convert::to_uint40(Timestamp(3_600)),
        reason: B256::repeat_byte(1),
    };
    let paramedic = world.sender("paramedic");
    paramedic.send(world.at(Contract::EmergencyAccess), &open).await.unwrap();
    let mut projection = Projection::load(&path);
    assert!(projection.cursor().is_some());
    assert!(projection.catch_up(world.ledger(), world.deployment()).await.unwrap());

    let time = Timestamp(projection.cursor().unwrap().time);
    let reader = projection.registry.reader(&address("physician"), time).unwrap();
    assert!(matches!(reader, Reader::Professional { institution, .. }
        if institution == address("hospital")));
    let laboratory = projection.registry.reader(&address("laboratory"), time).unwrap();
    let role = InstitutionRole::Laboratory;
    assert_eq!(laboratory, Reader::Institution { member: address("laboratory"), role });
    assert_eq!(projection.registry.reader(&Address::ZERO, time), None);

    let request = Request {
        reader: laboratory,
        patient: patient.account(),
        steward: address("hospital"),
        record: RecordId(B256::repeat_byte(7)),
        kind: Kind::Laboratory,
        purpose: Purpose::Treatment,
        time,
    };
    let digest = RecordDigest(B256::repeat_byte(8));
    let facts = projection.facts(&request, RecordVersion::FIRST, digest);
    assert_eq!(facts.relationship, Some(RelationshipState::Active));
    assert!(facts.countersigning);
    assert_eq!(facts.grants[0].terms, terms(&[Kind::Laboratory]));
    assert_eq!(facts.openings.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reorganised_chain_rewinds_the_follower() {
    let Some(backend) = anvil().await else { return };
    let world = World::new(backend).await;
    let sender = world.sender("hospital");
    let consents = world.at(Contract::Consents);
    sender.send(consents, &grant(address("laboratory"))).await.unwrap();
    let mut projection = Projection::default();
    projection.catch_up(world.ledger(), world.deployment()).await.unwrap();
    assert_eq!(projection.consents.grants(address("hospital")).len(), 1);

    // The last blocks are taken back and others take their place, without the grant.
    let provider = world.ledger().provider();
    let _: () = provider.raw_request("anvil_rollback".into(), (5_u64,)).await.unwrap();
    let _: () = provider.raw_request("anvil_mine".into(), (20_u64, 3_u64)).await.unwrap();
    let mut follower = Follower::new(world.ledger().clone(), vec![consents], projection.cursor());
    assert!(matches!(follower.next().await.unwrap(), Some(Step::Rewind)));
    projection.catch_up(world.ledger(), world.deployment()).await.unwrap();
    assert!(projection.consents.grants(address("hospital")).is_empty());
}

/// An endpoint that stops answering after so many requests, and does not say when blocks were made.
struct Flaky {
    left: std::sync::Arc<std::sync::atomic::AtomicU64>,
    url: String,
}

impl Flaky {
    fn serve(rpc: chain::Rpc) -> Self {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let left = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
        let answering = std::sync::Arc::clone(&left);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    let line = line.trim().to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let call: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let left = answering.load(std::sync::atomic::Ordering::SeqCst);
                let (status, reply) = if left == 0 {
                    ("500 Internal Server Error", "out of order".to_owned())
                } else {
                    answering.store(left - 1, std::sync::atomic::Ordering::SeqCst);
                    let method = call["method"].as_str().unwrap();
                    let mut result = rpc.handle(method, call["params"].clone()).unwrap();
                    for log in result.as_array_mut().into_iter().flatten() {
                        log.as_object_mut().unwrap().remove("blockTimestamp");
                    }
                    let reply = serde_json::json!({
                        "jsonrpc": "2.0", "id": call["id"], "result": result,
                    });
                    ("200 OK", reply.to_string())
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
                    content-length: {}\r\n\r\n",
                    reply.len()
                );
                let _ = stream.get_mut().write_all(format!("{head}{reply}").as_bytes());
            }
        });
        Self { left, url }
    }

    fn fail_after(&self, requests: u64) {
        self.left.store(requests, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Whichever request fails, nothing is taken in twice, and nothing known is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_requests_leave_the_projection_whole() {
    use ledger::{Ledger, Policy};
    let world = World::new(embedded()).await;
    let patient = address("hospital");
    for reader in ["laboratory", "pharmacy"] {
        let sender = world.sender("hospital");
        sender.send(world.at(Contract::Consents), &grant(address(reader))).await.unwrap();
    }
    let open = EmergencyAccess::openCall {
        patient,
        kinds: KindSet::of(&[Kind::Allergy]).bits(),
        period: convert::to_uint40(Timestamp(3_600)),
        reason: B256::repeat_byte(1),
    };
    let (paramedic, emergency) = (world.sender("paramedic"), world.at(Contract::EmergencyAccess));
    let outcome = paramedic.send(emergency, &open).await.unwrap();
    let opening = convert::to_opening(&outcome.events::<EmergencyAccess::EmergencyOpened>()[0]);
    paramedic.send(emergency, &EmergencyAccess::endCall { opening }).await.unwrap();

    let flaky = Flaky::serve(chain::Rpc::new(world.ledger().embedded_chain().unwrap().clone()));
    let policy = Policy { log_range: 9, ..Policy::default() };
    let ledger = Ledger::connect(&flaky.url, policy).await.unwrap();
    let known = |projection: &Projection| {
        (
            projection.cursor(),
            projection.consents.grants(patient).len(),
            projection.consents.emergency_openings(patient).len(),
            projection.consents.openings(patient).len(),
        )
    };
    let mut whole = Projection::default();
    whole.catch_up(&ledger, world.deployment()).await.unwrap();
    let (cursor, ..) = known(&whole);
    assert_eq!(known(&whole), (cursor, 2, 1, 0));
    for requests in 0.. {
        let mut projection = Projection::default();
        flaky.fail_after(requests);
        let done = projection.catch_up(&ledger, world.deployment()).await.is_ok();
        assert!(done || requests < 2 || projection.is_behind());
        flaky.fail_after(u64::MAX);
        projection.catch_up(&ledger, world.deployment()).await.unwrap();
        assert_eq!(known(&projection), known(&whole), "after {requests} requests");
        assert!(!projection.is_behind());
        if done {
            assert!(requests > 10, "{requests}");
            break;
        }
    }
    for requests in 0..2 {
        flaky.fail_after(requests);
        assert!(whole.catch_up(&ledger, world.deployment()).await.is_err());
        assert_eq!(known(&whole), (cursor, 2, 1, 0), "after {requests} requests");
    }
}

#[tokio::test]
async fn unreachable_endpoint_and_bad_url_are_told_apart() {
    use ledger::{EndpointError, Ledger, Policy};
    let bad = Ledger::connect("not a url", Policy::default()).await;
    assert!(matches!(bad, Err(EndpointError::BadUrl { .. })));
    // A port that was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let gone = Ledger::connect(&format!("http://127.0.0.1:{port}"), Policy::default()).await;
    assert!(matches!(gone, Err(EndpointError::Transport(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_chain_refuses_with_a_reason() {
    let world = World::new(embedded()).await;
    let sender = Sender::new(world.ledger().clone(), wallet("hospital"));
    world.ledger().embedded_chain().unwrap().close();
    let refused = sender.send(world.at(Contract::Consents), &grant(Address::ZERO)).await;
    assert!(refused.is_err());
}
