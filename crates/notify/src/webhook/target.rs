//! Where webhooks may go, and requests to other holders of copies.
//!
//! A URL comes from whoever subscribes or from a member's profile, and the gateway stands inside an
//! institution's network: without limits it would knock at that network's doors for strangers. So
//! addresses are checked after the name was resolved, right when the connection is made, and redirects
//! are not followed.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect, retry,
};
use url::{Host, Url};

/// The longest URL.
const URL_LEN_MAX: usize = 2_048;

/// Why nothing is sent to a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is no URL with a host, or too long.
    #[error("this is no URL with a host")]
    Malformed,
    /// It is neither `https` nor, where local targets are allowed, `http`.
    #[error("a webhook needs `https`")]
    NotHttps,
    /// It has a name or password in it, which would stand in tables and lists.
    #[error("a webhook's URL has no name or password in it")]
    HasCredentials,
    /// Its address is of a network that webhooks do not reach.
    #[error("webhooks do not go to addresses of this network")]
    Forbidden,
}

/// Which receivers near by a gateway sends to. Everywhere else only `https` is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalTargets {
    /// None.
    #[default]
    Refused,
    /// Those on this machine.
    Loopback,
    /// Those on this machine and in private networks.
    Private,
}

/// The name is no such set of receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("local targets are `refused`, `loopback` or `private`")]
pub struct UnknownLocalTargets;

impl FromStr for LocalTargets {
    type Err = UnknownLocalTargets;

    fn from_str(name: &str) -> Result<Self, UnknownLocalTargets> {
        match name {
            "refused" => Ok(Self::Refused),
            "loopback" => Ok(Self::Loopback),
            "private" => Ok(Self::Private),
            _ => Err(UnknownLocalTargets),
        }
    }
}

impl LocalTargets {
    /// Checks a URL as far as that is possible without resolving its name. A client for it resolves names
    /// by [`LocalTargets::resolver`].
    ///
    /// # Errors
    ///
    /// [`TargetError`] when nothing is sent there.
    pub fn check(self, url: &Url) -> Result<(), TargetError> {
        let over_tls = match url.scheme() {
            "https" => true,
            "http" if self != Self::Refused => false,
            _ => return Err(TargetError::NotHttps),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::HasCredentials);
        }
        // Names are resolved by the client; addresses are not, so they are checked here.
        let guard = Guard { public: over_tls, local: self };
        match url.host().ok_or(TargetError::Malformed)? {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => guard.check(address.into()),
            Host::Ipv6(address) => guard.check(address.into()),
        }
    }

    /// Whether something may be sent to an address over a protocol that is as good as TLS.
    #[must_use]
    pub fn permits(self, address: IpAddr) -> bool {
        Guard { public: true, local: self }.check(address).is_ok()
    }

    /// Resolves names for a client, and only to where it may connect: without TLS, to nothing but what is
    /// near by.
    #[must_use]
    pub fn resolver(self, over_tls: bool) -> Arc<dyn Resolve> {
        Arc::new(Guard { public: over_tls, local: self })
    }
}

/// How far away an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Anywhere in the internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network.
    Private,
    /// Neighbours on the link, which cloud providers put their secrets behind, and what is nobody's.
    Never,
}

/// Clients that connect only where webhooks may go.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    local: LocalTargets,
    https: Client,
    /// For local targets without TLS, where they are allowed.
    http: Client,
}

impl Targets {
    pub(crate) fn new(
        local: LocalTargets,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        // Whoever set a provider for TLS before keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |over_tls| {
            ClientBuilder::new()
                .user_agent("salus-notify")
                .no_proxy()
                .redirect(redirect::Policy::none())
                // Each attempt is counted here, so none is made behind our back.
                .retry(retry::never())
                .referer(false)
                .connect_timeout(connect_timeout)
                .timeout(timeout)
                .pool_max_idle_per_host(1)
                .dns_resolver(local.resolver(over_tls))
        };
        Ok(Self {
            local,
            https: client(true).https_only(true).build()?,
            http: client(false).build()?,
        })
    }

    /// Checks a URL as far as that is possible without resolving its name.
    pub(crate) fn parse(&self, text: &str) -> Result<Url, TargetError> {
        if text.len() > URL_LEN_MAX {
            return Err(TargetError::Malformed);
        }
        let url: Url = text.parse().map_err(|_| TargetError::Malformed)?;
        self.local.check(&url)?;
        Ok(url)
    }

    /// The client for a URL that was parsed here.
    pub(crate) fn client(&self, url: &Url) -> &Client {
        if url.scheme() == "https" { &self.https } else { &self.http }
    }
}

/// Resolves names, and lets only such addresses through.
#[derive(Clone, Copy, Debug)]
struct Guard {
    public: bool,
    local: LocalTargets,
}

impl Guard {
    fn check(self, address: IpAddr) -> Result<(), TargetError> {
        let allowed = match reach(address) {
            Reach::Public => self.public,
            Reach::Loopback => self.local != LocalTargets::Refused,
            Reach::Private => self.local == LocalTargets::Private,
            Reach::Never => false,
        };
        if allowed { Ok(()) } else { Err(TargetError::Forbidden) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One bad address spoils the name: nobody needs such a mixture honestly.
            for address in &found {
                guard.check(address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether a request failed because its target is not allowed.
pub(crate) fn is_forbidden(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<TargetError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => reach_v4(address),
            None => reach_v6(address),
        },
    }
}

/// # Source
///
/// IANA IPv4 Special-Purpose Address Registry.
fn reach_v4(address: Ipv4Addr) -> Reach {
    if address.is_loopback() {
        return Reach::Loopback;
    }
    if address.is_private() {
        return Reach::Private;
    }
    let [first, second, third, _] = address.octets();
    let is_special = match (first, second) {
        (0, _) | (169, 254) | (198, 18 | 19) => true,
        (100, second) => (64..128).contains(&second),
        (192, 0) => third == 0 || third == 2,
        (192, 88) => third == 99,
        (198, 51) => third == 100,
        (203, 0) => third == 113,
        (first, _) => first >= 224,
    };
    if is_special { Reach::Never } else { Reach::Public }
}

/// # Source
///
/// IANA IPv6 Special-Purpose Address Registry; global unicast is 2000::/3 (RFC 4291).
fn reach_v6(address: Ipv6Addr) -> Reach {
    if address.is_loopback() {
        return Reach::Loopback;
    }
    if address.is_unique_local() {
        return Reach::Private;
    }
    let [first, second, ..] = address.segments();
    let is_special = match (first, second) {
        // Protocol assignments and Teredo, documentation, 6to4, documentation.
        (0x2001, second) => second < 0x200 || second == 0xdb8,
        (0x2002, _) => true,
        (0x3fff, second) => second < 0x1000,
        (first, _) => !(0x2000..0x4000).contains(&first),
    };
    if is_special { Reach::Never } else { Reach::Public }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: Reach) {
        assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn the_internet_is_public() {
        for address in ["1.1.1.1", "192.0.1.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            check(address, Reach::Public);
        }
    }

    #[test]
    fn this_machine_is_not_a_private_network() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            check(address, Reach::Loopback);
        }
        for address in ["10.1.2.3", "172.31.0.1", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1"] {
            check(address, Reach::Private);
        }
    }

    #[test]
    fn what_is_near_by_is_reached_only_where_that_is_set() {
        let allows = |local, url: &str| {
            let seconds = Duration::from_secs(1);
            Targets::new(local, seconds, seconds).unwrap().parse(url).is_ok()
        };
        use LocalTargets::{Loopback, Private, Refused};
        let permits = |local: LocalTargets, address: &str| local.permits(address.parse().unwrap());
        for (address, expected) in [
            ("8.8.8.8", [true, true, true]),
            ("::1", [false, true, true]),
            ("192.168.0.1", [false, false, true]),
            ("169.254.169.254", [false, false, false]),
        ] {
            assert_eq!([Refused, Loopback, Private].map(|local| permits(local, address)), expected);
        }
        for (url, expected) in [
            ("https://8.8.8.8/", [true, true, true]),
            ("http://8.8.8.8/", [false, false, false]),
            ("https://127.0.0.1/", [false, true, true]),
            ("http://127.0.0.1/", [false, true, true]),
            ("http://10.0.0.1/", [false, false, true]),
            ("https://169.254.169.254/", [false, false, false]),
        ] {
            assert_eq!([Refused, Loopback, Private].map(|local| allows(local, url)), expected);
        }
    }

    #[test]
    fn nothing_else_is_reached() {
        for address in [
            "0.0.0.0",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "fec0::1",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
        ] {
            check(address, Reach::Never);
        }
    }
}
