//! Signed queries: what is answered, what is refused and why, and that either leaves a receipt (S5).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{error::Error, time::Duration};

use alloy_primitives::{Address, B256, Bytes, Signature, U256};
use alloy_signer::SignerSync as _;
use bindings::{
    Consents, Contract, LabOrders, Records, Registry, Relationships,
    convert::{to_anchor, to_uint40},
};
use common::{
    CHAIN_ID, PLAINTEXT, START, World, address, id, id_by, rng, salt, sealing_key, sql, tamper,
    version, wallet,
};
use domain::{
    Anchor, AnchorState, Basis, InstitutionRole, Kind, KindSet, Outcome, ProfessionalRole, Purpose,
    Query, QueryDomain, Reader, Receipt, RecordVersion, Refusal, Timestamp,
};
use gatekeeper::{
    Answer, AnswerError, Gatekeeper, QueryRefusal, QuerySignature, ReadRequest, Settings,
    SignedQuery,
};
use vault::{NewRecord, answer};

/// A hospital with one laboratory record of each patient.
async fn hospital() -> (World, Gatekeeper) {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    let records = vec![world.record(1, "pat"), world.record(2, "quinn")];
    world.keep(&gatekeeper, records).await;
    (world, gatekeeper)
}

/// A hospital where the physician of the clinic may read the laboratory records of one patient.
async fn consented() -> (World, Gatekeeper) {
    let (world, gatekeeper) = hospital().await;
    world.grant("pat", address("cai"), None).await;
    (world, gatekeeper)
}

async fn newest_receipt(gatekeeper: &Gatekeeper, patient: Address) -> Receipt {
    gatekeeper.receipts_of(patient, None, 1).await.unwrap().remove(0).receipt
}

/// How many receipts there are.
async fn receipts(gatekeeper: &Gatekeeper) -> u64 {
    let query = sqlx::query_scalar("select count(*) from receipts");
    let count: i64 = query.fetch_one(gatekeeper.vault().database().readers()).await.unwrap();
    count.unsigned_abs()
}

/// The query is refused for that reason, and only a receipt that says so is left.
async fn check_refused(
    world: &World,
    gatekeeper: &Gatekeeper,
    signed: &SignedQuery,
    expected: QueryRefusal,
) {
    check_refused_at(world, gatekeeper, signed, world.now(), expected).await;
}

async fn check_refused_at(
    world: &World,
    gatekeeper: &Gatekeeper,
    signed: &SignedQuery,
    now: Timestamp,
    expected: QueryRefusal,
) {
    let before = receipts(gatekeeper).await;
    let answered = gatekeeper.answer(signed, now).await;
    assert!(
        matches!(&answered, Err(AnswerError::Refused(refusal)) if *refusal == expected),
        "{answered:?} instead of {expected:?}"
    );
    assert_eq!(receipts(gatekeeper).await, before + 1, "{expected:?}");
    let receipt = newest_receipt(gatekeeper, signed.query.patient).await;
    assert_eq!(receipt.outcome, Outcome::Refused { reason: expected.to_string() });
    assert_eq!(receipt.query, signed.query.signing_digest(world.domain()));
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
}

/// What an answer holds, opened with the key of `requester`.
fn open(world: &World, requester: &str, signed: &SignedQuery, answer: &Answer) -> Vec<B256> {
    let context = signed.query.signing_digest(world.domain());
    let key = sealing_key(requester);
    let opened = answer::open(&key, world.domain(), context.as_slice(), &answer.sealed).unwrap();
    let served: serde_json::Value = serde_json::from_slice(&opened).unwrap();
    let records = served["records"].as_array().unwrap();
    assert!(records.iter().all(|record| record["body"]["text"] == PLAINTEXT));
    records.iter().map(|record| record["record"].as_str().unwrap().parse().unwrap()).collect()
}

async fn check_answered(
    world: &World,
    gatekeeper: &Gatekeeper,
    requester: &str,
    signed: &SignedQuery,
    expected: &[u64],
) -> Answer {
    let answer = gatekeeper.answer(signed, world.now()).await.unwrap();
    let expected: Vec<B256> = expected.iter().map(|number| id(*number).0).collect();
    assert_eq!(open(world, requester, signed, &answer), expected);
    assert_eq!(newest_receipt(gatekeeper, signed.query.patient).await, answer.receipt);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consented_query_is_answered_to_its_key_alone() {
    let (world, gatekeeper) = consented().await;
    let signed = world.sign("cai", world.query("cai", address("pat"), 1));
    let answer = check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
    let context = signed.query.signing_digest(world.domain());
    let other = sealing_key("mallory");
    answer::open(&other, world.domain(), context.as_slice(), &answer.sealed).unwrap_err();
    let Outcome::Allowed { records, basis } = &answer.receipt.outcome else { panic!() };
    assert_eq!(records.len(), 1);
    assert_eq!(*basis, Some(Basis::Consent { reader: address("cai"), version: 1 }));
    assert_eq!(answer.receipt.requester, address("cai"));
    assert_eq!(answer.receipt.institution, Some(address("clinic")));
    // Her consent is hers: the other patient's records stay closed.
    let signed = world.sign("cai", world.query("cai", address("quinn"), 2));
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    check_refused(&world, &gatekeeper, &signed, no_consent).await;
    // Also when the record is named under the name of the patient who consented.
    let query = Query { record: Some(id(2)), ..world.query("cai", address("pat"), 3) };
    let answer = gatekeeper.answer(&world.sign("cai", query), world.now()).await.unwrap();
    let empty = Outcome::Allowed { records: Vec::new(), basis: None };
    assert_eq!(answer.receipt.outcome, empty);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_query_is_refused() {
    let (world, gatekeeper) = consented().await;
    let signed = world.sign("cai", world.query("cai", address("pat"), 1));
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::Replayed).await;
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::Replayed).await;
    // The nonce is used, whatever else is asked with it; another one is not.
    let other = Query { limit: 5, ..world.query("cai", address("pat"), 1) };
    check_refused(&world, &gatekeeper, &world.sign("cai", other), QueryRefusal::Replayed).await;
    let next = world.sign("cai", world.query("cai", address("pat"), 2));
    check_answered(&world, &gatekeeper, "cai", &next, &[1]).await;
}

/// A refusal that was decided is an answer, and the query is used. One that was not looked at further
/// may come again when its time has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decided_refusal_uses_the_query() {
    let (world, gatekeeper) = hospital().await;
    let signed = world.sign("cai", world.query("cai", address("pat"), 1));
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    check_refused(&world, &gatekeeper, &signed, no_consent).await;
    world.grant("pat", address("cai"), None).await;
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::Replayed).await;
    let deadline = world.now().after(Duration::from_secs(20 * 60));
    let query = Query { deadline, ..world.query("cai", address("pat"), 2) };
    let signed = world.sign("cai", query);
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::DeadlineTooFar).await;
    world.advance(10 * 60);
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
}

/// Nonces are kept until their queries cannot come any more, also when the chain's clock is ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_is_refused_while_the_chains_clock_is_ahead() {
    let (world, gatekeeper) = consented().await;
    let now = world.now();
    let first = world.sign("cai", world.query("cai", address("pat"), 1));
    let second = world.sign("cai", world.query("cai", address("pat"), 2));
    world.advance(3_600);
    world.grant("quinn", address("cai"), None).await;
    gatekeeper.answer(&first, now).await.unwrap();
    gatekeeper.answer(&second, now).await.unwrap();
    check_refused_at(&world, &gatekeeper, &first, now, QueryRefusal::Replayed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_copies_sent_at_the_same_time_one_is_answered() {
    let (world, gatekeeper) = consented().await;
    let now = world.now();
    for nonce in 0..8 {
        let signed = world.sign("cai", world.query("cai", address("pat"), nonce));
        let copies: Vec<_> = (0..4)
            .map(|_| {
                let (gatekeeper, signed) = (gatekeeper.clone(), signed.clone());
                tokio::spawn(async move { gatekeeper.answer(&signed, now).await })
            })
            .collect();
        let mut answered = 0;
        for copy in copies {
            match copy.await.unwrap() {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert!(matches!(error, AnswerError::Refused(QueryRefusal::Replayed)));
                }
            }
        }
        assert_eq!(answered, 1);
    }
    assert_eq!(receipts(&gatekeeper).await, 32);
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_hold_to_the_second() {
    let (world, gatekeeper) = consented().await;
    let now = world.now();
    let with = |deadline, nonce| {
        let query = Query { deadline, ..world.query("cai", address("pat"), nonce) };
        world.sign("cai", query)
    };
    let expired = QueryRefusal::Expired;
    check_refused(&world, &gatekeeper, &with(Timestamp(now.0 - 1), 1), expired).await;
    check_refused(&world, &gatekeeper, &with(now, 1), expired).await;
    check_answered(&world, &gatekeeper, "cai", &with(Timestamp(now.0 + 1), 1), &[1]).await;
    let last = now.after(Settings::default().deadline_max);
    check_answered(&world, &gatekeeper, "cai", &with(last, 2), &[1]).await;
    let too_far = QueryRefusal::DeadlineTooFar;
    check_refused(&world, &gatekeeper, &with(Timestamp(last.0 + 1), 3), too_far).await;
    check_refused(&world, &gatekeeper, &with(Timestamp(u64::MAX), 3), too_far).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answer_goes_to_no_other_key() {
    let (world, gatekeeper) = consented().await;
    let query = world.query("cai", address("pat"), 1);
    let mut signed = world.sign("cai", query);
    signed.recipient_key = sealing_key("mallory").public_key().to_bytes();
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::WrongKey).await;
    // Signed, but no key.
    let no_key = vec![1, 2, 3];
    let query = Query { recipient_key: Query::recipient_key_of(&no_key), ..query };
    let signed = SignedQuery { recipient_key: no_key, ..world.sign("cai", query) };
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::WrongKey).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_serves_no_other_gatekeeper_and_no_other_chain() {
    let (world, gatekeeper) = consented().await;
    let query = world.query("cai", address("pat"), 1);
    let elsewhere = Query { gatekeeper: address("clinic"), ..query };
    let signed = world.sign("cai", elsewhere);
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::NotForUs).await;
    // Redirected on the way, the signature is no longer hers.
    let redirected = SignedQuery { query, ..signed };
    check_refused(&world, &gatekeeper, &redirected, QueryRefusal::NotInForce).await;
    let registry = world.at(Contract::Registry);
    for other in [
        QueryDomain { chain_id: CHAIN_ID + 1, registry },
        QueryDomain { chain_id: CHAIN_ID, registry: address("elsewhere") },
    ] {
        let signature = wallet("cai").sign_hash_sync(&query.signing_digest(other)).unwrap();
        let signature = QuerySignature::Member(signature.as_bytes().to_vec().into());
        let signed = SignedQuery { signature, ..world.sign("cai", query) };
        check_refused(&world, &gatekeeper, &signed, QueryRefusal::NotInForce).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_signatures_are_refused() {
    let (world, gatekeeper) = consented().await;
    let query = world.query("cai", address("pat"), 1);
    let good = wallet("cai").sign_hash_sync(&query.signing_digest(world.domain())).unwrap();
    // The same signature in its other form: `s` and the parity mirrored.
    let order: U256 =
        "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
    let mirrored = Signature::new(good.r(), order - good.s(), !good.v());
    assert_eq!(
        mirrored.recover_address_from_prehash(&query.signing_digest(world.domain())).unwrap(),
        address("cai"),
    );
    let mut flipped = good.as_bytes();
    flipped[40] ^= 1;
    let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    for signature in [
        bytes(&mirrored.as_bytes()),
        bytes(&flipped),
        bytes(&good.as_bytes()[..64]),
        bytes(&[&good.as_bytes()[..], &[0]].concat()),
        bytes(&[0; 65]),
        bytes(&[0xff; 65]),
        Bytes::new(),
    ] {
        let signature = QuerySignature::Member(signature);
        let signed = SignedQuery { signature, ..world.sign("cai", query) };
        check_refused(&world, &gatekeeper, &signed, QueryRefusal::NotInForce).await;
    }
    let changed = Query { kinds: KindSet::ALL, ..query };
    let signed = SignedQuery { query: changed, ..world.sign("cai", query) };
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::NotInForce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_in_force_is_refused() {
    let (world, gatekeeper) = consented().await;
    let ask =
        |requester, nonce| world.sign(requester, world.query(requester, address("pat"), nonce));
    let not_in_force = QueryRefusal::NotInForce;
    check_refused(&world, &gatekeeper, &ask("mallory", 1), not_in_force).await;
    // A patient's key is a member's no more than a stranger's.
    check_refused(&world, &gatekeeper, &ask("pat", 1), not_in_force).await;
    check_answered(&world, &gatekeeper, "cai", &ask("cai", 1), &[1]).await;
    let call = Registry::revokeAccreditationCall { member: address("cai") };
    world.send("clinic", Contract::Registry, &call).await.unwrap();
    check_refused(&world, &gatekeeper, &ask("cai", 2), not_in_force).await;
    world.accredit("clinic", "cai", ProfessionalRole::Physician).await.unwrap();
    check_answered(&world, &gatekeeper, "cai", &ask("cai", 2), &[1]).await;
    let until = to_uint40(Timestamp(world.now().0 + 10));
    let call = Registry::renewCall { member: address("cai"), until };
    world.send("clinic", Contract::Registry, &call).await.unwrap();
    world.advance(9);
    check_answered(&world, &gatekeeper, "cai", &ask("cai", 3), &[1]).await;
    world.advance(1);
    check_refused(&world, &gatekeeper, &ask("cai", 4), not_in_force).await;
    world.accredit("clinic", "cai", ProfessionalRole::Physician).await.unwrap();
    check_answered(&world, &gatekeeper, "cai", &ask("cai", 5), &[1]).await;
    let call = Registry::proposeExpulsionCall { member: address("clinic") };
    world.carry(&call, &["insurer", "emergency"]).await;
    check_refused(&world, &gatekeeper, &ask("cai", 6), not_in_force).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_bounds_is_refused() {
    let world = World::with_relationships().await;
    world.grant("pat", address("cai"), None).await;
    let settings = Settings { records_max: 10, ..Settings::default() };
    let gatekeeper = world.gatekeeper_with("hospital", settings).await;
    world.keep(&gatekeeper, vec![world.record(1, "pat")]).await;
    let query = world.query("cai", address("pat"), 1);
    for query in [
        Query { limit: 0, ..query },
        Query { limit: 11, ..query },
        Query { limit: u32::MAX, ..query },
        Query { kinds: KindSet::EMPTY, limit: 1, ..query },
    ] {
        let signed = world.sign("cai", query);
        check_refused(&world, &gatekeeper, &signed, QueryRefusal::OutOfBounds).await;
    }
    let signed = world.sign("cai", Query { limit: 10, ..query });
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
    // After the last record there is nothing, which is no refusal.
    let after =
        Query { limit: 10, after: Some(domain::RecordId(B256::repeat_byte(0xff))), ..query };
    let signed = world.sign("cai", Query { nonce: B256::repeat_byte(2), ..after });
    check_answered(&world, &gatekeeper, "cai", &signed, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_decided_on_stale_knowledge() {
    let world = World::with_relationships().await;
    world.grant("pat", address("cai"), None).await;
    let settings = Settings {
        staleness_max: Duration::from_secs(15),
        refresh_every: Duration::from_secs(3_600),
        ..Settings::default()
    };
    let gatekeeper = world.gatekeeper_with("hospital", settings).await;
    world.keep(&gatekeeper, vec![world.record(1, "pat")]).await;
    let ask = |nonce| world.sign("cai", world.query("cai", address("pat"), nonce));
    check_answered(&world, &gatekeeper, "cai", &ask(1), &[1]).await;
    world.advance(15);
    check_answered(&world, &gatekeeper, "cai", &ask(2), &[1]).await;
    world.advance(1);
    check_refused(&world, &gatekeeper, &ask(3), QueryRefusal::Stale).await;
    let read = gatekeeper.read(&read_by("ada", "hospital", "pat"), world.now()).await;
    assert!(matches!(read, Err(AnswerError::Refused(QueryRefusal::Stale))));
    let receipt = newest_receipt(&gatekeeper, address("pat")).await;
    let reason = QueryRefusal::Stale.to_string();
    assert_eq!(receipt.outcome, Outcome::Refused { reason });
}

/// S3: the read after the block of a revocation is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_binds_the_next_read() {
    let (world, gatekeeper) = consented().await;
    let ask = |nonce| world.sign("cai", world.query("cai", address("pat"), nonce));
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    for round in 0..3 {
        check_answered(&world, &gatekeeper, "cai", &ask(2 * round), &[1]).await;
        world.revoke("pat", address("cai"), None).await;
        check_refused(&world, &gatekeeper, &ask(2 * round + 1), no_consent).await;
        world.grant("pat", address("cai"), None).await;
    }
    // A grant for one record goes without touching the one for all, and the other way round.
    world.grant("pat", address("cai"), Some(id(1))).await;
    world.revoke("pat", address("cai"), None).await;
    check_answered(&world, &gatekeeper, "cai", &ask(100), &[1]).await;
    world.revoke("pat", address("cai"), Some(id(1))).await;
    check_refused(&world, &gatekeeper, &ask(101), no_consent).await;
}

/// What comes after a revocation is sealed under another key, even if anchoring the log was what
/// noticed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_begins_a_new_key() {
    let (world, gatekeeper) = consented().await;
    gatekeeper.refresh(world.now()).await.unwrap();
    let keys = async || {
        let rows = sqlx::query("select distinct kind_key from records where patient = $1")
            .bind(address("pat").to_vec())
            .fetch_all(gatekeeper.vault().database().readers());
        rows.await.unwrap().len()
    };
    world.keep(&gatekeeper, vec![world.record(3, "pat")]).await;
    assert_eq!(keys().await, 1);
    world.revoke("pat", address("cai"), None).await;
    assert_eq!(gatekeeper.anchor_log().await.unwrap(), 0);
    gatekeeper.refresh(world.now()).await.unwrap();
    world.keep(&gatekeeper, vec![world.record(4, "pat")]).await;
    assert_eq!(keys().await, 2);
}

fn read_by(professional: &str, institution: &str, patient: &str) -> ReadRequest {
    ReadRequest {
        version: None,
        reader: Reader::Professional {
            member: address(professional),
            role: ProfessionalRole::Physician,
            institution: address(institution),
        },
        patient: address(patient),
        kinds: KindSet::of(&[Kind::Laboratory]),
        record: None,
        after: None,
        limit: 100,
        purpose: Purpose::Treatment,
        query: B256::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn care_team_reads_while_it_cares() {
    let (world, gatekeeper) = hospital().await;
    let (pat, ada) = (address("pat"), address("ada"));
    let ask = |nonce| world.sign("ada", world.query("ada", pat, nonce));
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    check_refused(&world, &gatekeeper, &ask(1), no_consent).await;
    gatekeeper.join_care_team(pat, ada, world.now()).await.unwrap();
    gatekeeper.join_care_team(pat, address("cai"), world.now()).await.unwrap();
    let answer = check_answered(&world, &gatekeeper, "ada", &ask(2), &[1]).await;
    assert!(matches!(
        answer.receipt.outcome,
        Outcome::Allowed { basis: Some(Basis::CareTeam), .. }
    ));
    // Not for another patient, nor for whoever works elsewhere, nor for money.
    let query = world.query("ada", address("quinn"), 3);
    check_refused(&world, &gatekeeper, &world.sign("ada", query), no_consent).await;
    let query = world.query("cai", pat, 1);
    check_refused(&world, &gatekeeper, &world.sign("cai", query), no_consent).await;
    let query = Query { purpose: Purpose::Payment, ..world.query("ada", pat, 4) };
    let beyond = QueryRefusal::Decided(Refusal::BeyondRole);
    check_refused(&world, &gatekeeper, &world.sign("ada", query), beyond).await;
    // It outlasts a restart, and neither the relationship nor leaving.
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    check_answered(&world, &gatekeeper, "ada", &ask(5), &[1]).await;
    let end = Relationships::endCall { steward: address("hospital") };
    world.send("pat", Contract::Relationships, &end).await.unwrap();
    check_refused(&world, &gatekeeper, &ask(6), no_consent).await;
    world.relate("hospital", "pat", false).await;
    check_answered(&world, &gatekeeper, "ada", &ask(7), &[1]).await;
    gatekeeper.leave_care_team(pat, ada).await.unwrap();
    check_refused(&world, &gatekeeper, &ask(8), no_consent).await;
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    check_refused(&world, &gatekeeper, &ask(9), no_consent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_answers_come_in_pages() {
    const RECORDS: u64 = 1_200;
    let (world, gatekeeper) = consented().await;
    let records = (10..10 + RECORDS - 1).map(|number| world.record(number, "pat")).collect();
    world.keep(&gatekeeper, records).await;
    let mut expected: Vec<B256> =
        (10..10 + RECORDS - 1).chain([1]).map(|number| id(number).0).collect();
    expected.sort_unstable();
    let mut found = Vec::new();
    for nonce in 0..3 {
        let after = found.last().copied().map(domain::RecordId);
        let query = Query { after, limit: 400, ..world.query("cai", address("pat"), nonce) };
        let signed = world.sign("cai", query);
        let answer = gatekeeper.answer(&signed, world.now()).await.unwrap();
        found.extend(open(&world, "cai", &signed, &answer));
    }
    assert_eq!(found, expected);
    // Whether there is more is said, and right, when the last page is full.
    let read = |after, limit| ReadRequest { after, limit, ..read_by("cai", "clinic", "pat") };
    let now = world.now();
    let at = |place: usize| Some(domain::RecordId(expected[place]));
    let (served, _) = gatekeeper.read(&read(at(799), 400), now).await.unwrap();
    assert_eq!((served.records.len(), served.more), (400, false));
    let (served, _) = gatekeeper.read(&read(at(798), 400), now).await.unwrap();
    assert_eq!((served.records.len(), served.more), (400, true));

    // One record among more than a page of others that stay closed.
    world.revoke("pat", address("cai"), None).await;
    let last = domain::RecordId(expected[1_199]);
    world.grant("pat", address("cai"), Some(last)).await;
    let (served, _) = gatekeeper.read(&read(None, 400), now).await.unwrap();
    let served: Vec<_> = served.records.iter().map(|record| record.record).collect();
    assert_eq!(served, [last]);
}

/// C5: a third party reads only what patient and steward both signed, whoever signs first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dual_consent_takes_both() {
    let (world, gatekeeper) = hospital().await;
    let (patient, reader, record) = (address("pat"), address("cai"), B256::ZERO);
    let call = Relationships::requireCountersignatureCall { steward: address("hospital") };
    world.send("pat", Contract::Relationships, &call).await.unwrap();
    let ask = |nonce| world.sign("cai", world.query("cai", patient, nonce));
    let sign = async |version| {
        let call = Consents::countersignCall { patient, reader, record, version };
        world.send("hospital", Contract::Consents, &call).await
    };
    // The patient first.
    world.grant("pat", reader, None).await;
    let not_countersigned = QueryRefusal::Decided(Refusal::NotCountersigned);
    check_refused(&world, &gatekeeper, &ask(1), not_countersigned).await;
    sign(1).await.unwrap();
    check_answered(&world, &gatekeeper, "cai", &ask(2), &[1]).await;
    // The steward first: there is nothing to sign, and signing ahead does not help.
    world.revoke("pat", reader, None).await;
    for version in [1, 2, 3] {
        assert!(sign(version).await.is_err());
    }
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    check_refused(&world, &gatekeeper, &ask(3), no_consent).await;
    world.grant("pat", reader, None).await;
    check_refused(&world, &gatekeeper, &ask(4), not_countersigned).await;
    sign(3).await.unwrap();
    check_answered(&world, &gatekeeper, "cai", &ask(5), &[1]).await;
    // A change of the grant is another grant.
    world.grant("pat", reader, None).await;
    check_refused(&world, &gatekeeper, &ask(6), not_countersigned).await;
    sign(4).await.unwrap();
    check_answered(&world, &gatekeeper, "cai", &ask(7), &[1]).await;
    let call = Consents::withdrawCountersignatureCall { patient, reader, record };
    world.send("hospital", Contract::Consents, &call).await.unwrap();
    check_refused(&world, &gatekeeper, &ask(8), not_countersigned).await;
    // Another steward's signature is not this one's.
    world.relate("clinic", "pat", true).await;
    let call = Consents::countersignCall { patient, reader, record, version: 4 };
    world.send("clinic", Contract::Consents, &call).await.unwrap();
    check_refused(&world, &gatekeeper, &ask(9), not_countersigned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patients_read_their_own_by_their_account() {
    let (world, gatekeeper) = hospital().await;
    let patient = world.account("phone").await;
    let account = patient.account();
    let new = world.record_of(9, account, Kind::Laboratory);
    world.keep(&gatekeeper, vec![new]).await;
    let ask = |whose, nonce, signer: &ledger::Patient| {
        let query =
            Query { purpose: Purpose::PatientRequest, ..world.query("phone", whose, nonce) };
        let signature =
            signer.sign_message(CHAIN_ID, query.signing_digest(world.domain())).unwrap();
        let signature = QuerySignature::Account { account: signer.account(), signature };
        let recipient_key = sealing_key("phone").public_key().to_bytes();
        SignedQuery { query, recipient_key, signature }
    };
    let signed = ask(account, 1, &patient);
    check_answered(&world, &gatekeeper, "phone", &signed, &[9]).await;
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::Replayed).await;
    let signed = ask(address("pat"), 2, &patient);
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    check_refused(&world, &gatekeeper, &signed, no_consent).await;
    // Somebody else's signature, an account that is none, and a signature that is none.
    let thief = world.account("thief").await;
    let mut signed = ask(account, 3, &thief);
    let QuerySignature::Account { signature, .. } = signed.signature else { panic!() };
    for (account, signature) in [
        (account, signature.clone()),
        (address("pat"), signature.clone()),
        (world.at(Contract::Consents), signature),
        (account, Bytes::new()),
        (account, Bytes::from(vec![0xff; 300])),
    ] {
        signed.signature = QuerySignature::Account { account, signature };
        let before = receipts(&gatekeeper).await;
        let answered = gatekeeper.answer(&signed, world.now()).await;
        assert!(
            matches!(&answered, Err(AnswerError::Refused(QueryRefusal::NotInForce))),
            "{account}: {answered:?}"
        );
        assert_eq!(receipts(&gatekeeper).await, before + 1);
    }
}

/// An id can be read on chain. What another steward does under it, with a patient of its own, neither
/// closes the record nor opens it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_use_of_a_records_id_changes_nothing() {
    let (world, gatekeeper) = consented().await;
    let record = id(1).0;
    let (pat, quinn, clinic) = (address("pat"), address("quinn"), address("clinic"));
    world.relate("clinic", "quinn", false).await;
    let digest = B256::repeat_byte(1);
    let kind = Kind::Laboratory;
    let call = Records::proposeCall { patient: quinn, record, kind: kind.number(), digest };
    world.send("clinic", Contract::Records, &call).await.unwrap();
    let anchor = Anchor {
        record: id(1),
        version: RecordVersion::FIRST,
        base: 0,
        kind,
        patient: quinn,
        steward: clinic,
        digest: domain::RecordDigest(digest),
    };
    let call = Records::eraseCall { anchor: to_anchor(&anchor), receipt: digest };
    world.send("clinic", Contract::Records, &call).await.unwrap();
    let signed = world.sign("cai", world.query("cai", pat, 1));
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;

    let laboratory = address("laboratory");
    // Only the record's steward can name it as what somebody else will order.
    let named = |number| NewRecord { record: id_by("cai", number), ..world.record(number, "pat") };
    world.keep(&gatekeeper, vec![named(29), named(30)]).await;
    let call = LabOrders::orderCall { salt: salt(29), patient: quinn, laboratory, digest };
    world.send("cai", Contract::LabOrders, &call).await.unwrap();
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    for (nonce, patient) in [pat, quinn].into_iter().enumerate() {
        let record = Some(id_by("cai", 29));
        let query = Query { record, ..world.query("gus", patient, nonce as u64) };
        check_refused(&world, &gatekeeper, &world.sign("gus", query), no_consent).await;
    }
    // Another doctor of the clinic, for the very patient: the clinic does not keep the record.
    world.relate("clinic", "pat", false).await;
    let ordered = id_by("cai", 30);
    let digest = gatekeeper.vault().head(ordered).await.unwrap().unwrap().digest.0;
    let call = LabOrders::orderCall { salt: salt(30), patient: pat, laboratory, digest };
    world.send("cai", Contract::LabOrders, &call).await.unwrap();
    let query = Query { record: Some(ordered), ..world.query("gus", pat, 9) };
    check_refused(&world, &gatekeeper, &world.sign("gus", query), no_consent).await;
    // Ordered where it is kept, it is open to the laboratory.
    world.keep(&gatekeeper, vec![world.record(31, "pat")]).await;
    let digest = gatekeeper.vault().head(id(31)).await.unwrap().unwrap().digest.0;
    let call = LabOrders::orderCall { salt: salt(31), patient: pat, laboratory, digest };
    world.send("ada", Contract::LabOrders, &call).await.unwrap();
    let query = Query { record: Some(id(31)), ..world.query("gus", pat, 10) };
    check_answered(&world, &gatekeeper, "gus", &world.sign("gus", query), &[31]).await;
}

/// Nobody learns from the answer whether there is something that they may not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_there_is_refused_like_something_there() {
    let (world, gatekeeper) = hospital().await;
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    let mut nonce = 0;
    for record in [None, Some(id(1)), Some(id(77))] {
        for kind in [Kind::Laboratory, Kind::Imaging] {
            nonce += 1;
            let kinds = KindSet::of(&[kind]);
            let query = Query { record, kinds, ..world.query("cai", address("pat"), nonce) };
            check_refused(&world, &gatekeeper, &world.sign("cai", query), no_consent).await;
        }
    }
}

/// Whoever writes to the database turns no record into one of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_moved_to_another_patient_does_not_open() {
    let (world, gatekeeper) = hospital().await;
    let patient = Reader::Patient { account: address("quinn") };
    let read = ReadRequest {
        reader: patient,
        purpose: Purpose::PatientRequest,
        record: Some(id(1)),
        ..read_by("ada", "hospital", "quinn")
    };
    let (served, _) = gatekeeper.read(&read, world.now()).await.unwrap();
    assert!(served.records.is_empty());
    let quinn = sql(address("quinn"));
    let statement = format!("update records set patient = {quinn} where record = {}", sql(id(1).0));
    assert_eq!(tamper(gatekeeper.vault(), &statement).await, 1);
    // It was anchored as another patient's.
    let (served, _) = gatekeeper.read(&read, world.now()).await.unwrap();
    assert!(served.records.is_empty());
}

/// A damaged record keeps nobody from the others. Asked for alone, the attempt fails, leaves a receipt
/// as well (S5), and may be made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tampered_record_withholds_no_other() {
    let (world, gatekeeper) = consented().await;
    world.keep(&gatekeeper, vec![world.record(5, "pat")]).await;
    let body = "select body from records where record = $1";
    let row = sqlx::query(body).bind(id(5).0.to_vec());
    let row = row.fetch_one(gatekeeper.vault().database().readers()).await.unwrap();
    let body: Vec<u8> = sqlx::Row::get(&row, 0);
    let mut changed = body.clone();
    *changed.last_mut().unwrap() ^= 1;
    let set = |body: &[u8]| {
        format!("update records set body = {} where record = {}", sql(body), sql(id(5).0))
    };
    tamper(gatekeeper.vault(), &set(&changed)).await;
    let read = read_by("cai", "clinic", "pat");
    let (served, receipt) = gatekeeper.read(&read, world.now()).await.unwrap();
    let opened: Vec<_> = served.records.iter().map(|record| record.record).collect();
    assert_eq!((opened, served.unavailable, served.more), (vec![id(1)], vec![id(5)], false));
    let Outcome::Allowed { records, .. } = receipt.outcome else { panic!() };
    assert_eq!(records.len(), 1);

    let query = Query { record: Some(id(5)), ..world.query("cai", address("pat"), 1) };
    let signed = world.sign("cai", query);
    let answered = gatekeeper.answer(&signed, world.now()).await;
    assert!(matches!(answered, Err(AnswerError::Open(_))), "{answered:?}");
    assert_eq!(receipts(&gatekeeper).await, 2);
    let receipt = newest_receipt(&gatekeeper, address("pat")).await;
    let reason = "a permitted record could not be opened".to_owned();
    assert_eq!(receipt.outcome, Outcome::Refused { reason });
    tamper(gatekeeper.vault(), &set(&body)).await;
    check_answered(&world, &gatekeeper, "cai", &signed, &[5]).await;
    // A row that cannot be read at all.
    let broken = format!("update records set kind = 99 where record = {}", sql(id(5).0));
    tamper(gatekeeper.vault(), &broken).await;
    let signed = world.sign("cai", world.query("cai", address("pat"), 2));
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
}

/// What one member writes on chain stops nobody else, even if it means nothing here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_without_a_meaning_stops_nobody() {
    let (world, gatekeeper) = consented().await;
    world.relate("clinic", "quinn", false).await;
    let (record, digest) = (B256::repeat_byte(3), B256::repeat_byte(4));
    for kind in [31, 23] {
        let call = Records::proposeCall { patient: address("quinn"), record, kind, digest };
        let proposed = world.send("clinic", Contract::Records, &call).await;
        assert!(proposed.is_ok() || kind == 23);
    }
    let signed = world.sign("cai", world.query("cai", address("pat"), 1));
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
    let reader = world.gatekeeper("clinic").await;
    reader.refresh(world.now()).await.unwrap();
}

/// The versions of a record that a read gives, with their states.
async fn versions(
    gatekeeper: &Gatekeeper,
    read: &ReadRequest,
    now: Timestamp,
) -> Vec<(u32, AnchorState)> {
    match gatekeeper.read(read, now).await {
        Ok((served, _)) => {
            served.records.iter().map(|record| (record.version.get(), record.state)).collect()
        }
        Err(AnswerError::Refused(_)) => Vec::new(),
        Err(error) => panic!("{error:?}"),
    }
}

/// What is read is what stands on chain: not what is only in the vault, nor what the patient rejected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_that_stands_is_read() {
    use AnchorState::{Accepted, Proposed, Rejected};
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    world.grant("pat", address("cai"), None).await;
    let read = ReadRequest { record: Some(id(1)), ..read_by("cai", "clinic", "pat") };
    let all = read_by("cai", "clinic", "pat");
    let own = ReadRequest {
        reader: Reader::Patient { account: address("pat") },
        purpose: Purpose::PatientRequest,
        ..read
    };
    let check = async |expected: &[(u32, AnchorState)], patients: &[(u32, AnchorState)]| {
        let now = world.now();
        assert_eq!(versions(&gatekeeper, &read, now).await, expected);
        assert_eq!(versions(&gatekeeper, &all, now).await, expected);
        assert_eq!(versions(&gatekeeper, &own, now).await, patients);
    };
    gatekeeper.vault().put(world.record(2, "pat"), &mut rng(2)).await.unwrap();
    check(&[], &[]).await;
    let (first, _) = gatekeeper.put_and_propose(world.record(1, "pat"), None).await.unwrap();
    check(&[(1, Proposed)], &[(1, Proposed)]).await;
    let call = Records::rejectCall { anchor: to_anchor(&first) };
    world.send("pat", Contract::Records, &call).await.unwrap();
    check(&[], &[(1, Rejected)]).await;

    let next = |number| vault::NewRecord { version: version(number), ..world.record(1, "pat") };
    gatekeeper.refresh(world.now()).await.unwrap();
    let (second, _) = gatekeeper.put_and_propose(next(2), Some(&first)).await.unwrap();
    world.accept("pat", &second).await;
    check(&[(2, Accepted)], &[(2, Accepted)]).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    let (third, _) = gatekeeper.put_and_propose(next(3), Some(&second)).await.unwrap();
    check(&[(2, Accepted)], &[(2, Accepted)]).await;
    let call = Records::rejectCall { anchor: to_anchor(&third) };
    world.send("pat", Contract::Records, &call).await.unwrap();
    check(&[(2, Accepted)], &[(2, Accepted)]).await;
    // An erased first version takes no other with it.
    let call = Records::eraseCall { anchor: to_anchor(&first), receipt: B256::repeat_byte(1) };
    world.send("hospital", Contract::Records, &call).await.unwrap();
    check(&[(2, Accepted)], &[(2, Accepted)]).await;
    let call = Records::eraseCall { anchor: to_anchor(&second), receipt: B256::repeat_byte(1) };
    world.send("hospital", Contract::Records, &call).await.unwrap();
    check(&[], &[]).await;
}

/// An order opens the version that it names, while it is worked on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn laboratory_reads_the_ordered_version_until_release() {
    let (world, gatekeeper) = hospital().await;
    let (pat, laboratory) = (address("pat"), address("laboratory"));
    let anxiety = world.record_of(40, pat, Kind::Medication);
    let kept = world.keep(&gatekeeper, vec![anxiety, world.record(41, "pat")]).await;
    let read = |number, kind| ReadRequest {
        version: None,
        reader: Reader::Professional {
            member: address("gus"),
            role: ProfessionalRole::LaboratoryScientist,
            institution: laboratory,
        },
        kinds: KindSet::of(&[kind]),
        record: Some(id(number)),
        ..read_by("gus", "laboratory", "pat")
    };
    let count =
        async |number, kind| versions(&gatekeeper, &read(number, kind), world.now()).await.len();
    let order = async |number, digest: domain::RecordDigest| {
        let call =
            LabOrders::orderCall { salt: salt(number), patient: pat, laboratory, digest: digest.0 };
        world.send("ada", Contract::LabOrders, &call).await.unwrap();
    };
    let digest_of =
        |number| kept.iter().find(|entry| entry.header.record == id(number)).unwrap().digest;
    // Neither a record of another kind nor another version than the one ordered.
    order(40, digest_of(40)).await;
    assert_eq!(count(40, Kind::Medication).await, 0);
    order(1, digest_of(41)).await;
    assert_eq!(count(1, Kind::Laboratory).await, 0);
    order(41, digest_of(41)).await;
    assert_eq!(count(41, Kind::Laboratory).await, 1);
    let (order, specimen) = (id(41).0, B256::repeat_byte(1));
    world
        .send("gus", Contract::LabOrders, &LabOrders::collectCall { id: order, specimen })
        .await
        .unwrap();
    let digest = B256::repeat_byte(2);
    let call = LabOrders::reportCall { id: order, digest, critical: false };
    world.send("gus", Contract::LabOrders, &call).await.unwrap();
    assert_eq!(count(41, Kind::Laboratory).await, 1);
    let call = LabOrders::releaseCall { id: order, digest };
    world.send("gus", Contract::LabOrders, &call).await.unwrap();
    assert_eq!(count(41, Kind::Laboratory).await, 0);
    // Whoever corrects a result does not give themselves the order again.
    let call = LabOrders::correctCall { id: order, digest: B256::repeat_byte(3), critical: false };
    world.send("gus", Contract::LabOrders, &call).await.unwrap();
    assert_eq!(count(41, Kind::Laboratory).await, 0);
}

/// One answer holds so many bytes; the rest comes with the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_answers_are_cut_into_pages() {
    let world = World::with_relationships().await;
    world.grant("pat", address("cai"), None).await;
    let settings = Settings { answer_bytes_max: 300, ..Settings::default() };
    let gatekeeper = world.gatekeeper_with("hospital", settings).await;
    let records = (1..=5).map(|number| world.record(number, "pat")).collect();
    world.keep(&gatekeeper, records).await;
    let (mut after, mut pages, mut found) = (None, 0, 0);
    loop {
        let read = ReadRequest { after, ..read_by("cai", "clinic", "pat") };
        let (served, _) = gatekeeper.read(&read, world.now()).await.unwrap();
        let bytes: usize = served.records.iter().map(|record| record.body.get().len()).sum();
        assert!(bytes <= 300 || served.records.len() == 1);
        (pages, found) = (pages + 1, found + served.records.len());
        after = served.records.last().map(|record| record.record);
        if !served.more {
            break;
        }
    }
    assert_eq!(found, 5);
    assert!(pages >= 3, "{pages}");
}

/// A receipt accuses nobody of a query that they are not proven to have signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unproven_requesters_are_not_named() {
    let (world, gatekeeper) = consented().await;
    let query = world.query("cai", address("pat"), 1);
    let signature =
        QuerySignature::Account { account: address("pat"), signature: Bytes::from(vec![1; 65]) };
    let forged = SignedQuery { signature, ..world.sign("cai", query) };
    gatekeeper.answer(&forged, world.now()).await.unwrap_err();
    assert_eq!(newest_receipt(&gatekeeper, address("pat")).await.requester, Address::ZERO);
    gatekeeper.answer(&world.sign("mallory", query), world.now()).await.unwrap_err();
    assert_eq!(newest_receipt(&gatekeeper, address("pat")).await.requester, Address::ZERO);
    let signed = world.sign("cai", query);
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::Replayed).await;
    assert_eq!(newest_receipt(&gatekeeper, address("pat")).await.requester, address("cai"));
}

/// When the clock went back nobody can tell how old knowledge is, so the chain is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_that_went_back_makes_nothing_fresh() {
    let world = World::with_relationships().await;
    world.grant("pat", address("cai"), None).await;
    let refresh_every = Duration::from_secs(3_600);
    let settings = Settings { refresh_every, ..Settings::default() };
    let gatekeeper = world.gatekeeper_with("hospital", settings).await;
    world.keep(&gatekeeper, vec![world.record(1, "pat")]).await;
    let read = read_by("cai", "clinic", "pat");
    gatekeeper.read(&read, world.now()).await.unwrap();
    world.revoke("pat", address("cai"), None).await;
    gatekeeper.read(&read, world.now()).await.unwrap();
    let refused = gatekeeper.read(&read, Timestamp(world.now().0 - 100)).await;
    assert!(matches!(
        refused,
        Err(AnswerError::Refused(QueryRefusal::Decided(Refusal::NoConsent)))
    ));
}

/// S5: a read that a fault of the database comes in between leaves a receipt where one can be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_leave_receipts() {
    let (world, gatekeeper) = consented().await;
    let signed = world.sign("cai", world.query("cai", address("pat"), 1));
    let mut expected = 0;
    for table in ["query_nonces", "records"] {
        tamper(gatekeeper.vault(), &format!("alter table {table} rename to aside")).await;
        let answered = gatekeeper.answer(&signed, world.now()).await;
        assert!(matches!(answered, Err(AnswerError::Gatekeeper(_))), "{answered:?}");
        tamper(gatekeeper.vault(), &format!("alter table aside rename to {table}")).await;
        expected += 1;
        assert_eq!(receipts(&gatekeeper).await, expected, "{table}");
    }
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
}

/// A revocation on which nobody could act is acted on later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_is_not_forgotten_when_the_database_fails() {
    let (world, gatekeeper) = consented().await;
    gatekeeper.refresh(world.now()).await.unwrap();
    world.revoke("pat", address("cai"), None).await;
    tamper(gatekeeper.vault(), "alter table kind_keys rename to aside").await;
    gatekeeper.refresh(world.now()).await.unwrap_err();
    tamper(gatekeeper.vault(), "alter table aside rename to kind_keys").await;
    gatekeeper.refresh(world.now()).await.unwrap();
    world.keep(&gatekeeper, vec![world.record(3, "pat")]).await;
    let rows = sqlx::query("select distinct kind_key from records where patient = $1")
        .bind(address("pat").to_vec())
        .fetch_all(gatekeeper.vault().database().readers());
    assert_eq!(rows.await.unwrap().len(), 2);
}

/// Someone who hangs up while their read is being logged does not stop the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_reads_do_not_break_the_log() {
    let (world, gatekeeper) = consented().await;
    let read = read_by("cai", "clinic", "pat");
    for polls in 0..60 {
        let mut reading = Box::pin(gatekeeper.read(&read, world.now()));
        for _ in 0..polls {
            let step = std::future::poll_fn(|context| {
                std::task::Poll::Ready(reading.as_mut().poll(context).is_ready())
            });
            if step.await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(reading);
        // Whatever became of that one, the next is served.
        gatekeeper.read(&read, world.now()).await.unwrap();
    }
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
    assert!(receipts(&gatekeeper).await >= 60);
}

/// S1: nothing of a record, a name or a number is in an error, a receipt or the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_receipts_hold_no_plaintext() {
    let (world, gatekeeper) = consented().await;
    let mut texts = Vec::new();
    let mut note = |error: &(dyn Error + 'static)| {
        let mut cause = Some(error);
        while let Some(error) = cause {
            texts.extend([format!("{error}"), format!("{error:?}"), format!("{error:#?}")]);
            cause = error.source();
        }
    };
    let now = world.now();
    let query = world.query("cai", address("pat"), 1);
    let signed = [
        Query { gatekeeper: address("clinic"), ..query },
        Query { deadline: now, ..query },
        Query { deadline: Timestamp(u64::MAX), ..query },
        Query { limit: 0, ..query },
        Query { patient: address("quinn"), ..query },
        Query { purpose: Purpose::Payment, ..query },
        Query { purpose: Purpose::Emergency, ..query },
    ];
    for (query, nonce) in signed.into_iter().zip(10..) {
        let nonce = B256::repeat_byte(nonce);
        let query = Query { nonce, ..query };
        note(&gatekeeper.answer(&world.sign("cai", query), now).await.unwrap_err());
    }
    note(&gatekeeper.answer(&world.sign("mallory", query), now).await.unwrap_err());
    let answer = gatekeeper.answer(&world.sign("cai", query), now).await.unwrap();
    note(&gatekeeper.answer(&world.sign("cai", query), now).await.unwrap_err());
    let query = Query { record: Some(id(1)), ..world.query("cai", address("pat"), 2) };
    for (column, value) in [
        ("body", "substr(body, 2)"),
        ("body", "'text'"),
        ("body", "null"),
        ("content_key", "zeroblob(3)"),
        ("kind", "99"),
        ("digest", "'text'"),
    ] {
        let statement =
            format!("update records set {column} = {value} where record = {}", sql(id(1).0));
        tamper(gatekeeper.vault(), &statement).await;
        note(&gatekeeper.answer(&world.sign("cai", query), now).await.unwrap_err());
    }
    tamper(gatekeeper.vault(), "drop table receipts").await;
    note(&gatekeeper.answer(&world.sign("cai", query), now).await.unwrap_err());
    texts.push(format!("{answer:?} {gatekeeper:?}", gatekeeper = gatekeeper.entropy()));
    let everything = texts.join("\n");
    assert!(everything.len() > 1_000);
    for word in
        PLAINTEXT.split(' ').filter(|word| word.len() > 3).chain(["Observation", "resourceType"])
    {
        assert!(!everything.contains(word), "{word} in {everything}");
    }
    let sealed = String::from_utf8_lossy(&answer.sealed).into_owned();
    let mut kept = vec![sealed];
    for file in ["vault.db", "vault.db-wal"] {
        let bytes = std::fs::read(world.vault_dir("hospital").join(file)).unwrap_or_default();
        kept.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for word in ["Aoife", "1234567TW", "haemoglobin"] {
        assert!(kept.iter().all(|kept| !kept.contains(word)), "{word}");
    }
}

/// An institution reads for itself what it was granted, by its own key, also after a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn institution_reads_by_its_own_key() {
    let (world, gatekeeper) = hospital().await;
    world.grant("pat", address("clinic"), None).await;
    let signed = world.sign("clinic", world.query("clinic", address("pat"), 1));
    let answer = check_answered(&world, &gatekeeper, "clinic", &signed, &[1]).await;
    assert_eq!(answer.receipt.requester, address("clinic"));
    assert_eq!(answer.receipt.time, Timestamp(START));
    // The grant means its professionals as well, and nobody else's.
    let signed = world.sign("cai", world.query("cai", address("pat"), 1));
    check_answered(&world, &gatekeeper, "cai", &signed, &[1]).await;
    let signed = world.sign("ada", world.query("ada", address("pat"), 1));
    let no_consent = QueryRefusal::Decided(Refusal::NoConsent);
    check_refused(&world, &gatekeeper, &signed, no_consent).await;
    let call =
        Registry::proposeRotationCall { member: address("clinic"), newSigner: address("spare1") };
    world.carry(&call, &["insurer", "emergency"]).await;
    let signed = world.sign("clinic", world.query("clinic", address("pat"), 2));
    check_refused(&world, &gatekeeper, &signed, QueryRefusal::NotInForce).await;
    let signed = world.sign("spare1", world.query("spare1", address("pat"), 2));
    let answer = check_answered(&world, &gatekeeper, "spare1", &signed, &[1]).await;
    assert_eq!(answer.receipt.requester, address("clinic"));
    let reader = gatekeeper.projection().await.registry.reader(&address("spare1"), world.now());
    let (member, role) = (address("clinic"), InstitutionRole::Hospital);
    assert_eq!(reader, Some(Reader::Institution { member, role }));
}
