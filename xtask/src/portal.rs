//! The portal's script, and the portal in a real browser.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    run::{Failure, built, output, program, root, succeed},
    tools,
};

/// Bundles the script and writes it where the portal's crate embeds it.
pub(crate) fn build() -> Result<(), Failure> {
    install()?;
    succeed(&mut here("node", &["build.mjs"]))
}

/// Bundles the script and compares with the committed one, byte for byte; checks its types and runs the tests that
/// need no browser.
pub(crate) fn check() -> Result<(), Failure> {
    install()?;
    succeed(&mut here("node", &["build.mjs", "--check"]))
}

/// Drives the demonstration in Chromium, as people and their wallets and passkeys do.
pub(crate) fn browser() -> Result<(), Failure> {
    install()?;
    let chromium = install_chromium()?;
    let mut command = here("node", &["--test", "--test-concurrency=1", "test/browser/"]);
    command.env("SALUS_CHROMIUM", chromium).env("SALUS_PROGRAM", built("salus")?);
    succeed(&mut command)
}

/// A program to be run in the script's folder.
fn here(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root().join("crates/portal/web"));
    command
}

/// Installs what the script is made of and what tests it, as locked.
fn install() -> Result<(), Failure> {
    let dir = root().join("crates/portal/web");
    let lock = fs::read(dir.join("package-lock.json")).map_err(|error| error.to_string())?;
    let note = dir.join("node_modules/.installed-lock");
    if fs::read(&note).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    succeed(&mut here("npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]))?;
    fs::write(note, lock).map_err(|error| error.to_string())
}

/// Debian's Chromium, installed where it is missing; returns the program.
fn install_chromium() -> Result<PathBuf, Failure> {
    let chromium = PathBuf::from("/usr/bin/chromium");
    if output(&mut program(&chromium.to_string_lossy(), &["--version"])).is_err() {
        // Without fonts every letter is a box.
        tools::install_from_debian(&["chromium", "fonts-liberation"])?;
    }
    Ok(chromium)
}
