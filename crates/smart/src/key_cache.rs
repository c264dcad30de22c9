//! The keys of one issuer, kept and fetched anew.
//!
//! Keys are fetched when a token names one that is not known, and when those known have become old, so
//! that a key which its issuer withdrew does not live on. Both happen at most once an interval, whatever
//! tokens come in, and by one fetch at a time. A fetch that fails changes nothing: the old keys serve on.

use std::{fs::File, io::Read as _, path::PathBuf, sync::Arc, time::Duration};

use domain::Timestamp;
use parking_lot::Mutex;
use reqwest::{Client, redirect};
use url::{Host, Url};

use crate::{Keys, KeysError, Refusal, Settings, SetupError, keys::Key};

/// The longest key set that is read, in bytes.
const KEY_SET_BYTES_MAX: usize = 256 * 1_024;

/// Where the keys of an issuer come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// From its `jwks_uri`. Plain `http` is for this machine only, unless the settings say otherwise:
    /// whoever can change the answer on its way can sign in as anybody.
    Url(Url),
    /// From a file, which may be replaced while the program runs.
    File(PathBuf),
    /// These, and never others.
    Fixed(Keys),
}

/// How keys are fetched.
enum Fetch {
    Http { client: Client, url: Url },
    File(PathBuf),
    Never,
}

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the keys' address did not answer")]
    Http(#[from] reqwest::Error),
    #[error("the keys' address answered with status {0}")]
    Status(u16),
    #[error("the keys' file could not be read")]
    File(#[from] std::io::Error),
    #[error("the key set is longer than {KEY_SET_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("fetching the keys was given up")]
    GivenUp,
}

/// What is known, and since when.
#[derive(Default)]
struct Known {
    keys: Option<Arc<Keys>>,
    /// When the keys were last fetched with success.
    fetched: Option<Timestamp>,
    /// When that was last tried.
    tried: Option<Timestamp>,
    /// Whether the last try failed.
    failed: bool,
}

/// The keys of one issuer.
pub(crate) struct KeyCache {
    issuer: String,
    fetch: Fetch,
    interval: Duration,
    age_max: Duration,
    known: Mutex<Known>,
    /// The turn to fetch.
    fetching: tokio::sync::Mutex<()>,
}

impl KeyCache {
    pub(crate) fn new(
        issuer: &str,
        source: KeySource,
        settings: &Settings,
    ) -> Result<Arc<Self>, SetupError> {
        let mut known = Known::default();
        let fetch = match source {
            KeySource::Url(url) => {
                let client = client(&url, settings)?;
                Fetch::Http { client, url }
            }
            KeySource::File(path) => Fetch::File(path),
            KeySource::Fixed(keys) => {
                known.keys = Some(Arc::new(keys));
                Fetch::Never
            }
        };
        Ok(Arc::new(Self {
            issuer: issuer.to_owned(),
            fetch,
            interval: settings.refresh_interval,
            age_max: settings.keys_age_max,
            known: Mutex::new(known),
            fetching: tokio::sync::Mutex::default(),
        }))
    }

    /// The key of that name, after fetching keys if that is due.
    pub(crate) async fn find(self: &Arc<Self>, id: &str, now: Timestamp) -> Result<Key, Refusal> {
        if let Some(key) = self.known_key(id) {
            // Whoever comes while somebody else fetches goes on with what there is.
            if self.is_old(now) && self.fetching.try_lock().is_ok() {
                self.refresh(now).await;
                return self.known_key(id).ok_or(Refusal::UnknownKey);
            }
            return Ok(key);
        }
        self.refresh(now).await;
        // After a fetch that failed nobody can say that there is no such key.
        let missing = if self.failed() { Refusal::KeysUnavailable } else { Refusal::UnknownKey };
        self.known_key(id).ok_or(missing)
    }

    /// Whether there are any keys, after fetching them if that is due.
    pub(crate) async fn is_ready(self: &Arc<Self>, now: Timestamp) -> bool {
        if self.known.lock().keys.is_none() {
            self.refresh(now).await;
        }
        self.known.lock().keys.is_some()
    }

    fn failed(&self) -> bool {
        self.known.lock().failed
    }

    fn known_key(&self, id: &str) -> Option<Key> {
        let keys = self.known.lock().keys.clone()?;
        keys.find(id).cloned()
    }

    fn is_old(&self, now: Timestamp) -> bool {
        let fetched = self.known.lock().fetched;
        self.is_due(now) && fetched.is_none_or(|fetched| now.since(fetched) >= self.age_max)
    }

    /// Whether the keys may be fetched again.
    fn is_due(&self, now: Timestamp) -> bool {
        let tried = self.known.lock().tried;
        !matches!(self.fetch, Fetch::Never)
            && tried.is_none_or(|tried| now.since(tried) >= self.interval)
    }

    /// Fetches the keys if that is due, or waits for whoever is fetching them.
    async fn refresh(self: &Arc<Self>, now: Timestamp) {
        if !self.is_due(now) && self.fetching.try_lock().is_ok() {
            return;
        }
        let cache = Arc::clone(self);
        // In a task of its own, since a caller that goes away must not take the fetch along: it counts
        // against the interval, and everybody else would wait for the next one.
        let task = tokio::spawn(async move {
            let _turn = cache.fetching.lock().await;
            if !cache.is_due(now) {
                return;
            }
            cache.known.lock().tried = Some(now);
            let fetched = cache.fetch_keys().await;
            let mut known = cache.known.lock();
            known.failed = fetched.is_err();
            match fetched {
                Ok(keys) => {
                    known.keys = Some(Arc::new(keys));
                    known.fetched = Some(now);
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        issuer = cache.issuer,
                        error,
                        "an issuer's keys stay as they are"
                    );
                }
            }
        });
        // It cannot panic, and is not aborted unless the whole program is.
        let _ = task.await;
    }

    async fn fetch_keys(&self) -> Result<Keys, FetchError> {
        let text = match &self.fetch {
            Fetch::Http { client, url } => get(client, url).await?,
            Fetch::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path));
                read.await.map_err(|_| FetchError::GivenUp)??
            }
            Fetch::Never => return Err(FetchError::GivenUp),
        };
        Ok(Keys::parse(&text)?)
    }
}

/// A client for one address: no redirects, since they would lead away from what was configured.
fn client(url: &Url, settings: &Settings) -> Result<Client, SetupError> {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    // Whoever set a provider for TLS before keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(settings.fetch_timeout)
        .connect_timeout(settings.fetch_timeout);
    let builder = match url.scheme() {
        "https" => builder.https_only(true),
        // Without roots it starts on machines that have none, and would reach nothing by TLS.
        "http" if local || settings.allow_plain_http => builder.tls_certs_only([]),
        _ => return Err(SetupError::KeysAddress),
    };
    builder.build().map_err(SetupError::Client)
}

async fn get(client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let request =
        client.get(url.clone()).header("accept", "application/jwk-set+json, application/json");
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        if text.len() + chunk.len() > KEY_SET_BYTES_MAX {
            return Err(FetchError::TooLong);
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

fn read_file(path: &std::path::Path) -> Result<Vec<u8>, FetchError> {
    let mut text = Vec::new();
    // One byte past the longest, so that a longer one shows.
    File::open(path)?.take(KEY_SET_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    if text.len() > KEY_SET_BYTES_MAX { Err(FetchError::TooLong) } else { Ok(text) }
}
