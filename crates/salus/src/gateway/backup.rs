//! Backup and restore of one gateway.
//!
//! # Format 1
//!
//! A tar archive under zstd (with its checksum), mode 0600, with these files in this order:
//!
//! ```text
//! backup.json            what it is: {"format": 1, "name", "member", "database", "created", "program"}
//! keystore.json          the signing key, under the passphrase
//! root.key               the root key, under the passphrase
//! vault.db               SQLite only: the database at one instant
//! bodies/DIGEST          the long bodies that this database names; with PostgreSQL, all there are
//! deployments/CHAIN.json where the contracts are
//! manifest.json          {"files": [{"path", "bytes", "sha256"}, …], "missing_bodies": [digest, …]}
//! ```
//!
//! The manifest names every file before it, and comes last, so an archive that was cut off has none.
//!
//! Neither the passphrase nor the chain is in it. A PostgreSQL database is its operator's: dump it with
//! pg_dump *before* the backup, so that the bodies that it names are in the backup.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::settings::{DatabasePlace, Settings};
use crate::{Error, keys::make_private_dir, printing::say, system::real_time};

const FORMAT: u32 = 1;
const ABOUT: &str = "backup.json";
const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "vault.db";
const KEYS: [&str; 2] = ["keystore.json", "root.key"];

/// The longest of the files that describe a backup, in bytes. A body in the manifest takes 170.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 30;

const COMPRESSION_LEVEL: i32 = 3;

/// What a backup is of.
#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    name: String,
    /// The institution, by member address, as its keystore says.
    member: String,
    /// `sqlite`, or `postgresql`, whose dump is elsewhere.
    database: String,
    created: String,
    program: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Manifest {
    files: Vec<Listed>,
    /// Bodies that the database names and that had no file: erased meanwhile, or lost before.
    missing_bodies: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    path: String,
    bytes: u64,
    sha256: String,
}

/// Writes a backup to a new file, while the gateway runs or not. It needs no passphrase.
pub(super) async fn backup(settings: &Settings, to: &Path) -> Result<ExitCode, Error> {
    if to.exists() {
        return Err(format!("{} exists already", to.display()).into());
    }
    let unfinished = to.with_added_extension("unfinished");
    let copy = to.with_added_extension("database");
    let written = write_backup(settings, &unfinished, &copy).await;
    let _ = fs::remove_file(&copy);
    let manifest = match written {
        Ok(manifest) => manifest,
        Err(error) => {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
    };
    fs::rename(&unfinished, to)?;
    sync_folder(to)?;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    say!("wrote {}: {} files, {bytes} bytes", to.display(), manifest.files.len());
    if !manifest.missing_bodies.is_empty() {
        let count = manifest.missing_bodies.len();
        say!("  {count} bodies had no file: erased meanwhile, or lost before; reconcile tells");
    }
    if matches!(settings.database(), DatabasePlace::Postgres(_)) {
        say!("  the PostgreSQL database is not in it: dump it with pg_dump before each backup");
    }
    say!("  the passphrase is not in it, and neither is the chain");
    Ok(ExitCode::SUCCESS)
}

async fn write_backup(
    settings: &Settings,
    unfinished: &Path,
    copy: &Path,
) -> Result<Manifest, Error> {
    let dir = settings.dir();
    let member = member_of(&dir.join(KEYS[0]))?;
    let (database, bodies) = match settings.database() {
        DatabasePlace::File(path) => {
            // One that a killed attempt left behind.
            let _ = fs::remove_file(copy);
            let bodies = vault::backup::snapshot(&path, copy).await?;
            let names = bodies.into_iter().map(|digest| hex::encode(digest.0)).collect();
            ("sqlite", names)
        }
        DatabasePlace::Postgres(_) => ("postgresql", body_names(&dir.join("bodies"))?),
    };
    let about = About {
        format: FORMAT,
        name: settings.name.clone(),
        member,
        database: database.into(),
        created: Timestamp(real_time()).to_string(),
        program: env!("CARGO_PKG_VERSION").into(),
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(unfinished)
        .map_err(|error| format!("could not write {}: {error}", unfinished.display()))?;
    let mut archive = Archive::new(file)?;
    archive.add_bytes(ABOUT, &serde_json::to_vec_pretty(&about)?)?;
    for name in KEYS {
        archive.add_file(name, &dir.join(name))?;
    }
    if database == "sqlite" {
        archive.add_file(DATABASE, copy)?;
    }
    for name in bodies {
        let path = dir.join("bodies").join(&name);
        match archive.add_file(&format!("bodies/{name}"), &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                archive.manifest.missing_bodies.push(name);
            }
            added => added?,
        }
    }
    for path in files_in(&settings.data().join("deployments"))? {
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && is_deployment(name)
        {
            archive.add_file(&format!("deployments/{name}"), &path)?;
        }
    }
    Ok(archive.finish()?)
}

/// An archive that is being written.
struct Archive {
    tar: tar::Builder<zstd::Encoder<'static, File>>,
    manifest: Manifest,
}

impl Archive {
    fn new(file: File) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(file, COMPRESSION_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self { tar: tar::Builder::new(encoder), manifest: Manifest::default() })
    }

    fn add_bytes(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.add(path, bytes.len() as u64, bytes)
    }

    fn add_file(&mut self, path: &str, from: &Path) -> io::Result<()> {
        let file = File::open(from)?;
        let length = file.metadata()?.len();
        self.add(path, length, file)
    }

    fn add(&mut self, path: &str, length: u64, from: impl Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(length);
        header.set_mode(0o600);
        header.set_mtime(0);
        let mut from = Hashing::new(from.take(length));
        self.tar.append_data(&mut header, path, &mut from)?;
        if from.bytes != length {
            return Err(io::Error::other("a file became shorter while it was read"));
        }
        self.manifest.files.push(from.listed(path));
        Ok(())
    }

    fn finish(mut self) -> io::Result<Manifest> {
        let manifest = std::mem::take(&mut self.manifest);
        let text = serde_json::to_vec_pretty(&manifest)?;
        self.add_bytes(MANIFEST, &text)?;
        let file = self.tar.into_inner()?.finish()?;
        file.sync_all()?;
        Ok(manifest)
    }
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn listed(self, path: &str) -> Listed {
        let sha256 = hex::encode(self.hash.finalize());
        Listed { path: path.into(), bytes: self.bytes, sha256 }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Restores a backup where there is nothing yet. What does not hold what its manifest says is refused
/// whole.
pub(super) fn restore(settings: &Settings, from: &Path) -> Result<ExitCode, Error> {
    let dir = settings.dir();
    if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(
            format!("{} is not empty; a backup is restored into nothing", dir.display()).into()
        );
    }
    let database = settings.database();
    if let DatabasePlace::File(path) = &database
        && path.exists()
    {
        return Err(format!("there is a database at {} already", path.display()).into());
    }
    make_private_dir(&settings.data())?;
    let staging = settings.data().join(format!("{}.restoring", settings.name));
    if staging.exists() {
        // Of an attempt that was killed: nothing of it was ever in use.
        fs::remove_dir_all(&staging)?;
    }
    let restored = unpack(from, &staging).and_then(|about| {
        put_in_place(settings, &staging, &about)?;
        Ok(about)
    });
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    let about = restored?;
    say!("restored {} of {}, member 0x{}", about.name, about.created, about.member);
    if about.database == "postgresql" {
        say!("  restore the dump of its PostgreSQL database too, before starting the gateway");
    }
    say!("  the passphrase goes to {}", settings.passphrase_file().display());
    say!("  `salus gateway reconcile` tells what is missing since");
    Ok(ExitCode::SUCCESS)
}

/// Unpacks an archive into a new folder, and holds every file against the manifest.
fn unpack(from: &Path, staging: &Path) -> Result<About, Error> {
    let damaged = |what: &str| format!("{} is damaged: {what}", from.display());
    let file =
        File::open(from).map_err(|error| format!("could not read {}: {error}", from.display()))?;
    let mut archive = tar::Archive::new(zstd::Decoder::new(file)?);
    fs::DirBuilder::new().mode(0o700).create(staging)?;
    let mut found: BTreeMap<String, Listed> = BTreeMap::new();
    let (mut about, mut manifest): (Option<About>, Option<Manifest>) = (None, None);
    let unreadable = |error: io::Error| damaged(&error.to_string());
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.to_string_lossy().into_owned();
        if manifest.is_some() || found.contains_key(&path) {
            return Err(damaged("it has more files than it lists").into());
        }
        if path == MANIFEST {
            let text = description(&mut entry).map_err(unreadable)?;
            let read = serde_json::from_slice(&text);
            manifest = Some(read.map_err(|_| damaged("its manifest cannot be read"))?);
            continue;
        }
        if path == ABOUT {
            let mut hashing = Hashing::new(&mut entry);
            let text = description(&mut hashing).map_err(unreadable)?;
            let read: About =
                serde_json::from_slice(&text).map_err(|_| damaged("it does not say what it is"))?;
            if read.format != FORMAT {
                let format = read.format;
                let text =
                    format!("the backup has format {format}, and this program reads {FORMAT}");
                return Err(text.into());
            }
            found.insert(path, hashing.listed(ABOUT));
            about = Some(read);
            continue;
        }
        if about.is_none() || !is_known(&path) {
            return Err(damaged("it has a file that is no backup's").into());
        }
        let target = staging.join(&path);
        if let Some(folder) = target.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut options = OpenOptions::new();
        let mut target = options.create_new(true).write(true).mode(0o600).open(target)?;
        let mut hashing = Hashing::new(&mut entry);
        io::copy(&mut hashing, &mut target).map_err(unreadable)?;
        target.sync_all()?;
        let listed = hashing.listed(&path);
        found.insert(path, listed);
    }
    let manifest = manifest.ok_or_else(|| damaged("its end is missing"))?;
    if manifest.files.len() != found.len() {
        return Err(damaged("it has other files than it lists").into());
    }
    for listed in &manifest.files {
        let there = found.get(&listed.path);
        if there.is_none_or(|there| (there.bytes, &there.sha256) != (listed.bytes, &listed.sha256))
        {
            return Err(damaged(&format!("{} is not what was backed up", listed.path)).into());
        }
    }
    about.ok_or_else(|| damaged("it does not say what it is").into())
}

/// Moves what was unpacked and checked to where the gateway looks for it.
fn put_in_place(settings: &Settings, staging: &Path, about: &About) -> Result<(), Error> {
    let dir = settings.dir();
    let held = if about.database == "sqlite" { "sqlite" } else { "postgresql" };
    match settings.database() {
        DatabasePlace::File(path) if held == "sqlite" => {
            if path != dir.join(DATABASE) {
                // It may be on another disk, so it is copied.
                copy_private(&staging.join(DATABASE), &path)?;
                fs::remove_file(staging.join(DATABASE))?;
            }
        }
        DatabasePlace::Postgres(_) if held == "postgresql" => {}
        _ => {
            let text = format!("the backup is of a gateway on {held}, and `database` is another");
            return Err(text.into());
        }
    }
    let deployments = settings.data().join("deployments");
    for path in files_in(&staging.join("deployments"))? {
        let Some(name) = path.file_name() else { continue };
        let target = deployments.join(name);
        if target.exists() {
            if fs::read(&target)? != fs::read(&path)? {
                let target = target.display();
                say!("  kept {target}, which differs from the one in the backup");
            }
            continue;
        }
        make_private_dir(&deployments)?;
        copy_private(&path, &target)?;
    }
    match fs::remove_dir_all(staging.join("deployments")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // An empty directory may be there; whatever came into it since is not overwritten.
    match fs::remove_dir(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fs::rename(staging, &dir)?;
    Ok(sync_folder(&dir)?)
}

/// Copies to a new file for its owner only, durably.
fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut target = options.create_new(true).write(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()?;
    sync_folder(to)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn description(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(DESCRIPTION_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// Whether a path is one that this program writes: nothing else is ever unpacked.
fn is_known(path: &str) -> bool {
    match path.split_once('/') {
        None => path == DATABASE || KEYS.contains(&path),
        Some(("bodies", name)) => is_body(name),
        Some(("deployments", name)) => is_deployment(name),
        Some(_) => false,
    }
}

fn is_body(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_deployment(name: &str) -> bool {
    let number = name.strip_suffix(".json");
    number.is_some_and(|number| {
        (1..=20).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn body_names(folder: &Path) -> io::Result<Vec<String>> {
    let names = files_in(folder)?.into_iter();
    Ok(names
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| is_body(name))
        .collect())
}

/// The files of a folder, in order; none when there is no folder.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The member address in a keystore file, which stands there in the clear.
fn member_of(keystore: &Path) -> Result<String, Error> {
    let text = fs::read(keystore)
        .map_err(|error| format!("could not read {}: {error}", keystore.display()))?;
    let file: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|_| format!("{} is no keystore", keystore.display()))?;
    Ok(file["address"].as_str().unwrap_or_default().to_owned())
}
