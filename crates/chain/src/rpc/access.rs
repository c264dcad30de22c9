//! Whom the server answers: which names it goes by, and which web pages may ask.
//!
//! A browser lets any page on the internet send requests to this machine. Nothing is signed here, but
//! a consortium's ledger is not everybody's to read. So a page is answered only when its origin is
//! known, and a request only under a name that is known: otherwise a page could have its own name
//! lead here (DNS rebinding) and read as if it came from this machine.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};

/// Names and origins that the server answers, beside this machine's own.
#[derive(Clone, Debug)]
pub struct ServerAccess {
    /// Host names under which it may be called. `localhost`, and addresses given as numbers, always
    /// may: no foreign page can take those on.
    pub hosts: Vec<String>,
    /// Origins of web pages, such as `https://remix.ethereum.org`. Pages of this machine, pages of
    /// the host that is called, and extensions such as wallets always may.
    pub origins: Vec<String>,
}

impl Default for ServerAccess {
    fn default() -> Self {
        Self { hosts: Vec::new(), origins: vec!["https://remix.ethereum.org".into()] }
    }
}

/// Where wallets live inside browsers.
const EXTENSIONS: [&str; 3] = ["chrome-extension", "moz-extension", "safari-web-extension"];

impl ServerAccess {
    /// Whether the request comes under a name that is known.
    ///
    /// # Source
    ///
    /// go-ethereum's rule for `--http.vhosts`: numbers always, names only when listed.
    pub(super) fn takes_host(&self, headers: &HeaderMap) -> bool {
        headers.get_all(header::HOST).iter().all(|host| {
            let Some(name) = host.to_str().ok().map(without_port) else { return false };
            let listed = self.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(name));
            listed || is_localhost(name) || address(name).is_some()
        })
    }

    /// The page that asks, if one does.
    ///
    /// # Errors
    ///
    /// Nothing, when it may not.
    pub(super) fn page(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, ()> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        let text = origin.to_str().map_err(drop)?;
        let (scheme, host) = text.split_once("://").ok_or(())?;
        let host = without_port(host);
        let called = headers.get(header::HOST).and_then(|called| called.to_str().ok());
        let known = self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(text))
            || EXTENSIONS.contains(&scheme)
            || is_localhost(host)
            || address(host).is_some_and(|address| address.is_loopback())
            || called.is_some_and(|called| without_port(called).eq_ignore_ascii_case(host));
        if known { Ok(Some(origin.clone())) } else { Err(()) }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn address(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn numbers_and_this_machine_are_known_names() {
        let access = ServerAccess { hosts: vec!["ledger.example".into()], ..Default::default() };
        for host in ["localhost:8545", "LOCALHOST", "127.0.0.1:1", "[::1]:8545", "10.1.2.3:8545"] {
            assert!(access.takes_host(&headers(host, None)), "{host}");
        }
        assert!(access.takes_host(&headers("Ledger.example:80", None)));
        assert!(access.takes_host(&HeaderMap::new()));
        for host in ["evil.example", "localhost.evil.example:8545", "127.0.0.1.evil.example"] {
            assert!(!access.takes_host(&headers(host, None)), "{host}");
        }
    }

    #[test]
    fn pages_of_others_are_refused() {
        let access = ServerAccess::default();
        let page = |origin| access.page(&headers("10.1.2.3:8545", Some(origin)));
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1:5173",
            "http://[::1]:80",
            "https://remix.ethereum.org",
            "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn",
            "http://10.1.2.3:8080",
        ] {
            assert_eq!(page(origin).unwrap().unwrap(), origin);
        }
        for origin in
            ["null", "https://evil.example", "http://localhost.evil.example", "http://10.1.2.4"]
        {
            assert!(page(origin).is_err(), "{origin}");
        }
        assert!(access.page(&headers("localhost", None)).unwrap().is_none());
    }
}
