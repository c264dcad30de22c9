//! `kill -9` at any instant loses no notification, and what is delivered again is marked (S6).
//!
//! The parent receives webhooks and starts this very test again as a child, which sends transactions,
//! follows the chain and delivers; the parent kills it at a moment drawn from a seed, again and again
//! over the same directory, and holds what is left against the chain's own logs. Set
//! `SALUS_CRASH_ROUNDS` for more rounds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use alloy_primitives::{Address, B256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent as _;
use axum::{
    Router,
    body::Bytes,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    routing::post,
};
use bindings::{Contract, Records, Relationships};
use common::{World, address, everybody, keyring, rng, sqlite_url};
use domain::Timestamp;
use notify::{
    Clearance, Notification, Outbox, Topic, Webhooks,
    webhook::{LocalTargets, NewSubscription, SubscriptionState, WebhookSecret, WebhookSettings},
};
use parking_lot::Mutex;
use vault::Database;

const CHILD_DIR: &str = "SALUS_NOTIFY_CRASH_DIR";
const CHILD_ROUND: &str = "SALUS_NOTIFY_CRASH_ROUND";

/// Who has webhooks.
const RECIPIENTS: [&str; 2] = ["pat", "hospital"];

/// Which messages are not taken.
const REFUSED_EVERY: usize = 23;

const SETTINGS: WebhookSettings = WebhookSettings {
    local: LocalTargets::Loopback,
    connect_timeout: Duration::from_secs(5),
    timeout: Duration::from_secs(5),
    retry_first: Duration::ZERO,
    retry_max: Duration::ZERO,
    failures_max: u64::MAX,
    subscriptions_max: 1,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn kill_9_loses_no_notification() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        runtime().block_on(child(Path::new(&dir)));
        return;
    }
    let rounds = std::env::var("SALUS_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let receiver = runtime.block_on(prepare(dir.path()));
    for round in 0..rounds.unwrap_or(24_u64) {
        run_and_kill(dir.path(), round);
    }
    runtime.block_on(check(dir.path(), &receiver));
}

async fn open(dir: &Path) -> (Database, Outbox, Webhooks) {
    let database = Database::open(&sqlite_url(dir)).await.unwrap();
    let outbox = Outbox::open(&database).await.unwrap();
    let keys = keyring(&database).await;
    let webhooks = Webhooks::open(outbox.clone(), keys, SETTINGS, HashMap::new()).unwrap();
    (database, outbox, webhooks)
}

async fn granted(_: Notification) -> Clearance {
    Clearance::Granted
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
struct Received {
    id: B256,
    sequence: u64,
    attempt: u64,
}

/// What came, by whose it was.
type Receiver = Arc<Mutex<HashMap<String, Vec<Received>>>>;

async fn receive(
    State(receiver): State<Receiver>,
    UrlPath(whose): UrlPath<String>,
    body: Bytes,
) -> StatusCode {
    let message: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let notification: Notification = serde_json::from_value(message["data"].clone()).unwrap();
    let Notification { id, sequence, .. } = notification;
    let attempt = message["attempt"].as_u64().unwrap();
    let count = {
        let mut receiver = receiver.lock();
        let received = receiver.entry(whose).or_default();
        received.push(Received { id, sequence, attempt });
        received.len()
    };
    // It takes its time, so that many a crash finds a message that came and was not answered.
    tokio::time::sleep(Duration::from_millis(2)).await;
    if count.is_multiple_of(REFUSED_EVERY) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

/// A network with a relationship, and webhooks that come to this process.
async fn prepare(dir: &Path) -> Receiver {
    let receiver = Receiver::default();
    let router = Router::new().route("/{whose}", post(receive)).with_state(Arc::clone(&receiver));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let world = World::found(dir).await;
    world.relate("hospital", "pat", false).await;
    let (database, _, webhooks) = open(dir).await;
    for (seed, name) in (0..).zip(RECIPIENTS) {
        let new = NewSubscription {
            recipient: address(name),
            url: format!("http://{place}/{name}"),
            secret: WebhookSecret::make(&mut rng(seed)),
            topics: Vec::new(),
            after: Some(0),
            form: String::new(),
            everybodys: false,
            paused: false,
        };
        webhooks.subscribe(new, world.now(), &mut rng(seed)).await.unwrap();
    }
    database.close().await;
    receiver
}

/// Sends transactions, follows the chain and delivers, until it is killed.
async fn child(dir: &Path) {
    let world = Arc::new(World::open(dir));
    let (_, outbox, webhooks) = open(dir).await;
    println!("ready");
    let (running, following) = (Arc::clone(&world), outbox.clone());
    tokio::spawn(async move {
        let clock = || running.now();
        following.run(&running.ledger, &running.deployment, &everybody, &clock).await;
    });
    tokio::spawn(async move { webhooks.run(&|| Timestamp(common::NOW), granted).await });
    let round = std::env::var(CHILD_ROUND).unwrap();
    for number in 0_u64.. {
        let anchor = world.propose("pat", keccak256(format!("{round} {number}"))).await;
        world.accept("pat", &anchor).await;
        // So that deliveries keep up, and what is being delivered is new.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Runs a child for a time that follows from the round's number, and kills it.
fn run_and_kill(dir: &Path, round: u64) {
    let seed = keccak256(round.to_be_bytes());
    let delay = Duration::from_micros(u64::from(u16::from_be_bytes([seed[0], seed[1]])) * 5);
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_9_loses_no_notification", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ready = lines.any(|line| line.ends_with("ready"));
    assert!(ready, "round {round}: the child did not open what the one before left");
    std::thread::sleep(delay);
    assert!(process.try_wait().unwrap().is_none(), "round {round}: the child ended by itself");
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Finishes what the last crash left, and holds outbox and deliveries against the chain.
async fn check(dir: &Path, receiver: &Receiver) {
    let world = World::open(dir);
    let (database, outbox, webhooks) = open(dir).await;
    world.follow(&outbox).await;
    loop {
        let done = webhooks.deliver_due(world.now(), granted).await.unwrap();
        if done == Default::default() {
            break;
        }
    }
    let expected = expected(&world).await;
    let (mut sequences, mut repeats, mut refused) = (Vec::new(), 0, 0);
    for name in RECIPIENTS {
        let kept = replay(&outbox, address(name)).await;
        let in_order: Vec<_> =
            kept.iter().map(|one| (one.transaction, one.log_index, one.topic)).collect();
        assert_eq!(in_order, expected[&address(name)], "the outbox holds each once, in order");
        sequences.extend(kept.iter().map(|one| one.sequence));
        let received = &receiver.lock()[name];
        repeats += check_deliveries(&kept, received);
        refused += received.len() / REFUSED_EVERY;
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    for subscription in webhooks.subscriptions(None).await.unwrap() {
        assert_eq!(subscription.state, SubscriptionState::Active);
    }
    let count = sequences.len();
    println!("{count} notifications; {repeats} repeats, {refused} of them because of refusals");
    assert!(count > 50, "rounds are long enough for something to happen");
    assert!(repeats > refused, "some crash found a message under way");
    database.close().await;
}

/// What a recipient finds who reads from the beginning, from cursor to cursor.
async fn replay(outbox: &Outbox, recipient: Address) -> Vec<Notification> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = outbox.inbox(recipient, after, 7).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = Some(last.notification.sequence);
        all.extend(page.iter().map(|entry| entry.notification));
    }
}

/// Each came, for the first time in order, and each further time with a higher number; returns how many
/// came again.
fn check_deliveries(kept: &[Notification], received: &[Received]) -> usize {
    let mut first = Vec::new();
    let mut last_attempts: BTreeMap<B256, u64> = BTreeMap::new();
    for message in received {
        match last_attempts.insert(message.id, message.attempt) {
            None => first.push((message.sequence, message.id)),
            Some(before) => assert!(message.attempt > before.max(1), "an unmarked repeat"),
        }
    }
    let kept: Vec<_> = kept.iter().map(|one| (one.sequence, one.id)).collect();
    assert_eq!(first, kept, "each was delivered, in order");
    received.len() - first.len()
}

/// Where an event is, and what its recipient is told.
type Expected = (B256, u64, Topic);

/// By the chain's own logs, whom it has what to tell.
async fn expected(world: &World) -> HashMap<Address, Vec<Expected>> {
    let contracts = vec![world.at(Contract::Records), world.at(Contract::Relationships)];
    let filter = Filter::new().address(contracts).from_block(0);
    let mut expected: HashMap<_, Vec<_>> = HashMap::new();
    for log in world.ledger.logs(&filter).await.unwrap() {
        let (recipient, topic) = match *log.topic0().unwrap() {
            Records::RecordProposed::SIGNATURE_HASH => ("pat", Topic::RecordProposed),
            Records::RecordAccepted::SIGNATURE_HASH => ("hospital", Topic::RecordAnswered),
            Relationships::RelationshipProposed::SIGNATURE_HASH => {
                ("pat", Topic::RelationshipProposed)
            }
            Relationships::RelationshipAccepted::SIGNATURE_HASH => {
                ("hospital", Topic::RelationshipAccepted)
            }
            other => panic!("an event that nobody caused: {other}"),
        };
        let event = (log.transaction_hash.unwrap(), log.log_index.unwrap(), topic);
        expected.entry(address(recipient)).or_default().push(event);
    }
    expected
}
