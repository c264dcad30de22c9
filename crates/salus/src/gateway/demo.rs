//! One gateway for each institution of the demonstration, in one process, each on its own port.

use std::{collections::BTreeMap, net::SocketAddr};

use futures_util::future::join_all;
use notify::webhook::LocalTargets;
use tokio::net::TcpListener;

use super::{
    issuing::{Somebody, Tokens},
    settings::{ApiSettings, Limits, SmartSettings},
    site::{Site, SiteSettings},
};
use crate::{Error, consortium::Consortium};

/// The gateways of the demonstration.
pub(crate) struct DemoSites(Vec<(String, Site)>);

impl DemoSites {
    /// Serves every institution on the ports after `port_base`, or on any free ones when that is 0.
    pub(crate) async fn start(consortium: &Consortium, port_base: u16) -> Result<Self, Error> {
        let mut sites = Vec::new();
        let mut tokens = BTreeMap::new();
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
                exchange: None,
            };
            let secrets = consortium.secrets(&gateway.name);
            let site = Site::start(gateway, secrets, settings, listener).await?;
            if let Some(issuer) = site.issuer.clone() {
                let audience = site.base_url.clone();
                tokens.insert(gateway.name.clone(), Tokens { issuer, audience });
            }
            sites.push((gateway.name.clone(), site));
        }
        // Sites are started once in a process, so nothing is there yet.
        drop(consortium.tokens.set(tokens));
        Ok(Self(sites))
    }

    /// Says where each is.
    pub(crate) fn print(&self) {
        for (name, site) in &self.0 {
            println!("  FHIR R4 of the {name} on {}", site.base_url);
        }
        println!("  a token for it: salus token physician, salus token P001, salus token --help;");
        println!("  anybody gets one as anybody, so this is for demonstrations only");
    }

    /// Finishes the requests in work.
    pub(crate) async fn stop(self) {
        join_all(self.0.into_iter().map(|(_, site)| site.stop())).await;
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
