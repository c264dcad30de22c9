//! Reads a configuration: the file, then the environment, then flags. Every mistake is told at once, each
//! with the place where it stands and what is expected there.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{
    Error as FigmentError, Figment, Metadata, Profile, Provider, Source,
    error::Kind,
    providers::{Env, Format as _, Toml},
    value::{Dict, Map, Value},
};

use serde::de::DeserializeOwned;

use super::settings::{NodeSettings, Settings};

/// The prefix of the environment's variables; two underscores lead into a table.
const ENVIRONMENT: &str = "SALUS_";

/// What begins with the prefix and is no setting: a secret, and where `salus up` listens.
const NOT_SETTINGS: &[&str] = &["passphrase", "rpc", "fhir_port_base"];

const FLAGS: &str = "the command line";

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("could not read {}; name the configuration with --config", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}", listed(.0))]
    Mistakes(Vec<Mistake>),
}

/// One thing that is wrong in a configuration.
#[derive(Debug)]
pub(crate) struct Mistake {
    place: String,
    message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

fn listed(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}

/// Flags, by the key that they set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// Sets a key, when there is a value.
    pub(crate) fn with(mut self, key: &'static str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.0.insert(key, value.into());
        }
        self
    }
}

impl Provider for Flags {
    fn metadata(&self) -> Metadata {
        Metadata::named(FLAGS)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, FigmentError> {
        let mut dict = Dict::new();
        for (key, value) in &self.0 {
            let value = Value::from(value.as_str());
            match key.split_once('.') {
                None => dict.insert((*key).into(), value),
                Some((table, key)) => {
                    dict.insert(table.into(), Value::from(Dict::from([(key.into(), value)])))
                }
            };
        }
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// Reads the configuration in `file`, with what the environment and the flags say besides.
pub(crate) fn read(file: &Path, flags: Flags) -> Result<Settings, ConfigError> {
    let text = read_text(file)?;
    let reader = Reader::new(file, &text, flags);
    let mut settings: Settings = reader.extract()?;
    if reader.is_in_file("database") {
        settings.database_home = file.parent().unwrap_or(Path::new("")).to_owned();
    }
    let mistakes = reader.check(&settings);
    if mistakes.is_empty() { Ok(settings) } else { Err(ConfigError::Mistakes(mistakes)) }
}

/// Reads the configuration of a patient's node in the same way.
pub(crate) fn read_node(file: &Path, flags: Flags) -> Result<NodeSettings, ConfigError> {
    let text = read_text(file)?;
    Reader::new(file, &text, flags).extract()
}

fn read_text(file: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(file).map_err(|source| ConfigError::File { path: file.to_owned(), source })
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    figment: Figment,
}

impl<'a> Reader<'a> {
    fn new(file: &'a Path, text: &'a str, flags: Flags) -> Self {
        let environment = Env::prefixed(ENVIRONMENT).ignore(NOT_SETTINGS).split("__");
        let figment = Figment::from(Toml::file_exact(file)).merge(environment).merge(flags);
        Self { file, text, figment }
    }

    fn extract<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        self.figment.extract().map_err(|error| {
            ConfigError::Mistakes(error.into_iter().map(|error| self.mistake(error)).collect())
        })
    }

    /// What no single key shows.
    fn check(&self, settings: &Settings) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, message: &str| {
            let place = self.place(&key.split('.').map(str::to_owned).collect::<Vec<_>>());
            mistakes.push(Mistake { place, message: format!("`{key}`: {message}") });
        };
        if let Some(database) = &settings.database {
            if database.is_unknown() {
                wrong("database", "expected sqlite://PATH, a path, or postgres://HOST/NAME");
            }
            if database.has_password() && self.is_in_file("database") {
                wrong(
                    "database",
                    "a password does not belong into this file; set SALUS_DATABASE or PGPASSWORD",
                );
            }
        }
        match &settings.base_url {
            Some(url) if !url.path().ends_with("/fhir") || url.query().is_some() => {
                wrong("base_url", "expected the address of the FHIR interface, ending in /fhir");
            }
            None if settings.listen.ip().is_unspecified() => {
                wrong(
                    "listen",
                    "clients cannot call this address; expected a `base_url` beside it",
                );
            }
            _ => {}
        }
        if tracing_subscriber::EnvFilter::try_new(&settings.log).is_err() {
            wrong("log", "expected error, warn, info, debug, or a filter such as salus=debug,info");
        }
        let ledger = &settings.ledger;
        if ledger.has_two_prices() {
            wrong("ledger.gas_price_wei", "expected this or `ledger.tip_wei`, not both");
        }
        if ledger.registry.is_some() && ledger.deployment().is_some() {
            wrong("ledger.registry", "expected this or `ledger.deployment`, not both");
        }
        if let Some(exchange) = &settings.exchange {
            let is_anywhere = |at: &SocketAddr| at.ip().is_unspecified();
            if exchange.listen.as_ref().is_some_and(is_anywhere) && exchange.address.is_none() {
                wrong(
                    "exchange.listen",
                    "others cannot call this address; expected an `address` beside it",
                );
            }
            if exchange.listen.is_none() && !exchange.https {
                wrong("exchange", "expected `listen`, or https = true");
            }
        }
        let smart = &settings.smart;
        if smart.issuers.is_empty() && !smart.development_issuer {
            wrong(
                "smart",
                "expected at least one [[smart.issuers]], or development_issuer = true for trying \
                 things out",
            );
        }
        for (number, issuer) in smart.issuers.iter().enumerate() {
            let key = format!("smart.issuers.{number}");
            if issuer.jwks.is_some() == issuer.jwks_file().is_some() {
                wrong(&key, "expected either `jwks` or `jwks_file`");
            }
            if !issuer.names_members && issuer.members.is_empty() {
                wrong(&key, "expected names_members = true, or subjects in `members`");
            }
        }
        mistakes
    }

    fn is_in_file(&self, key: &str) -> bool {
        let metadata = self.figment.find_metadata(key);
        metadata.is_some_and(|metadata| matches!(metadata.source, Some(Source::File(_))))
    }

    fn mistake(&self, error: FigmentError) -> Mistake {
        let mut path = error.path.clone();
        let message = match &error.kind {
            // A syntax error shows the line, in which a secret may stand.
            Kind::Message(message) if message.starts_with("TOML parse error at ") => {
                let mut lines = message.lines();
                let place =
                    lines.next().unwrap_or_default().trim_start_matches("TOML parse error at ");
                let reason = lines.last().unwrap_or("not TOML");
                let place = format!("{}, {place}", self.file.display());
                return Mistake { place, message: format!("not TOML: {reason}") };
            }
            Kind::UnknownField(field, expected) => {
                if path.last() != Some(field) {
                    path.push(field.clone());
                }
                format!("unknown; expected one of {}", expected.join(", "))
            }
            Kind::MissingField(field) => {
                path.push(field.to_string());
                "missing".to_owned()
            }
            kind => kind.to_string(),
        };
        let from = error.metadata.as_ref().or_else(|| self.figment.find_metadata(&path.join(".")));
        let place = match from {
            Some(metadata) => self.place_in(metadata, &path),
            None => self.place_in_file(&path),
        };
        Mistake { place, message: format!("`{}`: {message}", path.join(".")) }
    }

    fn place(&self, path: &[String]) -> String {
        match self.figment.find_metadata(&path.join(".")) {
            Some(metadata) => self.place_in(metadata, path),
            None => self.place_in_file(path),
        }
    }

    fn place_in(&self, metadata: &Metadata, path: &[String]) -> String {
        match metadata.source {
            Some(Source::File(_)) => self.place_in_file(path),
            _ if metadata.name == FLAGS => FLAGS.to_owned(),
            _ => format!("environment, {ENVIRONMENT}{}", path.join("__").to_uppercase()),
        }
    }

    fn place_in_file(&self, path: &[String]) -> String {
        let file = self.file.display();
        match line_of(self.text, path) {
            Some(line) => format!("{file}, line {line}"),
            None => file.to_string(),
        }
    }
}

/// The line, from 1, where a key stands; of what is inside another value, the line where that begins.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let mut table: Vec<String> = Vec::new();
    let mut arrays: BTreeMap<String, usize> = BTreeMap::new();
    let mut best = None;
    let mut best_depth = 0;
    for (line, number) in text.lines().zip(1..) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let keys = if let Some(name) = line.strip_prefix("[[").and_then(|l| l.strip_suffix("]]")) {
            let index = arrays.entry(name.trim().to_owned()).and_modify(|n| *n += 1).or_default();
            table = segments(name);
            table.push(index.to_string());
            table.clone()
        } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            table = with_indices(segments(name), &arrays);
            table.clone()
        } else if let Some((key, _)) = line.split_once('=') {
            [table.clone(), segments(key)].concat()
        } else {
            continue;
        };
        if keys.len() > best_depth && path.starts_with(&keys) {
            (best, best_depth) = (Some(number), keys.len());
        }
    }
    best
}

fn segments(name: &str) -> Vec<String> {
    name.split('.').map(|part| part.trim().trim_matches(['"', '\'']).to_owned()).collect()
}

/// A table below an array of tables belongs to the latest of them.
fn with_indices(segments: Vec<String>, arrays: &BTreeMap<String, usize>) -> Vec<String> {
    let mut named = String::new();
    let mut path = Vec::new();
    for segment in segments {
        named = if named.is_empty() { segment.clone() } else { format!("{named}.{segment}") };
        path.push(segment);
        path.extend(arrays.get(&named).map(usize::to_string));
    }
    path
}

#[cfg(test)]
#[path = "../../../domain/tests/common/mutations.rs"]
mod mutations;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Flags, mutations, read};

    /// A configuration with every table, and the planted word where a secret might be.
    const SAMPLE: &str = "name = \"clinic\"\ndata = \"data\"\nrole = \"hospital\"\n\
        listen = \"127.0.0.1:8080\"\nbase_url = \"https://fhir.example/fhir\"\n\
        database = \"postgres://clinic:Zyxwplanted@localhost/clinic\"\nanchor_every_s = 60\n\
        [ledger]\nrpc = \"http://127.0.0.1:8545\"\nfinality = 3\ntip_wei = 1\n\
        registry = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"\n\
        [limits]\nconnections = 10\nbody_bytes = 1000\n\
        [smart]\ndevelopment_issuer = true\n\
        [[smart.issuers]]\nissuer = \"https://id.example\"\njwks = \"https://id.example/jwks\"\n\
        [smart.issuers.members]\n\"dr\" = \"0x70997970C51812dc3A010C7d01b50e0d17dc79C8\"\n";

    #[test]
    fn spoiled_configurations_are_told_without_their_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("salus.toml");
        mutations::fuzz(300, mutations::text(&[SAMPLE]), |config| {
            std::fs::write(&file, &config).unwrap();
            if let Err(error) = read(&file, Flags::default()) {
                let told = error.to_string();
                prop_assert!(!told.is_empty() && told.len() < 20_000, "{} bytes", told.len());
                // As long as it stands where passwords stand.
                if config
                    .contains("database = \"postgres://clinic:Zyxwplanted@localhost/clinic\"\n")
                {
                    prop_assert!(!told.contains(mutations::PLANTED), "{told}");
                }
            }
            Ok(())
        });
    }
}
