//! What is printed for people: the only place of this program that writes to standard output and standard error.
//!
//! Whoever reads may stop reading, as `head` does after a few lines. That is no fault and worth no word: the
//! program ends there. Nothing is lost by it, because whatever was told as done is stored.

use std::{
    fmt,
    io::{self, Write},
};

/// Prints a line on standard output.
macro_rules! say {
    () => { $crate::printing::put(format_args!("\n")) };
    ($($words:tt)*) => { $crate::printing::put(format_args!("{}\n", format_args!($($words)*))) };
}
pub(crate) use say;

/// Prints on standard output, and ends the program when nobody can read it: without a word and with exit code 2,
/// because not all was done, when the reader stopped reading.
pub(crate) fn put(text: fmt::Arguments<'_>) {
    if let Err(error) = try_to(&mut io::stdout().lock(), text) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            complain(format_args!("error: could not print: {error}\n"));
        }
        std::process::exit(2);
    }
}

/// Prints all that a command has to say. That nobody reads it to the end changes nothing about what was done.
///
/// # Errors
///
/// What the system says, but not that the reader stopped reading.
pub(crate) fn put_whole(text: &str) -> io::Result<()> {
    match try_to(&mut io::stdout().lock(), format_args!("{text}")) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints on standard error. Where that goes nowhere, there is nobody left to tell.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let _ = try_to(&mut io::stderr().lock(), text);
}

fn try_to(out: &mut impl Write, text: fmt::Arguments<'_>) -> io::Result<()> {
    out.write_fmt(text)?;
    out.flush()
}
