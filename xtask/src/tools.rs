//! The tools that only tests and contract builds need, installed where they are missing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::run::{Failure, output, program, root, succeed};

fn contracts() -> PathBuf {
    root().join("contracts")
}

/// A program to be run among the contracts, with the tools from npm on its path.
fn in_contracts(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(contracts());
    command
}

/// Installs the compiler, forge, anvil, cast and OpenZeppelin's contracts, as locked.
pub(crate) fn install_npm() -> Result<(), Failure> {
    let lock =
        fs::read(contracts().join("package-lock.json")).map_err(|error| error.to_string())?;
    let note = contracts().join("node_modules/.installed-lock");
    if fs::read(&note).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    succeed(&mut in_contracts("npm", &["ci", "--no-audit", "--no-fund"]))?;
    fs::write(note, lock).map_err(|error| error.to_string())
}

/// Installs Hardhat's node below `target`, as `xtask/hardhat` locks it, for a benchmark; returns the folder.
///
/// It stands apart from the contracts: their folder is forge's, and Hardhat wants a newer Node, which comes with it.
pub(crate) fn install_hardhat() -> Result<PathBuf, Failure> {
    let pins = root().join("xtask/hardhat");
    let dir = root().join("target/hardhat");
    fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    for name in ["package.json", "package-lock.json", "hardhat.config.js"] {
        fs::copy(pins.join(name), dir.join(name))
            .map_err(|error| format!("could not copy xtask/hardhat/{name}: {error}"))?;
    }
    let lock = fs::read(dir.join("package-lock.json")).map_err(|error| error.to_string())?;
    let note = dir.join("node_modules/.installed-lock");
    if fs::read(&note).is_ok_and(|installed| installed == lock) {
        return Ok(dir);
    }
    // `npm ci` would insist on the node's packages for other systems, which not every registry has.
    let mut install = Command::new("npm");
    let arguments = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
    install.args(arguments).current_dir(&dir);
    succeed(&mut install)
        .map_err(|error| format!("Hardhat's node could not be installed: {error}"))?;
    fs::write(note, lock).map_err(|error| error.to_string())?;
    Ok(dir)
}

/// Compiles the contracts and writes their artifacts.
pub(crate) fn contracts_build() -> Result<(), Failure> {
    install_npm()?;
    succeed(&mut in_contracts("node", &["build.mjs"]))
}

/// Compiles the contracts and compares with the committed artifacts, byte for byte.
pub(crate) fn contracts_check() -> Result<(), Failure> {
    install_npm()?;
    succeed(&mut in_contracts("node", &["build.mjs", "--check"]))
}

/// The contracts' own tests.
pub(crate) fn forge_test() -> Result<(), Failure> {
    install_npm()?;
    succeed(&mut in_contracts("npx", &["forge", "test"]))
}

/// Measures the gas of every named operation and of every workflow, and writes `contracts/gas.json` and
/// `contracts/workflows.json`. The workflows come last: their steps have the operations' names.
pub(crate) fn gas() -> Result<(), Failure> {
    let workflows =
        ["flows", "surgery", "trial", "claim", "device", "research", "waiting_list"].as_slice();
    for binaries in [["gas"].as_slice(), workflows] {
        // All of the workspace, so that nothing is built with other features than in the whole run.
        let mut arguments = vec!["test", "--workspace"];
        arguments.extend(binaries.iter().flat_map(|binary| ["--test", binary]));
        arguments.extend(["--", "what_the_file_says"]);
        succeed(program("cargo", &arguments).env("SALUS_WRITE_GAS", "1"))?;
    }
    Ok(())
}

/// Installs the commands that the integration guide uses, where they are missing.
pub(crate) fn install_commands() -> Result<(), Failure> {
    let is_missing = |name: &&&str| output(&mut program(name, &["--version"])).is_err();
    let missing: Vec<&str> = ["curl", "jq"].iter().filter(is_missing).copied().collect();
    if missing.is_empty() { Ok(()) } else { install_from_debian(&missing) }
}

fn install_from_debian(packages: &[&str]) -> Result<(), Failure> {
    succeed(&mut program("apt-get", &["update", "--quiet=2"]))?;
    let mut install = program("apt-get", &["install", "--yes", "--quiet=2"]);
    succeed(install.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Installs Schemathesis below `target`, as pinned; returns the program.
pub(crate) fn install_schemathesis() -> Result<PathBuf, Failure> {
    install_from_pypi("schemathesis")
}

/// Installs Slither below `target`, as pinned; returns the program.
pub(crate) fn install_slither() -> Result<PathBuf, Failure> {
    install_from_pypi("slither")
}

/// Installs a program of Python's, with what `xtask/NAME.txt` pins.
fn install_from_pypi(name: &str) -> Result<PathBuf, Failure> {
    let pins = root().join("xtask").join(name).with_extension("txt");
    let pinned = fs::read(&pins).map_err(|error| error.to_string())?;
    let dir = root().join("target").join(name);
    let (program_file, note) = (dir.join("bin").join(name), dir.join("installed-pins"));
    if program_file.exists() && fs::read(&note).is_ok_and(|installed| installed == pinned) {
        return Ok(program_file);
    }
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(root().join("target")).map_err(|error| error.to_string())?;
    let make = || succeed(&mut program("python3", &["-m", "venv", &dir.to_string_lossy()]));
    if make().is_err() {
        // Debian has Python without `venv`, or none.
        let _ = fs::remove_dir_all(&dir);
        install_from_debian(&["python3", "python3-venv"])?;
        make()?;
    }
    let pip = dir.join("bin/pip");
    let options =
        ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"];
    succeed(program(&pip.to_string_lossy(), &options).arg("--requirement").arg(pins))?;
    fs::write(note, pinned).map_err(|error| error.to_string())?;
    Ok(program_file)
}

/// A PostgreSQL of our own for the tests, gone when dropped.
pub(crate) struct Postgres {
    dir: PathBuf,
    programs: PathBuf,
}

impl Postgres {
    /// Starts a cluster below `target`, installing PostgreSQL from Debian when it is missing.
    pub(crate) fn start() -> Result<Self, Failure> {
        let programs = match installed_postgres() {
            Some(programs) => programs,
            None => {
                install_from_debian(&["postgresql"])?;
                installed_postgres().ok_or("PostgreSQL was installed but is not to be found")?
            }
        };
        // Below the system's temporary directory: a socket's path may not be long, and the server
        // runs as another user.
        let dir = std::env::temp_dir().join(format!("salus-test-postgres-{}", std::process::id()));
        let cluster = Self { dir, programs };
        cluster.init()?;
        Ok(cluster)
    }

    fn init(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.dir).map_err(|error| error.to_string())?;
        succeed(&mut program("chown", &["postgres", &self.dir.to_string_lossy()]))?;
        let data = self.dir.join("data");
        let data = data.to_string_lossy();
        let arguments =
            ["--pgdata", &data, "--auth", "trust", "--no-sync", "--username", "postgres"];
        succeed(self.as_postgres("initdb", &arguments).stdout(Stdio::null()))?;
        let options =
            format!("-k {} -c listen_addresses= -c max_connections=200", self.dir.display());
        let log = self.dir.join("log");
        let log = log.to_string_lossy();
        let start = ["start", "--wait", "--pgdata", &data, "--log", &log, "--options", &options];
        succeed(self.as_postgres("pg_ctl", &start).stdout(Stdio::null()))
    }

    /// The address for `SALUS_TEST_POSTGRES`.
    pub(crate) fn url(&self) -> String {
        let socket = self.dir.to_string_lossy().replace('/', "%2F");
        format!("postgres://postgres@{socket}/postgres")
    }

    /// The server refuses to run as root.
    fn as_postgres(&self, name: &str, arguments: &[&str]) -> Command {
        let path = self.programs.join(name);
        let mut command =
            program("setpriv", &["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(path).args(arguments).current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.dir.join("data");
        let stop = ["stop", "--mode", "immediate", "--pgdata", &data.to_string_lossy()];
        let _ = succeed(self.as_postgres("pg_ctl", &stop).stdout(Stdio::null()));
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Where Debian keeps the programs of the newest version.
fn installed_postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|programs| programs.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

/// The commit that is being tested, for reports.
pub(crate) fn commit() -> String {
    let found = output(&mut program("git", &["rev-parse", "--short", "HEAD"]));
    found.map_or_else(|_| "unknown".into(), |commit| commit.trim().into())
}

/// Where the data to test with is, when it is there.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let path = root().join("../shared/data");
    Path::new(&path).is_dir().then_some(path)
}
