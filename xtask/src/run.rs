//! Runs programs and says which, how long, and what went wrong.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// What went wrong, in words.
pub(crate) type Failure = String;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or_else(|| xtask.into(), Path::to_owned)
}

/// A program to be run in the workspace's root.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// A program as the tests were built with it: `cargo run` would build half of it again, with other
/// features.
pub(crate) fn built(name: &str) -> Result<PathBuf, Failure> {
    let xtask = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = xtask.parent().and_then(Path::parent).ok_or("this program lies in no folder")?;
    Ok(target.join("debug").join(name))
}

/// Runs a step of which people should see the name and the time.
pub(crate) fn step(name: &str, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    println!("\n=== {name}");
    let started = Instant::now();
    work().map_err(|failure| format!("{name}: {failure}"))?;
    println!("=== {name}: ok, {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Runs a program to its end; it must succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Runs a program to its end and gives what it printed; it must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{errors}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}
