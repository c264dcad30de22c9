//! The guide for integration engineers: every command in it is run, and prints what stands there.
//!
//! `SALUS_WRITE_GUIDE=1` writes what the commands print into the guide instead.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fmt::Write as _, fs, path::PathBuf, process::Command};

use support::Serving;

/// The institutions in the order of their ports in the guide.
const INSTITUTIONS: [(&str, u16); 4] =
    [("hospital", 8101), ("laboratory", 8102), ("pharmacy", 8103), ("emergency", 8104)];

/// What begins a command that is run.
const COMMAND: &str = "```sh\n";

/// What begins what it prints.
const OUTPUT: &str = "```text\n";

const END: &str = "```\n";

/// What is printed between two commands, and by no command.
const MARK: &str = "=== the next command ===\n";

/// A piece of the guide.
#[derive(Debug)]
enum Part {
    /// What is not run.
    Text(String),
    /// A command, and what it prints.
    Command { command: String, output: String },
}

fn parts(guide: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = guide;
    while let Some((before, after)) = rest.split_once(COMMAND) {
        parts.push(Part::Text(before.into()));
        let (command, after) = after.split_once(END).unwrap();
        let (output, after) = match after.strip_prefix(&format!("\n{OUTPUT}")) {
            Some(output) => output.split_once(END).unwrap(),
            None => ("", after),
        };
        parts.push(Part::Command { command: command.into(), output: output.into() });
        rest = after;
    }
    parts.push(Part::Text(rest.into()));
    parts
}

/// What is the same in every run: long hexadecimal numbers and times are left out.
fn lasting(text: &str) -> String {
    let mut lasting = String::new();
    let mut word = String::new();
    let end = |word: &mut String, lasting: &mut String| {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let is_number = digits.len() >= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time = word.len() >= 20
            && word.ends_with('Z')
            && word.bytes().filter(u8::is_ascii_digit).count() >= 14
            && !word.starts_with("2026-03-04");
        lasting.push_str(if is_number || is_time { "…" } else { word });
        word.clear();
    };
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() || "-:.".contains(letter) {
            word.push(letter);
        } else {
            end(&mut word, &mut lasting);
            lasting.push(letter);
        }
    }
    end(&mut word, &mut lasting);
    lasting
}

#[test]
fn the_guide_says_what_happens() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/integration.md");
    let parts = parts(&fs::read_to_string(&path).unwrap());
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let serving = Serving::up(&data);

    let mut script = format!(
        "salus() {{ \"{}\" --data \"{}\" \"$@\"; }}\n",
        env!("CARGO_BIN_EXE_salus"),
        data.display()
    );
    let commands = parts.iter().filter_map(|part| match part {
        Part::Command { command, .. } => Some(command),
        Part::Text(_) => None,
    });
    for command in commands {
        write!(script, "printf '%s' '{MARK}'\n{command}").unwrap();
    }
    // The ports in the guide are those of `salus up` by itself; here they are any.
    for (institution, port) in INSTITUTIONS {
        script = script.replace(&format!("127.0.0.1:{port}"), &serving.address(institution));
    }
    let file = home.path().join("guide.sh");
    fs::write(&file, script).unwrap();
    let mut bash = Command::new("bash");
    let ran = bash.arg(&file).current_dir(home.path()).env_remove("SALUS_DATA").output().unwrap();
    let mut printed = support::text(&ran.stdout);
    for (institution, port) in INSTITUTIONS {
        printed = printed.replace(&serving.address(institution), &format!("127.0.0.1:{port}"));
    }
    let complaints = support::text(&ran.stderr);
    assert!(ran.status.success() && complaints.is_empty(), "{complaints}\n{printed}");
    serving.stop();

    let mut outputs = printed.split(MARK).skip(1).map(lasting);
    let is_writing = std::env::var_os("SALUS_WRITE_GUIDE").is_some();
    let mut guide = String::new();
    for part in parts {
        let (command, output) = match part {
            Part::Text(text) => {
                guide += &text;
                continue;
            }
            Part::Command { command, output } => (command, output),
        };
        let mut printed = outputs.next().unwrap();
        if !printed.is_empty() && !printed.ends_with('\n') {
            printed.push('\n');
        }
        if !is_writing {
            assert_eq!(printed, output, "after\n{command}");
        }
        guide += &format!("{COMMAND}{command}{END}");
        if !printed.is_empty() {
            guide += &format!("\n{OUTPUT}{printed}{END}");
        }
    }
    if is_writing {
        fs::write(path, guide).unwrap();
    }
}
