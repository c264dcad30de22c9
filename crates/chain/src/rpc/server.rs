//! JSON-RPC over HTTP and WebSocket, on one port.

use std::{
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::Listener,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use super::{
    Rpc, RpcError, ServerAccess,
    error::{
        INTERNAL_ERROR, INVALID_REQUEST, LIMIT_EXCEEDED, PARSE_ERROR, RESPONSE_TOO_LARGE,
        SERVER_ERROR,
    },
    socket,
};

/// What clients may ask for at once.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// The longest request, in bytes.
    pub request_bytes: usize,
    /// Calls in one batch.
    pub batch_calls: usize,
    /// The answers to a batch, in bytes. Calls after that are answered with an error.
    pub batch_response_bytes: usize,
    /// Requests answered at the same time, over all clients.
    pub concurrent_requests: usize,
    /// Calls that may wait for their transaction at the same time, over all clients.
    pub waiting_calls: usize,
    /// Open connections. Others wait to be accepted.
    pub connections: usize,
    /// Subscriptions of one WebSocket connection.
    pub subscriptions: usize,
    /// Notifications that may wait for a slow client, in bytes. A slower one loses its connection.
    pub notification_bytes: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            request_bytes: 5 << 20,
            batch_calls: 1_000,
            // As go-ethereum.
            batch_response_bytes: 25_000_000,
            concurrent_requests: 256,
            waiting_calls: 64,
            connections: 1_024,
            subscriptions: 64,
            notification_bytes: 16 << 20,
        }
    }
}

/// How long a request may take to come in.
const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    stopping: Arc<watch::Sender<bool>>,
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it: no more connections, and those that are open end after the answer they are at.
    pub fn stop(self) {
        self.stopping.send_replace(true);
    }
}

/// What the server's connections share.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) rpc: Rpc,
    pub(super) limits: ServerLimits,
    pub(super) stopping: Arc<watch::Sender<bool>>,
    access: Arc<ServerAccess>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// One call as it comes in.
pub(super) struct Call {
    /// Missing for notifications, which get no answer.
    pub(super) id: Option<Value>,
    pub(super) method: String,
    pub(super) params: Value,
}

impl Rpc {
    /// Serves over HTTP and WebSocket on `listener` until the handle is stopped, for programs, for
    /// wallets, and for the web pages that [`ServerAccess::default`] names.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn serve(&self, listener: TcpListener, limits: ServerLimits) -> io::Result<ServerHandle> {
        self.serve_to(listener, limits, ServerAccess::default())
    }

    /// Serves over HTTP and WebSocket on `listener` until the handle is stopped, also under the names
    /// and for the web pages that `access` lists.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn serve_to(
        &self,
        listener: TcpListener,
        limits: ServerLimits,
        access: ServerAccess,
    ) -> io::Result<ServerHandle> {
        let address = listener.local_addr()?;
        let stopping = Arc::new(watch::Sender::new(false));
        let server = Server {
            rpc: self.clone(),
            limits,
            stopping: Arc::clone(&stopping),
            access: Arc::new(access),
            running: Arc::new(Semaphore::new(limits.concurrent_requests)),
            waiting: Arc::new(Semaphore::new(limits.waiting_calls)),
        };
        let router = Router::new()
            .route("/", post(http).get(socket::upgrade))
            .route("/ws", get(socket::upgrade))
            .layer(from_fn_with_state(server.clone(), check_access))
            .with_state(server);
        let free = Arc::new(Semaphore::new(limits.connections));
        let listener = BoundedListener { listener, free };
        let mut stop = stopping.subscribe();
        tokio::spawn(async move {
            // Fails only when the sender is gone, and every request's server holds it.
            let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await
            {
                tracing::error!(%error, "the JSON-RPC server stopped");
            }
        });
        Ok(ServerHandle { address, stopping })
    }
}

/// Refuses foreign names and pages before anything is read, and tells browsers what is allowed.
async fn check_access(State(server): State<Server>, request: Request, next: Next) -> Response {
    let refuse = |message: &str| {
        let error = failure(Value::Null, RpcError::new(SERVER_ERROR, message));
        (StatusCode::FORBIDDEN, json_body(encode(&error))).into_response()
    };
    let headers = request.headers();
    if !server.access.takes_host(headers) {
        return refuse("this server does not go by that host name; call it by its address");
    }
    let Ok(page) = server.access.page(headers) else {
        return refuse("web pages of this origin may not call this server");
    };
    let mut response = if request.method() == Method::OPTIONS {
        preflight(&request)
    } else {
        next.run(request).await
    };
    if let Some(page) = page {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// What a browser asks before it lets a page send JSON.
fn preflight(request: &Request) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS");
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type");
    set(header::ACCESS_CONTROL_MAX_AGE, "600");
    // Chrome asks this when a public page calls a private address.
    if request.headers().contains_key("access-control-request-private-network") {
        let name = header::HeaderName::from_static("access-control-allow-private-network");
        set(name, "true");
    }
    response
}

fn json_body(body: Vec<u8>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
}

async fn http(State(server): State<Server>, request: Request<Body>) -> Response {
    let most = server.limits.request_bytes;
    let refuse = |status, message: String| {
        let error = failure(Value::Null, RpcError::new(INVALID_REQUEST, message));
        (status, json_body(encode(&error))).into_response()
    };
    let body = match tokio::time::timeout(REQUEST_WAIT, to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if error.to_string().contains("length limit") => {
            return refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a request has at most {most} bytes"),
            );
        }
        Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the request broke off".into()),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long".into()),
    };
    match server.answer(body.to_vec()).await {
        Some(answer) => json_body(answer).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

impl Server {
    /// Answers a request, single or batch; nothing when it held only notifications.
    pub(super) async fn answer(&self, request: Vec<u8>) -> Option<Vec<u8>> {
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
                self.answer_batch(calls)
            }
            call => self.answer_one(call).map(|answer| encode(&answer)),
        }
    }

    fn answer_one(&self, call: Value) -> Option<Value> {
        match parse(call) {
            Ok(call) => {
                let result = self.run(&call.method, call.params);
                call.id.map(|id| outcome(id, result))
            }
            Err(answer) => Some(*answer),
        }
    }

    /// Runs one call. A panic is this program's fault, and costs only the call that met it.
    fn run(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        // Whoever waits keeps a thread, so only some may.
        let _waiting = match method {
            "eth_sendRawTransactionSync" => Some(self.waiting.try_acquire().map_err(|_| {
                RpcError::new(LIMIT_EXCEEDED, "too many calls wait for their transactions")
            })?),
            _ => None,
        };
        catch_unwind(AssertUnwindSafe(|| self.rpc.handle(method, params))).unwrap_or_else(|_| {
            tracing::error!(method, "a call panicked");
            Err(internal())
        })
    }

    /// Answers a batch; transactions that follow each other are taken in together, so that their
    /// signatures are recovered on all cores.
    fn answer_batch(&self, calls: Vec<Value>) -> Option<Vec<u8>> {
        let mut answers = Answers { json: vec![b'['], most: self.limits.batch_response_bytes };
        let mut submissions: Vec<(Option<Value>, alloy_primitives::Bytes)> = Vec::new();
        for call in calls {
            let call = match parse(call) {
                Ok(call) => call,
                Err(answer) => {
                    self.submit(&mut submissions, &mut answers);
                    answers.push(&answer);
                    continue;
                }
            };
            if call.method == "eth_sendRawTransaction"
                && let Some(raw) = call.params.get(0).and_then(Value::as_str)
                && let Ok(raw) = raw.parse()
            {
                submissions.push((call.id, raw));
                continue;
            }
            self.submit(&mut submissions, &mut answers);
            let result = match &*call.method {
                _ if answers.are_full() => Err(too_large()),
                // One after the other, they could hold the connection for an hour.
                "eth_sendRawTransactionSync" => Err(RpcError::new(
                    INVALID_REQUEST,
                    "a call that waits needs a request of its own; use eth_sendRawTransaction",
                )),
                method => self.run(method, call.params),
            };
            answers.extend(call.id, result);
        }
        self.submit(&mut submissions, &mut answers);
        answers.finish()
    }

    fn submit(
        &self,
        submissions: &mut Vec<(Option<Value>, alloy_primitives::Bytes)>,
        answers: &mut Answers,
    ) {
        let (ids, raw): (Vec<_>, Vec<_>) = submissions.drain(..).unzip();
        if raw.is_empty() {
            return;
        }
        if answers.are_full() {
            ids.into_iter().for_each(|id| answers.extend(id, Err(too_large())));
            return;
        }
        let results = self.rpc.chain.submit_many(raw);
        for (id, result) in ids.into_iter().zip(results) {
            answers.extend(id, result.map(|hash| json!(hash)).map_err(RpcError::from));
        }
    }
}

/// The answers to a batch, encoded as they come, so that they can be bounded.
struct Answers {
    json: Vec<u8>,
    most: usize,
}

impl Answers {
    fn are_full(&self) -> bool {
        self.json.len() > self.most
    }

    fn extend(&mut self, id: Option<Value>, result: Result<Value, RpcError>) {
        if let Some(id) = id {
            self.push(&outcome(id, result));
        }
    }

    fn push(&mut self, answer: &Value) {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        self.json.extend(encode(answer));
    }

    /// Nothing when there were only notifications.
    fn finish(mut self) -> Option<Vec<u8>> {
        self.json.push(b']');
        (self.json.len() > 2).then_some(self.json)
    }
}

/// Reads one call.
///
/// # Source
///
/// [JSON-RPC 2.0](https://www.jsonrpc.org/specification), sections 4 and 4.1.
pub(super) fn parse(call: Value) -> Result<Call, Box<Value>> {
    let id = call.get("id").cloned();
    let valid_id = matches!(id, None | Some(Value::Null | Value::Number(_) | Value::String(_)));
    let invalid = |message: &str| {
        let id = id.clone().filter(|_| valid_id).unwrap_or_default();
        Box::new(failure(id, RpcError::new(INVALID_REQUEST, message)))
    };
    let Value::Object(mut call) = call else { return Err(invalid("a call is an object")) };
    if call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid("not JSON-RPC 2.0"));
    }
    let Some(Value::String(method)) = call.remove("method") else {
        return Err(invalid("a call names its method"));
    };
    if !valid_id {
        return Err(invalid("an id is a string or a number"));
    }
    let params = call.remove("params").unwrap_or_default();
    Ok(Call { id, method, params })
}

pub(super) fn outcome(id: Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => failure(id, error),
    }
}

fn failure(id: Value, error: RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

fn internal() -> RpcError {
    RpcError::new(INTERNAL_ERROR, "internal error")
}

fn too_large() -> RpcError {
    RpcError::new(RESPONSE_TOO_LARGE, "response too large")
}

pub(super) fn encode(answer: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("a JSON value has a text")
}

/// Accepts no more connections than there may be.
struct BoundedListener {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.expect("nobody closes the semaphore");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Answers are short and somebody waits for each.
        let _ = stream.set_nodelay(true);
        (BoundedStream { stream, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that makes room for another when it ends.
struct BoundedStream {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
