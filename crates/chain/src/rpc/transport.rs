//! An alloy transport to a chain in the same process, without a socket.

use std::task::{Context, Poll};

use alloy_json_rpc::{
    ErrorPayload, Id, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use serde_json::value::{RawValue, to_raw_value};

use super::{Rpc, RpcError};

/// Carries an alloy provider's requests to a chain in this process.
///
/// ```no_run
/// # fn example(chain: chain::Chain) {
/// // With the crates `alloy-provider` and `alloy-rpc-client`:
/// // let client = RpcClient::new(InProcess::new(rpc), true);
/// // let provider = RootProvider::<Ethereum>::new(client);
/// let transport = chain::InProcess::new(chain::Rpc::new(chain));
/// # }
/// ```
#[derive(Clone)]
pub struct InProcess(Rpc);

impl InProcess {
    /// Carries requests to `rpc`.
    #[must_use]
    pub const fn new(rpc: Rpc) -> Self {
        Self(rpc)
    }

    fn answer(&self, request: &SerializedRequest) -> Response {
        let id = request.id().clone();
        let params = request.params().map_or("null", RawValue::get);
        let result = serde_json::from_str(params)
            .map_err(|error| RpcError::invalid_params(error.to_string()))
            .and_then(|params| self.0.handle(request.method(), params));
        respond(id, result)
    }
}

fn respond(id: Id, result: Result<serde_json::Value, RpcError>) -> Response {
    let payload = match result {
        Ok(value) => to_raw_value(&value).map(ResponsePayload::Success),
        Err(error) => error.data.map(|data| to_raw_value(&data)).transpose().map(|data| {
            let (code, message) = (error.code, error.message.into());
            ResponsePayload::Failure(ErrorPayload { code, message, data })
        }),
    };
    let payload = payload.expect("a JSON value has a text");
    Response { id, payload }
}

impl tower::Service<RequestPacket> for InProcess {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> TransportFut<'static> {
        let transport = self.clone();
        Box::pin(async move {
            // Calls run the EVM or read the disk, so they leave the executor's threads alone.
            let answered = tokio::task::spawn_blocking(move || match packet {
                RequestPacket::Single(request) => {
                    ResponsePacket::Single(transport.answer(&request))
                }
                RequestPacket::Batch(requests) => {
                    let answers = requests.iter().map(|request| transport.answer(request));
                    ResponsePacket::Batch(answers.collect())
                }
            });
            answered.await.map_err(TransportErrorKind::custom)
        })
    }
}
