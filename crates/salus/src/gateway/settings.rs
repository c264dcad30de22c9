//! What one gateway is told: the keys of its configuration, their defaults and their limits.

use std::{
    collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration,
};

use alloy_primitives::Address;
use domain::InstitutionRole;
use figment::value::magic::RelativePathBuf;
use hl7v2::Offset;
use ledger::{Fees, Finality, Policy};
use notify::webhook::LocalTargets;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Unexpected, Visitor},
};
use url::Url;

/// One gateway's configuration. Paths in a file are relative to that file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The institution's name on this machine: its directory is `data/name`.
    #[serde(deserialize_with = "name")]
    pub(crate) name: String,
    /// The directory of keys and databases.
    #[serde(default = "default_data")]
    data: RelativePathBuf,
    /// What it is or wants to be accredited as. The registry knows better once it is a member.
    #[serde(default, deserialize_with = "role")]
    pub(crate) role: Option<InstitutionRole>,
    /// Where HTTP listens.
    #[serde(default = "default_listen", deserialize_with = "socket_address")]
    pub(crate) listen: SocketAddr,
    /// The URL at which clients reach `/fhir`.
    #[serde(default, deserialize_with = "web_address")]
    pub(crate) base_url: Option<Url>,
    /// `sqlite://PATH`, a path, or `postgres://HOST/NAME`.
    pub(crate) database: Option<DatabaseUrl>,
    /// What a relative path in `database` is relative to.
    #[serde(skip)]
    pub(super) database_home: PathBuf,
    /// The file that holds the passphrase, unless SALUS_PASSPHRASE is set.
    passphrase_file: Option<RelativePathBuf>,
    /// From which level on is logged, as `tracing` filters are written.
    #[serde(default = "default_log")]
    pub(crate) log: String,
    /// How often the access log is anchored on chain.
    #[serde(
        default = "default_anchor_every",
        rename = "anchor_every_s",
        deserialize_with = "seconds"
    )]
    pub(crate) anchor_every: Duration,
    /// The chain.
    #[serde(default)]
    pub(crate) ledger: LedgerSettings,
    /// What clients may ask for at once.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// Whose tokens are believed.
    #[serde(default)]
    pub(crate) smart: SmartSettings,
    /// Notifications, and the interface beside FHIR.
    #[serde(default)]
    pub(crate) api: ApiSettings,
    /// How copies move between this gateway and others; without it, they do not.
    pub(crate) exchange: Option<ExchangeSettings>,
    /// How a laboratory's own system sends results; without it, it does not.
    pub(crate) hl7v2: Option<MessageSettings>,
}

impl Settings {
    /// The directory of keys and databases.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.relative()
    }

    /// The institution's own directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.data().join(&self.name)
    }

    /// Where the passphrase is.
    pub(crate) fn passphrase_file(&self) -> PathBuf {
        let file = self.passphrase_file.as_ref().map(RelativePathBuf::relative);
        file.unwrap_or_else(|| self.data().join("passphrase"))
    }

    /// Where the database is.
    pub(crate) fn database(&self) -> DatabasePlace {
        match &self.database {
            None => DatabasePlace::File(self.dir().join("vault.db")),
            Some(url) if url.is_postgres() => DatabasePlace::Postgres(url.0.clone()),
            Some(url) => {
                let path = url.0.strip_prefix("sqlite://").unwrap_or(&url.0);
                DatabasePlace::File(self.database_home.join(path))
            }
        }
    }
}

/// The configuration of a patient's own node. Paths in a file are relative to that file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeSettings {
    /// What the node is called on this machine: its directory is `data/name`.
    #[serde(deserialize_with = "name")]
    pub(crate) name: String,
    /// The directory of keys and databases.
    #[serde(default = "default_data")]
    data: RelativePathBuf,
    /// The patient's account, once there is one.
    #[serde(default, deserialize_with = "address")]
    pub(crate) account: Option<Address>,
    /// Whether the account is acted for with a passkey that is somewhere else. The node signs nothing
    /// then; `salus patient-node register` has it noted.
    #[serde(default)]
    pub(crate) passkey: bool,
    /// The file that holds the passphrase, unless SALUS_PASSPHRASE is set.
    passphrase_file: Option<RelativePathBuf>,
    /// From which level on is logged, as `tracing` filters are written.
    #[serde(default = "default_log")]
    pub(crate) log: String,
    /// The chain.
    #[serde(default)]
    pub(crate) ledger: LedgerSettings,
    /// How copies arrive.
    #[serde(default)]
    pub(crate) exchange: ExchangeSettings,
}

impl NodeSettings {
    /// The directory of keys and databases.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.relative()
    }

    /// The node's own directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.data().join(&self.name)
    }

    /// Where the passphrase is.
    pub(crate) fn passphrase_file(&self) -> PathBuf {
        let file = self.passphrase_file.as_ref().map(RelativePathBuf::relative);
        file.unwrap_or_else(|| self.data().join("passphrase"))
    }
}

/// Where a gateway's database is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum DatabasePlace {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL server, by URL.
    Postgres(String),
}

/// A database's address. It may hold a password, so it is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    fn is_postgres(&self) -> bool {
        self.0.starts_with("postgres://") || self.0.starts_with("postgresql://")
    }

    /// Whether it is none of those that are known.
    pub(super) fn is_unknown(&self) -> bool {
        self.0.contains("://") && !self.is_postgres() && !self.0.starts_with("sqlite://")
    }

    /// Whether a password stands in it.
    pub(super) fn has_password(&self) -> bool {
        self.is_postgres()
            && Url::parse(&self.0).is_ok_and(|url| {
                url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
            })
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

/// The chain, and what no RPC tells about it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LedgerSettings {
    /// Its JSON-RPC endpoint. Without one, the chain in `data/chain` runs in this process.
    #[serde(deserialize_with = "web_address")]
    pub(crate) rpc: Option<Url>,
    /// The registry, whose directory names the other contracts.
    #[serde(deserialize_with = "address")]
    pub(crate) registry: Option<Address>,
    /// A file with the contracts' addresses.
    deployment: Option<RelativePathBuf>,
    /// When a block counts as final.
    finality: FinalityName,
    /// The priority fee, in wei per gas (EIP-1559).
    tip_wei: Option<u64>,
    /// A fixed price in wei per gas, for networks without EIP-1559; 0 where there are no fees.
    pub(super) gas_price_wei: Option<u64>,
    /// The most blocks that one search for logs may cover.
    log_range: Option<std::num::NonZeroU64>,
    /// How old the newest block may be before this gateway is not ready any more; 0 for any age.
    head_age_max_s: Option<u64>,
}

/// How old an endpoint's newest block may be, in seconds, unless the configuration says otherwise: every
/// network with a fixed interval between blocks is far below.
const HEAD_AGE_MAX_S: u64 = 600;

impl LedgerSettings {
    /// The file with the contracts' addresses.
    pub(crate) fn deployment(&self) -> Option<PathBuf> {
        self.deployment.as_ref().map(RelativePathBuf::relative)
    }

    /// Whether two ways to price gas are named.
    pub(super) const fn has_two_prices(&self) -> bool {
        self.tip_wei.is_some() && self.gas_price_wei.is_some()
    }

    /// The endpoint's settings.
    pub(crate) fn policy(&self) -> Policy {
        let standard = Policy::default();
        let fees = match (self.gas_price_wei, self.tip_wei) {
            (Some(gas_price), _) => Fees::Legacy { gas_price: gas_price.into() },
            (None, Some(tip)) => Fees::BaseFee { tip: tip.into() },
            (None, None) => standard.fees,
        };
        let log_range = self.log_range.map_or(standard.log_range, std::num::NonZeroU64::get);
        Policy { finality: self.finality.0, fees, log_range }
    }

    /// How old the newest block may be. The chain in this process makes blocks when there is something
    /// to put into them, so its age says nothing.
    pub(crate) fn head_age_max(&self) -> Option<Duration> {
        let standard = if self.rpc.is_some() { HEAD_AGE_MAX_S } else { 0 };
        let seconds = self.head_age_max_s.unwrap_or(standard);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

#[derive(Clone, Debug)]
struct FinalityName(Finality);

impl Default for FinalityName {
    fn default() -> Self {
        Self(Finality::Latest)
    }
}

impl<'de> Deserialize<'de> for FinalityName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FinalityVisitor;
        impl Visitor<'_> for FinalityVisitor {
            type Value = Finality;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"latest\", \"finalized\", or a number of blocks")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Finality, E> {
                match text {
                    "latest" => Ok(Finality::Latest),
                    "finalized" => Ok(Finality::FinalizedTag),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, blocks: u64) -> Result<Finality, E> {
                Ok(Finality::Confirmations(blocks))
            }

            fn visit_i64<E: serde::de::Error>(self, blocks: i64) -> Result<Finality, E> {
                let found = Unexpected::Signed(blocks);
                blocks
                    .try_into()
                    .map(Finality::Confirmations)
                    .map_err(|_| E::invalid_value(found, &self))
            }
        }
        deserializer.deserialize_any(FinalityVisitor).map(Self)
    }
}

/// What clients may ask for at once. All have to be above zero.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Open connections; others wait to be accepted.
    #[serde(deserialize_with = "count")]
    pub(crate) connections: usize,
    /// Requests in work; others are told to come back.
    #[serde(deserialize_with = "count")]
    pub(crate) requests: usize,
    /// How long a request's head may take to come in, and how long a connection may be idle.
    #[serde(rename = "header_timeout_s", deserialize_with = "seconds")]
    pub(crate) header_timeout: Duration,
    /// How long a client waits for an answer.
    #[serde(rename = "request_timeout_s", deserialize_with = "seconds")]
    pub(crate) request_timeout: Duration,
    /// The longest body, in bytes.
    #[serde(deserialize_with = "count")]
    pub(crate) body_bytes: usize,
    /// How long stopping waits for requests in work, and for the access log.
    #[serde(rename = "stop_timeout_s", deserialize_with = "seconds")]
    pub(crate) stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            requests: 256,
            header_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(60),
            body_bytes: fhir::BODY_BYTES_MAX,
            stop_timeout: Duration::from_secs(20),
        }
    }
}

/// Notifications, and the interface beside FHIR.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ApiSettings {
    /// Which receivers of webhooks near by are sent to.
    #[serde(deserialize_with = "local_targets")]
    pub(crate) local_targets: LocalTargets,
    /// How long to wait before a webhook that failed is tried again; each further failure doubles it.
    #[serde(rename = "webhook_retry_s", deserialize_with = "seconds")]
    pub(crate) webhook_retry: Duration,
    /// How many streams of events may be open.
    #[serde(deserialize_with = "count")]
    pub(crate) streams: usize,
    /// How many identity numbers one person may look up in a minute.
    #[serde(deserialize_with = "count")]
    pub(crate) lookups_per_minute: usize,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            local_targets: LocalTargets::Refused,
            webhook_retry: Duration::from_secs(5),
            streams: 256,
            lookups_per_minute: 30,
        }
    }
}

/// How a laboratory's own system sends results as HL7 v2 messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageSettings {
    /// Who reports them: a name for the keys in the institution's keyring. The laboratory accredits its
    /// address as that of a scientist.
    #[serde(deserialize_with = "name")]
    pub(crate) scientist: String,
    /// The offset of times that have none, and whose message has none.
    #[serde(default, deserialize_with = "offset")]
    pub(crate) offset: Option<Offset>,
}

/// How sealed copies move between this holder and others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExchangeSettings {
    /// Where the peer-to-peer node listens, by UDP. Without it, copies move over HTTPS only.
    #[serde(deserialize_with = "some_socket_address")]
    pub(crate) listen: Option<SocketAddr>,
    /// The address at which others reach it, where that is another.
    #[serde(deserialize_with = "some_socket_address")]
    pub(crate) address: Option<SocketAddr>,
    /// Whether others may pull over HTTPS as well.
    pub(crate) https: bool,
    /// The URL under which others reach `/exchange`; that of `base_url` without it.
    #[serde(deserialize_with = "web_address")]
    pub(crate) url: Option<Url>,
    /// How often others are asked though the chain has nothing new.
    #[serde(rename = "every_s", deserialize_with = "seconds")]
    pub(crate) every: Duration,
    /// How often the chain is asked whether it has something new.
    #[serde(rename = "soon_s", deserialize_with = "seconds")]
    pub(crate) soon: Duration,
    /// How often every body that is kept is read, to heal what is damaged.
    #[serde(rename = "scan_every_s", deserialize_with = "seconds")]
    pub(crate) scan_every: Duration,
    /// Whether that is done at the start as well.
    #[serde(skip)]
    pub(crate) scans_first: bool,
    /// Which holders near by are asked, should the registry name such.
    #[serde(deserialize_with = "local_targets")]
    pub(crate) local_targets: LocalTargets,
}

impl Default for ExchangeSettings {
    fn default() -> Self {
        Self {
            listen: None,
            address: None,
            https: true,
            url: None,
            every: Duration::from_secs(300),
            soon: Duration::from_secs(2),
            scan_every: Duration::from_secs(24 * 60 * 60),
            scans_first: true,
            local_targets: LocalTargets::Refused,
        }
    }
}

/// Whose tokens are believed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SmartSettings {
    /// What tokens must be for, where that is not `base_url`.
    pub(crate) audience: Option<String>,
    /// Lets anybody sign in as anybody, at `/auth`. For trying things out only.
    pub(crate) development_issuer: bool,
    /// Who else can be picked there beside the institution and its patients: members, by address.
    #[serde(deserialize_with = "members")]
    pub(crate) people: BTreeMap<String, Address>,
    /// Apps that may send people to the development issuer.
    pub(crate) clients: Vec<ClientSettings>,
    /// The identity providers.
    pub(crate) issuers: Vec<IssuerSettings>,
}

/// An app of the development issuer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientSettings {
    /// Its `client_id`.
    pub(crate) id: String,
    /// Where people are sent back to, exactly.
    pub(crate) redirect_uris: Vec<String>,
}

/// An identity provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerSettings {
    /// Its name, as in the claim `iss`.
    pub(crate) issuer: String,
    /// Where its keys are published.
    #[serde(default, deserialize_with = "web_address")]
    pub(crate) jwks: Option<Url>,
    /// A file with its keys instead.
    jwks_file: Option<RelativePathBuf>,
    /// Whether it may say in `salus_member` for which member somebody acts.
    #[serde(default)]
    pub(crate) names_members: bool,
    /// For which member, by address, each subject acts; for patients, their account.
    #[serde(default, deserialize_with = "members")]
    pub(crate) members: BTreeMap<String, Address>,
    /// Where people sign in, for apps that ask.
    #[serde(default, deserialize_with = "web_address")]
    pub(crate) authorization_endpoint: Option<Url>,
    /// Where apps get tokens, for those that ask.
    #[serde(default, deserialize_with = "web_address")]
    pub(crate) token_endpoint: Option<Url>,
}

impl IssuerSettings {
    /// The file with its keys.
    pub(crate) fn jwks_file(&self) -> Option<PathBuf> {
        self.jwks_file.as_ref().map(RelativePathBuf::relative)
    }
}

fn default_data() -> RelativePathBuf {
    "salus-data".into()
}

fn default_listen() -> SocketAddr {
    ([127, 0, 0, 1], 8_080).into()
}

fn default_log() -> String {
    "info".into()
}

const fn default_anchor_every() -> Duration {
    Duration::from_secs(60)
}

/// Reads a text that has a form of its own.
fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &expected))
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, "1 to 64 of the characters a-z, 0-9 and `-`", |text| {
        let usable = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(usable);
        fits.then(|| text.to_owned())
    })
}

fn role<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<InstitutionRole>, D::Error> {
    let expected = "hospital, laboratory, pharmacy, emergency, insurer, research, regulator or \
                    device-maker";
    text(deserializer, expected, |text| text.parse().ok()).map(Some)
}

fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    text(deserializer, "an address and a port, such as 127.0.0.1:8080", |text| text.parse().ok())
}

fn some_socket_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    socket_address(deserializer).map(Some)
}

fn web_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let parse = |text: &str| {
        let url = Url::parse(text).ok()?;
        let plain = matches!(url.scheme(), "http" | "https") && url.fragment().is_none();
        plain.then_some(url)
    };
    text(deserializer, "an http or https address", parse).map(Some)
}

fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Offset>, D::Error> {
    text(deserializer, "an offset from UTC, such as +01:00", |text| text.parse().ok()).map(Some)
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    text(deserializer, ADDRESS, parse_address).map(Some)
}

const ADDRESS: &str = "an address: 0x and 40 hexadecimal digits";

fn parse_address(text: &str) -> Option<Address> {
    Address::from_str(text).ok().filter(|_| text.starts_with("0x"))
}

fn members<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Address>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let entry = |(subject, text): (String, String)| {
        let address = parse_address(&text)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &ADDRESS))?;
        Ok((subject, address))
    };
    texts.into_iter().map(entry).collect()
}

fn local_targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LocalTargets, D::Error> {
    text(deserializer, "refused, loopback or private", |text| text.parse().ok())
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let number = u32::deserialize(deserializer)?;
    match usize::try_from(number) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(D::Error::invalid_value(Unexpected::Unsigned(number.into()), &"a number above 0")),
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let number = u32::deserialize(deserializer)?;
    if number == 0 {
        return Err(D::Error::invalid_value(Unexpected::Unsigned(0), &"seconds, at least 1"));
    }
    Ok(Duration::from_secs(number.into()))
}
