//! Webhooks: signed, in order, at least once, to where they may go.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, keccak256};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use common::{Place, World, address, keyring, rng, until};
use domain::Timestamp;
use notify::{
    Clearance, Notification, Outbox, Topic, Webhooks,
    webhook::{
        Body, LocalTargets, NewSubscription, SubscribeError, Subscription, SubscriptionState,
        TargetError, WebhookSecret, WebhookSettings, Written, form,
    },
};
use parking_lot::Mutex;
use vault::Database;

on_both! {
    messages_are_signed_and_come_in_order,
    a_failure_is_tried_again_later_and_marked,
    what_fails_too_often_is_given_up_and_resumed,
    a_replay_is_marked,
    other_topics_are_passed_over,
    whoever_may_be_told_no_more_is_told_nothing,
}

const SETTINGS: WebhookSettings = WebhookSettings {
    local: LocalTargets::Loopback,
    connect_timeout: Duration::from_secs(2),
    timeout: Duration::from_millis(300),
    retry_first: Duration::from_secs(10),
    retry_max: Duration::from_secs(30),
    failures_max: 4,
    subscriptions_max: 3,
};

/// What a receiver was sent.
#[derive(Clone, Debug)]
struct Received {
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn notification(&self) -> Notification {
        serde_json::from_value(self.json()["data"].clone()).unwrap()
    }

    /// Attempt number, the same in header and body, and sequence number.
    fn attempt(&self) -> (u64, u64) {
        let attempt: u64 = self.header("webhook-attempt").parse().unwrap();
        assert_eq!(self.json()["attempt"], attempt);
        (attempt, self.notification().sequence)
    }
}

/// Somebody who receives webhooks, and answers as told: with 204 when nothing is said, and never with 0.
#[derive(Clone, Default)]
struct Receiver {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        let router = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (receiver, format!("http://localhost:{port}/hook"))
    }

    fn answer(&self, answers: &[u16]) {
        self.answers.lock().extend(answers);
    }

    /// Attempt and sequence numbers of what came since this was asked last.
    fn attempts(&self) -> Vec<(u64, u64)> {
        self.received.lock().drain(..).map(|received| received.attempt()).collect()
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1]) {
    receiver.received.lock().push(Received { headers, body });
    let answer = receiver.answers.lock().pop_front().unwrap_or(204);
    if answer == 0 {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(answer).unwrap(), [("location", "/elsewhere")])
}

/// A network with a patient who has notifications 1, 3, 5 … and webhooks to a receiver.
struct Sending {
    world: World,
    database: Database,
    outbox: Outbox,
    webhooks: Webhooks,
    receiver: Receiver,
    url: String,
    /// So that no two subscriptions draw the same random bytes.
    seeds: AtomicU64,
}

impl Sending {
    async fn new(place: &Place) -> Self {
        let world = World::found(&place.chain()).await;
        world.relate("hospital", "pat", false).await;
        let database = place.database().await;
        let outbox = Outbox::open(&database).await.unwrap();
        let webhooks = open(&outbox, &database, SETTINGS).await;
        let (receiver, url) = Receiver::start().await;
        world.follow(&outbox).await;
        Self { world, database, outbox, webhooks, receiver, url, seeds: AtomicU64::new(0) }
    }

    fn secret() -> WebhookSecret {
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
    }

    async fn subscribe(&self, change: impl FnOnce(&mut NewSubscription)) -> Subscription {
        let mut new = NewSubscription {
            recipient: address("pat"),
            url: self.url.clone(),
            secret: Self::secret(),
            topics: Vec::new(),
            after: Some(0),
            form: String::new(),
            everybodys: false,
            paused: false,
        };
        change(&mut new);
        let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
        self.webhooks.subscribe(new, self.world.now(), &mut rng(seed)).await.unwrap()
    }

    async fn propose(&self, count: u8) {
        for number in 0..count {
            let record = keccak256([
                number,
                u8::try_from(self.outbox.last_sequence().await.unwrap()).unwrap(),
            ]);
            let anchor = self.world.propose("pat", record).await;
            self.world.accept("pat", &anchor).await;
        }
        self.world.follow(&self.outbox).await;
    }

    /// Delivers what is due; returns what arrived and what failed.
    async fn deliver(&self) -> (u64, u64) {
        let done = self.webhooks.deliver_due(self.world.now(), granted).await.unwrap();
        (done.arrived, done.failed)
    }

    async fn state(&self, id: &str) -> Subscription {
        self.webhooks.subscription(id).await.unwrap().unwrap()
    }
}

async fn open(outbox: &Outbox, database: &Database, settings: WebhookSettings) -> Webhooks {
    Webhooks::open(outbox.clone(), keyring(database).await, settings, HashMap::new()).unwrap()
}

async fn granted(_: Notification) -> Clearance {
    Clearance::Granted
}

async fn messages_are_signed_and_come_in_order(place: Place) {
    let sending = Sending::new(&place).await;
    sending.propose(70).await;
    sending.subscribe(|_| {}).await;
    assert_eq!(sending.deliver().await, (71, 0));
    assert_eq!(sending.deliver().await, (0, 0));
    let received: Vec<_> = sending.receiver.received.lock().drain(..).collect();
    let inbox = sending.outbox.inbox(address("pat"), None, 100).await.unwrap();
    assert_eq!(received.len(), inbox.len());
    for (received, entry) in received.iter().zip(&inbox) {
        assert_eq!(received.notification(), entry.notification);
        assert_eq!(received.attempt().0, 1);
        assert_eq!(received.json()["type"], entry.notification.topic.name());
        assert_eq!(received.json()["timestamp"], entry.notification.time.to_string());
        assert_eq!(received.header("content-type"), "application/json");
        let id = received.header("webhook-id");
        assert_eq!(id, entry.notification.id.to_string().trim_start_matches("0x"));
        let timestamp = Timestamp(received.header("webhook-timestamp").parse().unwrap());
        let signature = received.header("webhook-signature");
        let verify =
            |body: &[u8], now| Sending::secret().verify(id, timestamp, body, signature, now);
        assert!(verify(&received.body, sending.world.now()));
        assert!(!verify(&received.body, timestamp.after(Duration::from_secs(301))), "too old");
        assert!(!verify(b"{}", sending.world.now()));
    }
    sending.database.close().await;
}

async fn a_failure_is_tried_again_later_and_marked(place: Place) {
    let sending = Sending::new(&place).await;
    sending.propose(2).await;
    let id = sending.subscribe(|_| {}).await.id;
    // A redirect is not followed, and an answer that does not come in time counts as none.
    sending.receiver.answer(&[200, 503, 302, 0]);
    assert_eq!(sending.deliver().await, (1, 1));
    assert_eq!(sending.receiver.attempts(), [(1, 1), (1, 3)]);
    assert_eq!(sending.deliver().await, (0, 0), "not before its time");
    let (failure, wait) = (sending.state(&id).await.failure, 10);
    assert_eq!(failure, "status 503");

    for (wait, attempt, failure) in [(wait, 2, "status 302"), (20, 3, "no answer in time")] {
        sending.world.advance(Duration::from_secs(wait - 1));
        assert_eq!(sending.deliver().await, (0, 0), "waits double");
        sending.world.advance(Duration::from_secs(1));
        assert_eq!(sending.deliver().await, (0, 1));
        assert_eq!(sending.receiver.attempts(), [(attempt, 3)]);
        assert_eq!(sending.state(&id).await.failure, failure);
    }
    // Thirty is the longest wait.
    sending.world.advance(Duration::from_secs(30));
    assert_eq!(sending.deliver().await, (2, 0));
    assert_eq!(sending.receiver.attempts(), [(4, 3), (1, 5)]);
    let state = sending.state(&id).await;
    assert_eq!((state.failures, state.failure.as_str(), state.cursor), (0, "", 5));
    sending.database.close().await;
}

async fn what_fails_too_often_is_given_up_and_resumed(place: Place) {
    let sending = Sending::new(&place).await;
    let id = sending.subscribe(|_| {}).await.id;
    let well = sending.subscribe(|new| new.recipient = address("hospital")).await;
    sending.receiver.answer(&[500, 500]);
    // Both are under way at once, so whichever came first failed; both fail here.
    assert_eq!(sending.deliver().await, (0, 2));
    sending.webhooks.unsubscribe(&well.id).await.unwrap();
    sending.receiver.answer(&[500, 500, 500]);
    for _ in 0..5 {
        sending.world.advance(Duration::from_secs(30));
        sending.deliver().await;
    }
    let given_up = sending.state(&id).await;
    assert_eq!((given_up.state, given_up.failures), (SubscriptionState::Error, 4));
    assert_eq!(given_up.failure, "status 500");
    assert_eq!(given_up.cursor, 0, "nothing is skipped");
    sending.receiver.attempts();

    // Whoever resumes it does not make the next attempt look like the first.
    sending.webhooks.resume(&id).await.unwrap().unwrap();
    assert_eq!(sending.deliver().await, (1, 0));
    assert_eq!(sending.receiver.attempts(), [(5, 1)]);
    sending.webhooks.pause(&id).await.unwrap().unwrap();
    sending.propose(1).await;
    assert_eq!(sending.deliver().await, (0, 0));
    sending.webhooks.resume(&id).await.unwrap().unwrap();
    // "Gone" needs no second attempt.
    sending.receiver.answer(&[410]);
    assert_eq!(sending.deliver().await, (0, 1));
    assert_eq!(sending.state(&id).await.state, SubscriptionState::Error);
    sending.database.close().await;
}

async fn a_replay_is_marked(place: Place) {
    let sending = Sending::new(&place).await;
    sending.propose(1).await;
    let id = sending.subscribe(|_| {}).await.id;
    sending.deliver().await;
    sending.receiver.attempts();
    sending.webhooks.replay(&id, 0).await.unwrap().unwrap();
    sending.propose(1).await;
    assert_eq!(sending.deliver().await, (3, 0));
    assert_eq!(sending.receiver.attempts(), [(2, 1), (2, 3), (1, 5)]);
    sending.database.close().await;
}

async fn other_topics_are_passed_over(place: Place) {
    let sending = Sending::new(&place).await;
    sending.propose(2).await;
    let topics = vec![Topic::ConsentGranted, Topic::RelationshipProposed];
    let id = sending.subscribe(|new| new.topics = topics).await.id;
    assert_eq!(sending.deliver().await, (1, 0));
    assert_eq!(sending.receiver.attempts(), [(1, 1)]);
    assert_eq!(sending.state(&id).await.cursor, 5);
    // A subscription that begins now gets what comes from now on.
    sending.subscribe(|new| new.after = None).await;
    assert_eq!(sending.deliver().await, (0, 0));
    sending.propose(1).await;
    assert_eq!(sending.deliver().await, (1, 0));
    assert_eq!(sending.receiver.attempts(), [(1, 7)]);
    sending.database.close().await;
}

async fn whoever_may_be_told_no_more_is_told_nothing(place: Place) {
    let sending = Sending::new(&place).await;
    sending.propose(1).await;
    let id = sending.subscribe(|_| {}).await.id;
    // Nobody knows just now: it waits, and nothing is lost.
    let unknown = async |_| Clearance::Unknown;
    let deliver = sending.webhooks.deliver_due(sending.world.now(), unknown);
    assert_eq!(deliver.await.unwrap(), Default::default());
    sending.world.advance(Duration::from_secs(10));
    let until_two = async |notification: Notification| match notification.sequence {
        ..2 => Clearance::Granted,
        _ => Clearance::Refused,
    };
    sending.webhooks.deliver_due(sending.world.now(), until_two).await.unwrap();
    assert_eq!(sending.receiver.attempts(), [(1, 1)]);
    assert_eq!(sending.state(&id).await.state, SubscriptionState::Ended);
    assert_eq!(sending.deliver().await, (0, 0));
    sending.database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_only_where_they_may() {
    let place = Place::sqlite();
    let sending = Sending::new(&place).await;
    let strict = WebhookSettings { local: LocalTargets::Refused, ..SETTINGS };
    let public_only = open(&sending.outbox, &sending.database, strict).await;
    let refusal = async |webhooks: &Webhooks, url: &str| {
        let new = NewSubscription {
            recipient: address("quinn"),
            url: url.to_owned(),
            secret: Sending::secret(),
            topics: Vec::new(),
            after: None,
            form: String::new(),
            everybodys: false,
            paused: false,
        };
        match webhooks.subscribe(new, sending.world.now(), &mut rng(9)).await {
            Err(SubscribeError::Target(error)) => error,
            other => panic!("{url}: {other:?}"),
        }
    };
    for url in ["ftp://receiver.example/", "http://receiver.example/", "http://127.0.0.1/"] {
        assert_eq!(refusal(&public_only, url).await, TargetError::NotHttps);
    }
    for url in ["https://10.0.0.1/", "https://[::1]/", "https://2130706433/", "https://0x7f.1/"] {
        assert_eq!(refusal(&public_only, url).await, TargetError::Forbidden);
    }
    let local = &sending.webhooks;
    for url in ["https://169.254.169.254/", "https://[fe80::1]/", "http://8.8.8.8/"] {
        assert_eq!(refusal(local, url).await, TargetError::Forbidden);
    }
    assert_eq!(refusal(local, "https://user:word@h.example/").await, TargetError::HasCredentials);
    assert_eq!(refusal(local, "no url").await, TargetError::Malformed);

    // A name is judged by what it resolves to, when the connection is made.
    let https = sending.url.replace("http:", "https:");
    let id = sending.subscribe(|new| new.url = https).await.id;
    let done = public_only.deliver_due(sending.world.now(), granted).await.unwrap();
    assert_eq!((done.arrived, done.failed), (0, 1));
    let failure = sending.state(&id).await.failure;
    assert_eq!(failure, "webhooks do not go to addresses of this network");
    assert_eq!(sending.receiver.attempts(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_counted_listed_and_removed() {
    let place = Place::sqlite();
    let sending = Sending::new(&place).await;
    let mut random = rng(3);
    let mut subscribe = async |recipient: Address, form: &str| {
        let new = NewSubscription {
            recipient,
            url: sending.url.clone(),
            secret: WebhookSecret::make(&mut random),
            topics: vec![Topic::RecordProposed],
            after: None,
            form: form.to_owned(),
            everybodys: false,
            paused: false,
        };
        sending.webhooks.subscribe(new, sending.world.now(), &mut random).await
    };
    let first = subscribe(address("pat"), "").await.unwrap();
    for _ in 0..2 {
        subscribe(address("pat"), "").await.unwrap();
    }
    let refused = subscribe(address("pat"), "").await;
    assert!(matches!(refused, Err(SubscribeError::TooMany { count: 3 })));
    let refused = subscribe(address("quinn"), "unheard of").await;
    assert!(matches!(refused, Err(SubscribeError::UnknownForm)));
    subscribe(address("quinn"), "").await.unwrap();

    let listed = sending.webhooks.subscriptions(Some(address("pat"))).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.contains(&first));
    assert_eq!(sending.webhooks.subscriptions(None).await.unwrap().len(), 4);
    assert!(sending.webhooks.unsubscribe(&first.id).await.unwrap());
    assert!(!sending.webhooks.unsubscribe(&first.id).await.unwrap());
    let names = keyring(&sending.database).await.names("webhook/").await.unwrap();
    assert_eq!(names.len(), 3, "the secret is gone too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_of_the_callers_own_is_signed_as_well() {
    let place = Place::sqlite();
    let sending = Sending::new(&place).await;
    let form = form(|message| {
        let (sequence, attempt) = (message.notification.sequence, message.attempt);
        let body = Body {
            content_type: "application/fhir+json",
            bytes: format!(r#"{{"n":{sequence},"attempt":{attempt}}}"#).into_bytes(),
            headers: HeaderMap::new(),
        };
        Box::pin(std::future::ready(Written::Body(body)))
    });
    let forms = HashMap::from([("fhir".to_owned(), form)]);
    let keys = keyring(&sending.database).await;
    let webhooks = Webhooks::open(sending.outbox.clone(), keys, SETTINGS, forms).unwrap();
    let new = NewSubscription {
        recipient: address("pat"),
        url: sending.url.clone(),
        secret: Sending::secret(),
        topics: Vec::new(),
        after: Some(0),
        form: "fhir".into(),
        everybodys: false,
        paused: false,
    };
    webhooks.subscribe(new, sending.world.now(), &mut rng(1)).await.unwrap();
    webhooks.deliver_due(sending.world.now(), granted).await.unwrap();
    let received = sending.receiver.received.lock().remove(0);
    assert_eq!(received.body, r#"{"n":1,"attempt":1}"#);
    let (id, signature) = (received.header("webhook-id"), received.header("webhook-signature"));
    let now = sending.world.now();
    assert!(Sending::secret().verify(id, now, &received.body, signature, now));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_does_not_hold_up_the_others() {
    let place = Place::sqlite();
    let sending = Arc::new(Sending::new(&place).await);
    let patient = WebhookSettings { timeout: Duration::from_secs(600), ..SETTINGS };
    let webhooks = open(&sending.outbox, &sending.database, patient).await;
    let (slow, slow_url) = Receiver::start().await;
    slow.answer(&[0]);
    sending.subscribe(|new| new.url = slow_url).await;
    let (running, in_world) = (webhooks.clone(), Arc::clone(&sending));
    let delivering = tokio::spawn(async move {
        running.run(&|| in_world.world.now(), granted).await;
    });
    until(|| !slow.received.lock().is_empty()).await;
    // While one receiver does not answer, another is served.
    sending.subscribe(|new| new.after = None).await;
    sending.propose(1).await;
    until(|| !sending.receiver.received.lock().is_empty()).await;
    assert_eq!(slow.received.lock().len(), 1, "it has one message under way");
    sending.outbox.stop();
    delivering.await.unwrap();
}

/// # Source
///
/// The vector in the test suites of the Standard Webhooks reference libraries.
#[test]
fn signs_the_published_vector() {
    let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
    let body = br#"{"test": 2432232314}"#;
    let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp(1_614_265_330), body);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn secrets_have_a_length_and_do_not_print() {
    let secret = WebhookSecret::make(&mut rng(1));
    let again: WebhookSecret = secret.expose_text().parse().unwrap();
    assert_eq!(secret.expose_text(), again.expose_text());
    assert_eq!(format!("{secret:?}"), "WebhookSecret(..)");
    for text in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_###"] {
        assert!(text.parse::<WebhookSecret>().is_err(), "{text}");
    }
}
