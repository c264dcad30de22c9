//! The exchange over HTTP on loopback. TLS is in front of the gateway.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy_signer::SignerSync as _;
use common::*;
use domain::{Address, B256, QueryDomain, Timestamp};
use exchange::{
    Failure, HttpsPeer, HttpsSettings, STEP_LEN, Statement, TransferError, Transport as _, Wanted,
    router,
};
use futures_util::stream::StreamExt as _;
use reqwest::{Client, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use vault::Entry;

struct Sites {
    hospital: Site,
    clinic: Site,
    entries: Vec<Entry>,
    holder: Arc<TestHolder>,
    address: SocketAddr,
}

/// A hospital that serves, and a clinic whose key is registered.
async fn sites() -> Sites {
    let (hospital, clinic) = (Site::new(HOSPITAL, 1).await, Site::new(CLINIC, 2).await);
    let entries = share(&hospital, vec![record(1), long_record(2)], &clinic.identity).await;
    let holder = TestHolder::new(&hospital, CLINIC, &entries);
    holder.rules.lock().keys.insert(signer("clinic").address(), CLINIC);
    let settings = HttpsSettings { member: HOSPITAL, network: NETWORK, clock: Arc::new(|| NOW) };
    let routes = router(Arc::clone(&holder), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Sites { hospital, clinic, entries, holder, address }
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

fn peer_of(address: SocketAddr, member: Address, key: &str) -> HttpsPeer {
    HttpsPeer::new(client(), &format!("http://{address}/"), HOSPITAL, requester(member, key))
}

#[tokio::test]
async fn what_should_be_here_arrives_and_opens() {
    let Sites { clinic, entries, holder, address, .. } = sites().await;
    holder.rules.lock().page_len = Some(1);
    let peer = peer_of(address, CLINIC, "clinic");
    assert_fetched(&clinic.receiver(&entries).sync(&peer).await, 2);
    assert_eq!(clinic.read(1, HOSPITAL).await, record(1).body);
    assert_eq!(clinic.read(2, HOSPITAL).await, long_record(2).body);
    // Two pages, two bodies: each with a nonce of its own.
    assert_eq!(holder.rules.lock().nonces.len(), 4);
    assert_eq!(holder.rules.lock().given, 2);
}

#[tokio::test]
async fn who_is_not_registered_gets_nothing() {
    let Sites { clinic, entries, holder, address, .. } = sites().await;
    for (member, key) in [(CLINIC, "stranger"), (Address::repeat_byte(9), "clinic")] {
        let report = clinic.receiver(&entries).sync(&peer_of(address, member, key)).await;
        assert!(matches!(report.broken_off, Some(TransferError::Refused)), "{report:?}");
    }
    let rules = holder.rules.lock();
    assert_eq!((rules.given, rules.nonces.len()), (0, 0));
}

#[tokio::test]
async fn account_that_vouches_for_its_signature_is_served() {
    let Sites { hospital, holder, address, .. } = sites().await;
    let home = Site::new(PATIENT, 3).await;
    let own = share(&hospital, vec![record(7)], &home.identity).await;
    let peer = peer_of(address, PATIENT, "passkey");
    let report = home.receiver(&own).sync(&peer).await;
    assert!(matches!(report.broken_off, Some(TransferError::Refused)));
    {
        let mut rules = holder.rules.lock();
        rules.accounts.insert(PATIENT);
        rules.offered.push((PATIENT, own[0].digest));
        rules.permitted.insert((PATIENT, own[0].digest));
    }
    assert_fetched(&home.receiver(&own).sync(&peer).await, 1);
    assert_eq!(home.read(7, HOSPITAL).await, record(7).body);
}

#[tokio::test]
async fn what_is_not_permitted_is_not_given() {
    let Sites { hospital, clinic, entries, holder, address } = sites().await;
    holder.rules.lock().permitted.remove(&(CLINIC, entries[1].digest));
    let peer = peer_of(address, CLINIC, "clinic");
    let report = clinic.receiver(&entries).sync(&peer).await;
    assert_eq!((report.fetched.count, report.refused.named), (1, vec![entries[1].digest]));

    // What was never offered, and what is nowhere: the same answer.
    let secret = hospital.vault.put(record(8), &mut rng(5)).await.unwrap();
    let nowhere = Entry { digest: domain::RecordDigest(B256::repeat_byte(7)), ..secret };
    for entry in [secret, nowhere] {
        let wanted = Wanted { digest: entry.digest, sealed_len: entry.sealed_len };
        assert!(matches!(peer.fetch(wanted, 0).await, Err(TransferError::Refused)));
    }
}

#[tokio::test]
async fn holder_that_cannot_answer_is_asked_again_later() {
    let Sites { clinic, entries, holder, address, .. } = sites().await;
    holder.rules.lock().is_unavailable = true;
    let peer = peer_of(address, CLINIC, "clinic");
    let report = clinic.receiver(&entries).sync(&peer).await;
    assert!(matches!(report.broken_off, Some(TransferError::Unavailable)));
}

/// S3: a revocation stops a transfer that runs, and so does the loss of the key or of the chain.
#[tokio::test]
async fn revoked_in_the_middle_of_a_transfer_gets_nothing_more() {
    for what in [AtCheck::Revoke, AtCheck::Unregister, AtCheck::Stale] {
        let Sites { clinic, entries, holder, address, .. } = sites().await;
        {
            let mut rules = holder.rules.lock();
            rules.offered.remove(0);
            rules.at_check = Some((5, what));
        }
        let peer = Observed::new(peer_of(address, CLINIC, "clinic"));
        let report = clinic.receiver(&entries).sync(&peer).await;
        assert_eq!(report.fetched.count, 0, "{what:?}");
        assert!(!clinic.has(&entries[1]).await);
        let steps = if what == AtCheck::Unregister { 5 } else { 4 };
        assert!(*peer.bytes.borrow() <= steps * STEP_LEN as u64, "{what:?}");
        assert_eq!(holder.rules.lock().checks, 5, "{what:?}");

        // Nor does it get the rest by asking again.
        holder.rules.lock().at_check = None;
        let report = clinic.receiver(&entries).sync(&peer).await;
        assert_eq!(report.fetched.count, u64::from(what == AtCheck::Stale), "{what:?}");
    }
}

#[tokio::test]
async fn other_bytes_are_not_kept() {
    let Sites { hospital, clinic, entries, holder, address } = sites().await;
    let mut altered = sealed_of(&entries[1], &hospital.vault).await;
    altered[700_000] ^= 1;
    let short = altered[..1_000].to_vec();
    let peer = peer_of(address, CLINIC, "clinic");
    holder.rules.lock().instead.insert(entries[1].digest, altered);
    let report = clinic.receiver(&entries).sync(&peer).await;
    assert!(matches!(report.failed.as_slice(), [(_, Failure::WrongBytes)]), "{report:?}");
    holder.rules.lock().instead.insert(entries[1].digest, short);
    let report = clinic.receiver(&entries).sync(&peer).await;
    let [(_, Failure::Transfer(TransferError::Malformed))] = report.failed.as_slice() else {
        panic!("{report:?}")
    };
    assert!(!clinic.has(&entries[1]).await);
}

/// Passes connections on to `to`; the first ends after so many bytes of an answer.
async fn cutting_proxy(to: SocketAddr, cut_after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut room = cut_after;
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(to).await.unwrap();
            let (mut near_in, mut near_out) = near.split();
            let (mut far_in, mut far_out) = far.split();
            let there = tokio::io::copy(&mut near_in, &mut far_out);
            let back = async {
                let mut buffer = vec![0; 16 * 1024];
                loop {
                    let count = far_in.read(&mut buffer).await.unwrap().min(room);
                    if count == 0 {
                        break;
                    }
                    near_out.write_all(&buffer[..count]).await.unwrap();
                    room -= count;
                }
            };
            tokio::select! {
                _ = there => {}
                () = back => {}
            }
            room = usize::MAX;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_connection_goes_on_with_the_rest() {
    let Sites { clinic, entries, holder, address, .. } = sites().await;
    holder.rules.lock().offered.remove(0);
    let long = entries[1];
    let proxy = cutting_proxy(address, 900_000).await;
    let peer = Observed::new(peer_of(proxy, CLINIC, "clinic"));
    let report = soon(clinic.receiver(&entries).sync(&peer)).await;
    let [(_, Failure::Transfer(TransferError::Interrupted(_)))] = report.failed.as_slice() else {
        panic!("{report:?}")
    };
    let came = fs::metadata(clinic.part_file(long.digest)).unwrap().len();
    assert!((1..900_000).contains(&came), "{came}");

    let report = soon(clinic.receiver(&entries).sync(&peer)).await;
    assert_fetched(&report, 1);
    assert_eq!(report.bytes, long.sealed_len - came);
    assert_eq!(*peer.from.lock(), [0, came]);
    assert_eq!(clinic.read(2, HOSPITAL).await, long_record(2).body);
}

/// A request as somebody sends it, which need not be as it was signed.
struct Sent {
    statement: Statement,
    network: QueryDomain,
    key: &'static str,
    target: String,
    range: Option<&'static str>,
    requester: Address,
}

impl Sent {
    fn honest(target: &str, nonce: u8) -> Self {
        let statement = Statement {
            requester: CLINIC,
            responder: HOSPITAL,
            method: "GET".into(),
            target: target.into(),
            range: String::new(),
            nonce: B256::repeat_byte(nonce),
            deadline: NOW.after(Duration::from_secs(60)),
        };
        let target = target.to_owned();
        Self { statement, network: NETWORK, key: "clinic", target, range: None, requester: CLINIC }
    }

    async fn send(&self, to: SocketAddr) -> StatusCode {
        let Statement { nonce, deadline, .. } = &self.statement;
        let digest = self.statement.signing_digest(self.network);
        let signature = signer(self.key).sign_hash_sync(&digest).unwrap();
        let header = format!(
            "Salus-Exchange {}.{}.{}.{}",
            hex::encode(self.requester),
            hex::encode(nonce),
            deadline.0,
            hex::encode(signature.as_bytes())
        );
        let mut request = client().get(format!("http://{to}{}", self.target));
        request = request.header("authorization", header);
        if let Some(range) = self.range {
            request = request.header("range", range);
        }
        request.send().await.unwrap().status()
    }
}

/// S7: a signed request serves whom it was signed for, for what was signed, in time, once.
#[tokio::test]
async fn replayed_expired_and_foreign_requests_are_refused() {
    let Sites { entries, holder, address, .. } = sites().await;
    let offers = "/exchange/v1/offers";
    let blob = format!("/exchange/v1/blobs/{}", entries[0].digest);
    let check = async |sent: Sent, expected: StatusCode| {
        assert_eq!(sent.send(address).await, expected, "{:?}", sent.statement);
    };
    let refused = StatusCode::UNAUTHORIZED;

    let once = Sent::honest(offers, 1);
    assert_eq!(once.send(address).await, StatusCode::OK);
    check(once, refused).await;
    // A nonce is used up for everything.
    check(Sent::honest(&blob, 1), refused).await;
    check(Sent::honest(&blob, 2), StatusCode::OK).await;

    let at = |deadline: Timestamp, nonce| {
        let honest = Sent::honest(offers, nonce);
        Sent { statement: Statement { deadline, ..honest.statement }, ..honest }
    };
    check(at(NOW, 3), refused).await;
    check(at(NOW.after(Duration::from_secs(121)), 3), refused).await;
    check(at(NOW.after(Duration::from_secs(120)), 3), StatusCode::OK).await;

    let honest = || Sent::honest(offers, 4);
    let signed = |change: fn(&mut Statement)| {
        let mut sent = honest();
        change(&mut sent.statement);
        sent
    };
    check(Sent { network: QueryDomain { chain_id: 1, ..NETWORK }, ..honest() }, refused).await;
    let registry = Address::ZERO;
    check(Sent { network: QueryDomain { registry, ..NETWORK }, ..honest() }, refused).await;
    check(Sent { key: "stranger", ..honest() }, refused).await;
    check(Sent { requester: HOSPITAL, ..honest() }, refused).await;
    check(Sent { target: blob.clone(), ..honest() }, refused).await;
    check(Sent { target: format!("{offers}?after=00"), ..honest() }, refused).await;
    check(Sent { range: Some("bytes=1-"), ..honest() }, refused).await;
    check(signed(|statement| statement.responder = CLINIC), refused).await;
    check(signed(|statement| statement.requester = HOSPITAL), refused).await;
    check(signed(|statement| statement.method = "HEAD".into()), refused).await;
    // None of them used up the nonce.
    check(honest(), StatusCode::OK).await;

    let unsigned = client().get(format!("http://{address}{offers}")).send().await.unwrap();
    assert_eq!(unsigned.status(), refused);
    let garbled = client().get(format!("http://{address}{offers}"));
    let garbled = garbled.header("authorization", "Salus-Exchange a.b.c.d").send().await.unwrap();
    assert_eq!(garbled.status(), refused);
    assert_eq!(holder.rules.lock().nonces.len(), 4);
}

#[tokio::test]
async fn malformed_requests_have_their_answers() {
    let Sites { entries, address, .. } = sites().await;
    let blob = format!("/exchange/v1/blobs/{}", entries[0].digest);
    let with_range = |range: &'static str, nonce| {
        let mut sent = Sent::honest(&blob, nonce);
        sent.statement.range = range.into();
        sent.range = Some(range);
        sent
    };
    assert_eq!(with_range("bytes=10-", 1).send(address).await, StatusCode::PARTIAL_CONTENT);
    for (nonce, range) in (2..).zip(["bytes=99999999-", "bytes=-5", "bytes=0-1,3-4", "lines=0-"]) {
        let status = with_range(range, nonce).send(address).await;
        assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
    }
    let bad = [
        "/exchange/v1/blobs/0x12".to_owned(),
        "/exchange/v1/offers?after=".to_owned(),
        "/exchange/v1/offers?before=00".to_owned(),
        format!("/exchange/v1/offers?after={}", "00".repeat(65)),
    ];
    for (nonce, target) in (100..).zip(bad) {
        let status = Sent::honest(&target, nonce).send(address).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{target}");
    }
}

#[tokio::test]
async fn part_of_a_body_is_that_part() {
    let Sites { hospital, entries, address, .. } = sites().await;
    let sealed = sealed_of(&entries[1], &hospital.vault).await;
    let peer = peer_of(address, CLINIC, "clinic");
    let wanted = Wanted { digest: entries[1].digest, sealed_len: entries[1].sealed_len };
    for from in [1, 65_536, 1_000_003, entries[1].sealed_len - 1] {
        let mut stream = peer.fetch(wanted, from).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        assert!(bytes == sealed[usize::try_from(from).unwrap()..], "{from}");
    }
}
