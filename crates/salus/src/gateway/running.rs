//! `salus gateway`: opens one institution, serves it, and lets go when told to.

use std::{net::SocketAddr, path::Path, process::ExitCode, sync::Arc, time::Duration};

use alloy_primitives::B256;
use bindings::{Contract, Registry};
use exchange::SignRequest;
use futures_util::FutureExt as _;
use ledger::{Projection, Sender};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use workflows::{Gateway, laboratory_messages::MessageDesk};

use super::{
    exchanging::{Exchange, Parts, Party},
    issuing::Somebody,
    opening::{Opened, now, open},
    patients::number_digest,
    settings::{ExchangeSettings, Settings},
    site::{Site, SiteSettings, origin},
};
use crate::{Error, institution::Secrets, printing::say};

/// Serves until interrupted.
pub(super) async fn run(settings: &Settings) -> Result<ExitCode, Error> {
    // Taken first, so that nothing is opened for nothing.
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        format!(
            "could not listen on {}: {error}; choose another address as `listen`",
            settings.listen
        )
    })?;
    let opened = open(settings).await?;
    // Whatever happens from here on, what was done is stored and the directory let go.
    let outcome = serve(settings, &opened, listener).await;
    opened.close(settings, settings.limits.stop_timeout).await;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve(settings: &Settings, opened: &Opened, listener: TcpListener) -> Result<(), Error> {
    let gateway = &opened.gateway;
    let mut people = people_of(&*gateway.gatekeeper.projection().await, gateway);
    people.extend(settings.smart.people.iter().map(|(name, address)| Somebody {
        name: name.clone(),
        address: *address,
        is_patient: false,
    }));
    let exchange = start_exchange(opened, settings, listener.local_addr()?).await?;
    let messages = match (&opened.scientist, &settings.hl7v2) {
        (Some(scientist), Some(wanted)) => {
            let offset = wanted.offset.clone();
            Some(MessageDesk::open(gateway, scientist, number_digest(), offset).await?)
        }
        _ => None,
    };
    let site = SiteSettings {
        messages,
        base_url: settings.base_url.clone(),
        limits: settings.limits,
        smart: settings.smart.clone(),
        api: settings.api,
        head_age_max: settings.ledger.head_age_max(),
        people,
        exchange: exchange.as_ref().map(|exchange| (exchange.router(), exchange.others())),
    };
    let site = Site::start(gateway, &opened.secrets, site, listener).await?;
    let (stopping, stop) = watch::channel(false);
    let mut beside = start_beside(gateway, settings, stop.clone());
    let interrupted = interruption()?;
    let peers = exchange.as_ref().map(Exchange::addresses).unwrap_or_default();
    if let Some(exchange) = exchange {
        beside.spawn(exchange.finding(site.resources.clone()).run(stop));
    }
    say!("{}, member {}", settings.name, gateway.member());
    say!("  FHIR R4 on {}, listening on {}", site.base_url, site.address());
    if let Some(scientist) = &opened.scientist {
        let origin = site.base_url.trim_end_matches("/fhir");
        say!("  HL7 v2 results on {origin}/hl7v2, reported by {}", scientist.member);
    }
    if let Some(issuer) = &site.issuer {
        say!("  anybody can sign in as anybody at {}", issuer.server().issuer);
    }
    for address in peers {
        say!("  copies are exchanged peer to peer on {address}, UDP");
    }
    say!("  stop with Ctrl-C");
    interrupted.await;
    tracing::info!("stopping");
    site.stop().await;
    stopping.send_replace(true);
    let finishing = async { while beside.join_next().await.is_some() {} };
    if tokio::time::timeout(settings.limits.stop_timeout, finishing).await.is_err() {
        tracing::warn!("what runs beside the server was cut off");
    }
    Ok(())
}

/// What waits until the process is asked to stop. From here on, being asked ends nothing by itself: call
/// it before saying how to stop.
pub(crate) fn interruption() -> Result<impl Future<Output = ()>, Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Opens this institution's part in the exchange of copies, when the configuration asks for it.
async fn start_exchange(
    opened: &Opened,
    settings: &Settings,
    address: SocketAddr,
) -> Result<Option<Exchange>, Error> {
    let Some(exchange) = &settings.exchange else { return Ok(None) };
    let origin = origin(settings.base_url.as_ref(), address);
    let (gateway, secrets, dir) = (&opened.gateway, &opened.secrets, settings.dir());
    open_exchange(gateway, secrets, exchange.clone(), origin, &dir).await.map(Some)
}

/// Opens an institution's part in the exchange. `origin` is where its own server is reached.
pub(super) async fn open_exchange(
    gateway: &Gateway,
    secrets: &Secrets,
    settings: ExchangeSettings,
    origin: String,
    dir: &Path,
) -> Result<Exchange, Error> {
    let parts = Parts {
        gatekeeper: gateway.gatekeeper.clone(),
        secret: gateway.secret.clone(),
        peer_secret: secrets.peer.clone(),
        party: Party::Institution { hpke_key: gateway.secret.public_key().to_bytes().into() },
        sign: sign_with(gateway.sender().clone()),
        settings,
        origin: Some(origin),
    };
    Exchange::open(parts, dir).await
}

/// Signs requests to other holders with the institution's own key.
fn sign_with(sender: Sender) -> Arc<SignRequest> {
    Arc::new(move |digest| {
        let sender = sender.clone();
        async move { Ok(sender.sign_hash(&digest).await?.as_bytes().to_vec()) }.boxed()
    })
}

/// Starts what runs beside the HTTP server until `stop`. This is the place for the exchange with other
/// gateways and for notifications.
fn start_beside(
    gateway: &Gateway,
    settings: &Settings,
    stop: watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut beside = JoinSet::new();
    // Who exchanges copies publishes more than a key, and does so there.
    let publishes = settings.exchange.is_none();
    beside.spawn(keep_house(gateway.clone(), settings.anchor_every, publishes, stop));
    beside
}

/// Publishes the institution's key once it is a member, and anchors the access log at intervals.
async fn keep_house(
    gateway: Gateway,
    every: Duration,
    publishes: bool,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        if publishes && let Err(error) = publish_profile(&gateway).await {
            tracing::warn!(%error, "the institution's key is not published yet");
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            // Fails only when nobody can say stop any more, which means the same.
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // What the chain did not take when it was made.
        if let Err(error) = send_again(&gateway).await {
            tracing::warn!(%error, "records wait for the chain");
        }
        loop {
            match gateway.gatekeeper.anchor_log().await {
                Ok(0) => break,
                Ok(count) => tracing::info!(count, "anchored the access log"),
                Err(error) => {
                    tracing::warn!(%error, "the access log waits");
                    break;
                }
            }
        }
    }
}

/// Sends again what is kept and not on chain.
async fn send_again(gateway: &Gateway) -> Result<(), Error> {
    gateway.gatekeeper.refresh(now(gateway.gatekeeper.ledger())).await?;
    let resumed = gateway.gatekeeper.resume_anchoring().await?;
    for (record, version) in resumed.given_up {
        tracing::warn!(%record, %version, "the chain refuses a version for good; it was erased");
    }
    Ok(())
}

/// Enters the key to which others seal in the registry, unless the institution has a profile there.
async fn publish_profile(gateway: &Gateway) -> Result<(), Error> {
    gateway.gatekeeper.refresh(now(gateway.gatekeeper.ledger())).await?;
    {
        let registry = &gateway.gatekeeper.projection().await.registry;
        let member = registry.institution(&gateway.member());
        let in_force = member.is_some_and(|member| member.in_force);
        if !in_force || registry.profile(&gateway.member()).is_some() {
            return Ok(());
        }
    }
    let call = Registry::setProfileCall {
        hpkeKey: gateway.secret.public_key().to_bytes().into(),
        endpoint: format!("salus://{}", gateway.name),
        peerId: B256::ZERO,
    };
    gateway.sender().send(gateway.at(Contract::Registry), &call).await?;
    Ok(())
}

/// Who can be picked at a development issuer beside those that the configuration names: the institution
/// and its patients.
fn people_of(projection: &Projection, gateway: &Gateway) -> Vec<Somebody> {
    let member = gateway.member();
    let institution = Somebody { name: gateway.name.clone(), address: member, is_patient: false };
    let relationships = projection.consents.relationships();
    let patients = relationships.filter(|((_, steward), _)| *steward == member);
    let mut people: Vec<_> = patients
        .map(|((account, _), _)| Somebody {
            name: format!("patient {account}"),
            address: *account,
            is_patient: true,
        })
        .collect();
    people.sort_by(|one, other| one.name.cmp(&other.name));
    people.insert(0, institution);
    people
}
