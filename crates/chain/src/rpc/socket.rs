//! A WebSocket connection: calls and their answers, and subscriptions.
//!
//! A subscriber is told everything from the answer to its subscription on, in order, or loses the
//! connection: one that misses something without noticing would go on with a revocation unseen.

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy_rpc_types_eth::{Filter, Log};
use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{
    sync::{
        Notify,
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    task::JoinHandle,
    time::timeout,
};

use super::{
    RpcError, convert,
    error::LIMIT_EXCEEDED,
    params::Params,
    server::{Server, encode, outcome, parse},
};
use crate::{Chain, SharedBlock};

/// Notifications that may wait for a slow client.
const OUTGOING_MAX: usize = 4_096;

/// How long a client may take to read one message.
const SEND_WAIT: Duration = Duration::from_secs(60);

/// Turns a request into a WebSocket connection.
pub(super) async fn upgrade(
    State(server): State<Server>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => {
            let most = server.limits.request_bytes;
            let upgrade = upgrade.max_message_size(most).max_frame_size(most);
            upgrade.on_upgrade(move |socket| Connection::run(server, socket))
        }
        Err(_) => {
            let hint = "this needs a WebSocket; send calls with POST";
            (StatusCode::UPGRADE_REQUIRED, hint).into_response()
        }
    }
}

/// One connection with its subscriptions.
struct Connection {
    server: Server,
    outbox: Arc<Outbox>,
    subscriptions: HashMap<String, JoinHandle<()>>,
    last_id: u64,
}

/// What waits to be sent.
struct Outbox {
    messages: mpsc::Sender<Message>,
    waiting_bytes: AtomicUsize,
    most_bytes: usize,
    /// The connection is to end.
    over: Notify,
}

impl Outbox {
    /// False when the client is gone or too slow, which ends the connection.
    fn send(&self, message: String) -> bool {
        let size = message.len();
        let waiting = self.waiting_bytes.fetch_add(size, Ordering::SeqCst) + size;
        // Alone, a message may be as long as it is.
        let fits = waiting <= self.most_bytes.max(size);
        let sent = fits && self.messages.try_send(Message::Text(message.into())).is_ok();
        if !sent {
            self.over.notify_one();
        }
        sent
    }
}

impl Connection {
    async fn run(server: Server, mut socket: WebSocket) {
        let (messages, mut waiting) = mpsc::channel(OUTGOING_MAX);
        let outbox = Arc::new(Outbox {
            messages,
            waiting_bytes: AtomicUsize::new(0),
            most_bytes: server.limits.notification_bytes,
            over: Notify::new(),
        });
        let mut stopping = server.stopping.subscribe();
        let subscriptions = HashMap::new();
        let mut connection =
            Self { server, outbox: Arc::clone(&outbox), subscriptions, last_id: 0 };
        tokio::select! {
            () = connection.converse(&mut socket, &mut waiting) => {}
            () = outbox.over.notified() => tracing::debug!("dropped a WebSocket client"),
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        for (_, subscription) in connection.subscriptions {
            subscription.abort();
        }
    }

    /// Answers calls one after the other, and sends notifications meanwhile, until the client goes.
    async fn converse(&mut self, socket: &mut WebSocket, waiting: &mut mpsc::Receiver<Message>) {
        let mut answering: Option<JoinHandle<Option<Vec<u8>>>> = None;
        loop {
            let message = tokio::select! {
                Some(message) = waiting.recv() => {
                    let Message::Text(text) = &message else { continue };
                    self.outbox.waiting_bytes.fetch_sub(text.len(), Ordering::SeqCst);
                    Some(message)
                }
                answer = finished(&mut answering) => {
                    answering = None;
                    answer.map(into_message)
                }
                received = socket.recv(), if answering.is_none() => {
                    let request = match received {
                        Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                        Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    };
                    match self.subscription_call(&request) {
                        Some(answer) => answer.map(into_message),
                        None => {
                            let server = self.server.clone();
                            answering = Some(tokio::spawn(async move {
                                server.answer(request).await
                            }));
                            None
                        }
                    }
                }
            };
            if let Some(message) = message {
                match timeout(SEND_WAIT, socket.send(message)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        }
    }

    /// Answers calls that concern subscriptions; nothing when the request is about something else.
    fn subscription_call(&mut self, request: &[u8]) -> Option<Option<Vec<u8>>> {
        // Most requests are about something else, and long ones should not be read twice.
        let names = |name: &[u8]| request.windows(name.len()).any(|part| part == name);
        if !names(b"\"eth_subscribe\"") && !names(b"\"eth_unsubscribe\"") {
            return None;
        }
        let call = parse(serde_json::from_slice(request).ok()?).ok()?;
        let result = match &*call.method {
            "eth_subscribe" => self.subscribe(call.params),
            "eth_unsubscribe" => self.unsubscribe(&call.params),
            _ => return None,
        };
        Some(call.id.map(|id| encode(&outcome(id, result))))
    }

    fn unsubscribe(&mut self, params: &Value) -> Result<Value, RpcError> {
        let id = params.get(0).and_then(Value::as_str);
        let id = id.ok_or_else(|| RpcError::invalid_params("missing parameter subscription id"))?;
        let found = self.subscriptions.remove(id);
        if let Some(subscription) = &found {
            subscription.abort();
        }
        Ok(found.is_some().into())
    }

    fn subscribe(&mut self, params: Value) -> Result<Value, RpcError> {
        if self.subscriptions.len() >= self.server.limits.subscriptions {
            return Err(RpcError::new(LIMIT_EXCEEDED, "too many subscriptions"));
        }
        let mut params = Params::new(params)?;
        let kind: String = params.required("subscription")?;
        self.last_id += 1;
        let id = convert::quantity(self.last_id);
        let notify = Notifier { id: id.clone(), outbox: Arc::clone(&self.outbox) };
        let chain = self.server.rpc.chain().clone();
        // Whatever comes after the answer must be told, so each begins to listen here.
        let task = match &*kind {
            "newHeads" => self.follow(chain, move |block| notify.send(&convert::header(block))),
            "logs" => {
                let filter: Option<Filter> = params.optional("filter")?;
                let filter = filter.unwrap_or_default();
                self.follow(chain, move |block| {
                    let mut logs = convert::block_logs(block);
                    logs.all(|log| !matches_anywhere(&filter, &log) || notify.send(&log))
                })
            }
            "newPendingTransactions" => {
                let arrivals = chain.subscribe_arrivals();
                tokio::spawn(tell_arrivals(arrivals, notify))
            }
            _ => {
                return Err(RpcError::invalid_params(
                    "subscribe to newHeads, logs or newPendingTransactions",
                ));
            }
        };
        self.subscriptions.insert(id.clone(), task);
        Ok(id.into())
    }

    /// Tells of every block from now on. When that fails, the connection is over: the client would
    /// not notice that only its subscription is.
    fn follow(
        &self,
        chain: Chain,
        tell: impl Fn(&SharedBlock) -> bool + Send + 'static,
    ) -> JoinHandle<()> {
        let followed = Followed::from_now(chain);
        let outbox = Arc::clone(&self.outbox);
        tokio::spawn(async move {
            followed.run(tell).await;
            outbox.over.notify_one();
        })
    }
}

/// The answer that is being worked on, when it is there.
async fn finished(answering: &mut Option<JoinHandle<Option<Vec<u8>>>>) -> Option<Vec<u8>> {
    match answering {
        Some(answer) => answer.await.ok().flatten(),
        None => pending().await,
    }
}

fn into_message(answer: Vec<u8>) -> Message {
    Message::Text(String::from_utf8_lossy(&answer).into_owned().into())
}

/// Whether a log matches a subscription, whose block range does not count.
fn matches_anywhere(filter: &Filter, log: &Log) -> bool {
    filter.matches_address(log.inner.address) && filter.matches_topics(log.inner.topics())
}

/// Every durable block from now on, none left out.
struct Followed {
    chain: Chain,
    heads: Receiver<SharedBlock>,
    next: u64,
}

impl Followed {
    fn from_now(chain: Chain) -> Self {
        let heads = chain.subscribe_heads();
        let next = chain.head().header.number + 1;
        Self { chain, heads, next }
    }

    /// Hands on each block until that fails.
    async fn run(mut self, tell: impl Fn(&SharedBlock) -> bool) {
        loop {
            match self.heads.recv().await {
                Ok(block) if block.header.number < self.next => continue,
                Ok(block) if block.header.number == self.next => {
                    if !tell(&block) {
                        return;
                    }
                    self.next += 1;
                }
                // Blocks come faster than they are handed on: the rest is read from the log.
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    while self.next <= self.chain.head().header.number {
                        let (chain, number) = (self.chain.clone(), self.next);
                        let read = tokio::task::spawn_blocking(move || chain.block(number)).await;
                        let Ok(Ok(Some(block))) = read else { return };
                        if !tell(&block) {
                            return;
                        }
                        self.next += 1;
                    }
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// Transactions that come in are told as far as possible: the pool promises nothing either.
async fn tell_arrivals(mut arrivals: Receiver<alloy_primitives::B256>, notify: Notifier) {
    loop {
        match arrivals.recv().await {
            Ok(hash) => {
                if !notify.send(&hash) {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Sends what a subscription finds.
struct Notifier {
    id: String,
    outbox: Arc<Outbox>,
}

impl Notifier {
    fn send(&self, result: &impl serde::Serialize) -> bool {
        let notification = json!({
            "jsonrpc": "2.0",
            "method": "eth_subscription",
            "params": { "subscription": self.id, "result": result },
        });
        self.outbox.send(notification.to_string())
    }
}
