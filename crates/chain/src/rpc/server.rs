//! JSON-RPC over HTTP and WebSocket, on one port.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{
        Request, State, WebSocketUpgrade,
        ws::{Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, sync::mpsc, task::JoinHandle};

use super::{
    Rpc, RpcError, convert,
    error::{INVALID_REQUEST, LIMIT_EXCEEDED, PARSE_ERROR},
};

/// What one client may ask for at once.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// The longest request, in bytes.
    pub request_bytes: usize,
    /// Calls in one batch.
    pub batch_calls: usize,
    /// Requests answered at the same time, over all clients.
    pub concurrent_requests: usize,
    /// Subscriptions of one WebSocket connection.
    pub subscriptions: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            request_bytes: 5 << 20,
            batch_calls: 1_000,
            concurrent_requests: 256,
            subscriptions: 64,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it.
    pub fn stop(self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Server {
    rpc: Rpc,
    limits: ServerLimits,
    running: Arc<Semaphore>,
}

/// One call as it comes in.
#[derive(Deserialize)]
struct Call {
    jsonrpc: Option<String>,
    #[serde(default)]
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Value,
}

impl Rpc {
    /// Serves over HTTP and WebSocket on `listener` until the handle is stopped.
    ///
    /// Any web page may call it, as with other Ethereum nodes: nothing here is secret, and nothing is
    /// signed here.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn serve(
        &self,
        listener: TcpListener,
        limits: ServerLimits,
    ) -> std::io::Result<ServerHandle> {
        let address = listener.local_addr()?;
        let running = Arc::new(Semaphore::new(limits.concurrent_requests));
        let server = Server { rpc: self.clone(), limits, running };
        let router = Router::new()
            .route("/", post(http).get(websocket).options(preflight))
            .route("/ws", get(websocket))
            .with_state(server);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the JSON-RPC server stopped");
            }
        });
        Ok(ServerHandle { address, task })
    }
}

fn open_to_all(mut response: Response) -> Response {
    let any = HeaderValue::from_static("*");
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}

async fn preflight() -> Response {
    let mut headers = HeaderMap::new();
    let methods = HeaderValue::from_static("POST, GET, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let names = HeaderValue::from_static("content-type");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    open_to_all((StatusCode::NO_CONTENT, headers).into_response())
}

async fn http(State(server): State<Server>, request: Request<Body>) -> Response {
    let Ok(body) = to_bytes(request.into_body(), server.limits.request_bytes).await else {
        return open_to_all(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    };
    match server.answer(body.to_vec()).await {
        Some(answer) => {
            let json = HeaderValue::from_static("application/json");
            open_to_all(([(header::CONTENT_TYPE, json)], answer).into_response())
        }
        None => open_to_all(StatusCode::NO_CONTENT.into_response()),
    }
}

async fn websocket(
    State(server): State<Server>,
    method: Method,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => upgrade
            .max_message_size(server.limits.request_bytes)
            .on_upgrade(move |socket| Connection::run(server, socket)),
        Err(_) => {
            let hint = format!("{method} needs a WebSocket; send calls with POST");
            (StatusCode::UPGRADE_REQUIRED, hint).into_response()
        }
    }
}

impl Server {
    /// Answers a request, single or batch; nothing when it held only notifications.
    async fn answer(&self, request: Vec<u8>) -> Option<Vec<u8>> {
        let _permit = self.running.acquire().await.ok()?;
        let server = self.clone();
        let answer = tokio::task::spawn_blocking(move || server.answer_blocking(&request)).await;
        answer.unwrap_or_else(|_| Some(encode(&failure(Value::Null, internal()))))
    }

    fn answer_blocking(&self, request: &[u8]) -> Option<Vec<u8>> {
        let parsed: Value = match serde_json::from_slice(request) {
            Ok(parsed) => parsed,
            Err(error) => {
                let error = RpcError::new(PARSE_ERROR, format!("not JSON: {error}"));
                return Some(encode(&failure(Value::Null, error)));
            }
        };
        match parsed {
            Value::Array(calls) => {
                if calls.is_empty() || calls.len() > self.limits.batch_calls {
                    let most = self.limits.batch_calls;
                    let error = RpcError::new(
                        if calls.is_empty() { INVALID_REQUEST } else { LIMIT_EXCEEDED },
                        format!("a batch holds 1 to {most} calls"),
                    );
                    return Some(encode(&failure(Value::Null, error)));
                }
                let answers = self.answer_batch(calls);
                (!answers.is_empty()).then(|| encode(&answers))
            }
            call => self.answer_one(call).map(|answer| encode(&answer)),
        }
    }

    fn answer_one(&self, call: Value) -> Option<Value> {
        let (id, call) = match parse(call) {
            Ok(parsed) => parsed,
            Err(answer) => return Some(*answer),
        };
        let result = self.rpc.handle(&call.method, call.params);
        id.map(|id| outcome(id, result))
    }

    /// Answers a batch; transactions that follow each other are taken in together, so that their
    /// signatures are recovered on all cores.
    fn answer_batch(&self, calls: Vec<Value>) -> Vec<Value> {
        let mut answers = Vec::with_capacity(calls.len());
        let mut submissions: Vec<(Option<Value>, alloy_primitives::Bytes)> = Vec::new();
        for call in calls {
            let (id, call) = match parse(call) {
                Ok(parsed) => parsed,
                Err(answer) => {
                    self.submit(&mut submissions, &mut answers);
                    answers.push(*answer);
                    continue;
                }
            };
            if call.method == "eth_sendRawTransaction"
                && let Some(raw) = call.params.get(0).and_then(Value::as_str)
                && let Ok(raw) = raw.parse()
            {
                submissions.push((id, raw));
                continue;
            }
            self.submit(&mut submissions, &mut answers);
            let result = self.rpc.handle(&call.method, call.params);
            answers.extend(id.map(|id| outcome(id, result)));
        }
        self.submit(&mut submissions, &mut answers);
        answers
    }

    fn submit(
        &self,
        submissions: &mut Vec<(Option<Value>, alloy_primitives::Bytes)>,
        answers: &mut Vec<Value>,
    ) {
        let (ids, raw): (Vec<_>, Vec<_>) = submissions.drain(..).unzip();
        if raw.is_empty() {
            return;
        }
        let results = self.rpc.chain.submit_many(raw);
        for (id, result) in ids.into_iter().zip(results) {
            let result = result.map(|hash| json!(hash)).map_err(RpcError::from);
            answers.extend(id.map(|id| outcome(id, result)));
        }
    }
}

/// Reads one call; the id is missing for notifications, which get no answer.
fn parse(call: Value) -> Result<(Option<Value>, Call), Box<Value>> {
    let id = call.get("id").cloned().unwrap_or_default();
    let invalid = |message: String| {
        let error = RpcError::new(INVALID_REQUEST, message);
        Box::new(failure(id.clone(), error))
    };
    let call: Call =
        serde_json::from_value(call).map_err(|error| invalid(format!("not a call: {error}")))?;
    if call.jsonrpc.as_deref() != Some("2.0") {
        return Err(invalid("not JSON-RPC 2.0".into()));
    }
    Ok((call.id.clone(), call))
}

fn outcome(id: Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => failure(id, error),
    }
}

fn failure(id: Value, error: RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

fn internal() -> RpcError {
    RpcError::new(super::error::INTERNAL_ERROR, "internal error")
}

fn encode(answer: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("a JSON value has a text")
}

/// One WebSocket connection with its subscriptions.
struct Connection {
    server: Server,
    /// What is sent to the client, from answers and subscriptions alike.
    outgoing: mpsc::Sender<Message>,
    subscriptions: std::collections::HashMap<String, JoinHandle<()>>,
    last_id: u64,
}

/// Messages that may wait for a slow client. One that is slower still loses its connection.
const OUTGOING_MAX: usize = 1_024;

impl Connection {
    async fn run(server: Server, mut socket: WebSocket) {
        let (outgoing, mut waiting) = mpsc::channel(OUTGOING_MAX);
        let subscriptions = std::collections::HashMap::new();
        let mut connection = Self { server, outgoing, subscriptions, last_id: 0 };
        loop {
            tokio::select! {
                Some(message) = waiting.recv() => {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
                received = socket.recv() => match received {
                    Some(Ok(Message::Text(text))) => {
                        let answer = connection.answer(text.as_bytes().to_vec()).await;
                        if let Some(answer) = answer
                            && socket.send(answer).await.is_err()
                        {
                            break;
                        }
                    }
                    Some(Ok(Message::Binary(bytes))) => {
                        let answer = connection.answer(bytes.to_vec()).await;
                        if let Some(answer) = answer
                            && socket.send(answer).await.is_err()
                        {
                            break;
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                },
            }
        }
        for (_, subscription) in connection.subscriptions {
            subscription.abort();
        }
    }

    async fn answer(&mut self, request: Vec<u8>) -> Option<Message> {
        let subscribing = serde_json::from_slice::<Call>(&request)
            .ok()
            .filter(|call| matches!(&*call.method, "eth_subscribe" | "eth_unsubscribe"));
        let answer = match subscribing {
            Some(call) => {
                let result = if call.method == "eth_subscribe" {
                    self.subscribe(call.params)
                } else {
                    self.unsubscribe(&call.params)
                };
                Some(encode(&outcome(call.id.unwrap_or_default(), result)))
            }
            None => self.server.answer(request).await,
        };
        answer.map(|answer| Message::Text(String::from_utf8_lossy(&answer).into_owned().into()))
    }

    fn unsubscribe(&mut self, params: &Value) -> Result<Value, RpcError> {
        let id = params.get(0).and_then(Value::as_str).unwrap_or_default();
        let found = self.subscriptions.remove(id);
        if let Some(subscription) = &found {
            subscription.abort();
        }
        Ok(found.is_some().into())
    }

    fn subscribe(&mut self, params: Value) -> Result<Value, RpcError> {
        self.subscriptions.retain(|_, subscription| !subscription.is_finished());
        if self.subscriptions.len() >= self.server.limits.subscriptions {
            return Err(RpcError::new(LIMIT_EXCEEDED, "too many subscriptions"));
        }
        let mut params = super::params::Params::new(params)?;
        let kind: String = params.required("subscription")?;
        self.last_id += 1;
        let id = convert::quantity(self.last_id);
        let notify = Notifier { id: id.clone(), outgoing: self.outgoing.clone() };
        let chain = self.server.rpc.chain().clone();
        let task = match &*kind {
            "newHeads" => tokio::spawn(async move {
                let mut heads = chain.subscribe_heads();
                while let Ok(block) = heads.recv().await {
                    if !notify.send(&convert::header(&block)) {
                        return;
                    }
                }
            }),
            "logs" => {
                let filter: Option<alloy_rpc_types_eth::Filter> = params.optional("filter")?;
                let filter = filter.unwrap_or_default();
                tokio::spawn(async move {
                    let mut heads = chain.subscribe_heads();
                    while let Ok(block) = heads.recv().await {
                        let logs = super::convert::block_logs(&block);
                        for log in logs.filter(|log| matches_anywhere(&filter, log)) {
                            if !notify.send(&log) {
                                return;
                            }
                        }
                    }
                })
            }
            "newPendingTransactions" => tokio::spawn(async move {
                let mut arrivals = chain.subscribe_arrivals();
                while let Ok(hash) = arrivals.recv().await {
                    if !notify.send(&hash) {
                        return;
                    }
                }
            }),
            _ => {
                return Err(RpcError::invalid_params(
                    "subscribe to newHeads, logs or newPendingTransactions",
                ));
            }
        };
        self.subscriptions.insert(id.clone(), task);
        Ok(id.into())
    }
}

/// Whether a log matches a subscription, whose block range does not count.
fn matches_anywhere(filter: &alloy_rpc_types_eth::Filter, log: &alloy_rpc_types_eth::Log) -> bool {
    filter.matches_address(log.inner.address) && filter.matches_topics(log.inner.topics())
}

/// Sends what a subscription finds.
struct Notifier {
    id: String,
    outgoing: mpsc::Sender<Message>,
}

impl Notifier {
    /// False when the client is gone or too slow, which ends the subscription.
    fn send(&self, result: &impl serde::Serialize) -> bool {
        let notification = json!({
            "jsonrpc": "2.0",
            "method": "eth_subscription",
            "params": { "subscription": self.id, "result": result },
        });
        self.outgoing.try_send(Message::Text(notification.to_string().into())).is_ok()
    }
}
