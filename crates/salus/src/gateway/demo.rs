//! One gateway for each institution of the demonstration, in one process, each on its own port.

use std::{collections::BTreeMap, net::SocketAddr};

use futures_util::future::join_all;
use notify::webhook::LocalTargets;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use workflows::laboratory_messages::MessageDesk;

use super::{
    issuing::{Somebody, Tokens},
    patients::number_digest,
    running::open_exchange,
    settings::{ApiSettings, ExchangeSettings, Limits, SmartSettings},
    site::{Site, SiteSettings, origin},
};
use crate::{Error, consortium::Consortium, printing::say};

/// The gateways of the demonstration.
pub(crate) struct DemoSites {
    sites: Vec<(String, Site)>,
    /// Tells their exchange to stop, which runs in these tasks.
    stopping: watch::Sender<bool>,
    exchanging: JoinSet<()>,
}

impl DemoSites {
    /// Serves every institution on the ports after `port_base`, or on any free ones when that is 0.
    pub(crate) async fn start(consortium: &Consortium, port_base: u16) -> Result<Self, Error> {
        let mut sites = Vec::new();
        let mut tokens = BTreeMap::new();
        let (stopping, stop) = watch::channel(false);
        let mut exchanging = JoinSet::new();
        for (gateway, number) in consortium.institutions().zip(1..) {
            let port = match port_base {
                0 => 0,
                base => base.checked_add(number).ok_or("--fhir-port-base is too high")?,
            };
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let listener = TcpListener::bind(address).await.map_err(|error| {
                format!(
                    "could not listen on {address}: {error}; choose other ports with \
                     --fhir-port-base, or any with 0"
                )
            })?;
            let secrets = consortium.secrets(&gateway.name);
            let settings = ExchangeSettings {
                // Over HTTP alone, whose ports stay, so that profiles are not entered anew at each start.
                listen: None,
                local_targets: LocalTargets::Loopback,
                // What was imported was held against the chain just now.
                scans_first: false,
                ..ExchangeSettings::default()
            };
            let origin = origin(None, listener.local_addr()?);
            let dir = consortium.keys.dir_of(&gateway.name)?;
            let exchange = open_exchange(gateway, secrets, settings, origin, &dir).await?;
            let settings = SiteSettings {
                base_url: None,
                limits: Limits::default(),
                smart: SmartSettings { development_issuer: true, ..SmartSettings::default() },
                head_age_max: None,
                api: ApiSettings {
                    local_targets: LocalTargets::Loopback,
                    ..ApiSettings::default()
                },
                people: people(consortium),
                exchange: Some((exchange.router(), exchange.others())),
                messages: match &*gateway.name {
                    "laboratory" => {
                        let scientist = consortium.person("scientist");
                        Some(MessageDesk::open(gateway, scientist, number_digest(), None).await?)
                    }
                    _ => None,
                },
            };
            let site = Site::start(gateway, secrets, settings, listener).await?;
            exchanging.spawn(exchange.finding(site.resources.clone()).run(stop.clone()));
            if let Some(issuer) = site.issuer.clone() {
                let audience = site.base_url.clone();
                tokens.insert(gateway.name.clone(), Tokens { issuer, audience });
            }
            sites.push((gateway.name.clone(), site));
        }
        // Sites are started once in a process, so nothing is there yet.
        drop(consortium.tokens.set(tokens));
        Ok(Self { sites, stopping, exchanging })
    }

    /// Says where each is.
    pub(crate) fn print(&self) {
        for (name, site) in &self.sites {
            say!("  FHIR R4 of the {name} on {}", site.base_url);
        }
        say!("  copies move between them, to whoever the patient permits");
        say!("  a token for it: salus token physician, salus token P001, salus token --help;");
        say!("  anybody gets one as anybody, so this is for demonstrations only");
    }

    /// Finishes the requests in work.
    pub(crate) async fn stop(mut self) {
        self.stopping.send_replace(true);
        join_all(self.sites.into_iter().map(|(_, site)| site.stop())).await;
        while self.exchanging.join_next().await.is_some() {}
    }
}

/// Everybody in the demonstration, by the names that commands know them by.
fn people(consortium: &Consortium) -> Vec<Somebody> {
    let member = |name: &str, address| Somebody { name: name.into(), address, is_patient: false };
    let people = consortium.people().map(|(_, person)| member(&person.name, person.member));
    let institutions =
        consortium.institutions().map(|gateway| member(&gateway.name, gateway.member()));
    let patients = consortium.patients.all().into_iter().map(|patient| Somebody {
        name: patient.name.clone(),
        address: patient.account(),
        is_patient: true,
    });
    people.chain(institutions).chain(patients).collect()
}

/// A token for somebody of the demonstration at one of its gateways.
pub(crate) async fn token(consortium: &Consortium, who: &str, at: &str) -> Result<String, Error> {
    let tokens = consortium.tokens.get();
    let tokens = tokens.ok_or("no gateway is served here; start `salus up` first")?;
    let tokens = tokens
        .get(at)
        .ok_or_else(|| format!("there is no institution {at}; `salus who` lists them"))?;
    // Patients are written in capital letters, and asked for in any.
    let subject = match consortium.patients.find(who) {
        Some(patient) => patient.name.clone(),
        None => who.to_owned(),
    };
    let known = people(consortium).iter().any(|somebody| somebody.name == subject);
    if !known {
        return Err(format!("there is nobody called {who}; `salus who` lists them").into());
    }
    let entropy = consortium.institution("hospital").gatekeeper.entropy();
    tokens.token_for(&subject, entropy).await
}
