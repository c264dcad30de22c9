//! Takes connections: not too many, none that dawdle, and none after it was told to stop.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

use super::settings::Limits;

/// The longest head of a request, in bytes: the longest URL of FHIR, a token, and what browsers add.
const HEAD_BYTES_MAX: usize = 64 * 1_024;

/// How long to wait when no connection can be taken, as when too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on `listener`.
    pub(crate) fn start(listener: TcpListener, router: Router, limits: Limits) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stopping, stop) = watch::channel(false);
        let task = tokio::spawn(serve(listener, router, limits, stop));
        Ok(Self { address, stopping, task })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, lets those that are open finish the answer they are at, and returns
    /// when they did or their time is over.
    pub(crate) async fn stop(self) {
        self.stopping.send_replace(true);
        if self.task.await.is_err() {
            tracing::error!("the HTTP server had stopped by itself");
        }
    }
}

async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let free = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepting = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            (permit.expect("nobody closes the semaphore"), listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepting => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    converse(stream, router, limits, stop).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let finishing = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.stop_timeout, finishing).await.is_err() {
        tracing::warn!(open = connections.len(), "connections were cut off");
    }
}

/// Serves one connection.
async fn converse(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    // Answers are short and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        // Clients hang up, and send what is no HTTP. That is their business.
        tracing::debug!(%error, "a connection ended early");
    }
}
