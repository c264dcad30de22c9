//! Rows on disk, apart by archive date, list and source, so that the rows of all files are never held at once.
//!
//! A part is a file of rows one after the other, each as `postcard` writes it. It lives in a folder that the study
//! throws away; nothing of it outlives the study or is read by another version.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::row::{Day, Row};

/// Which of the two lists that are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// For outpatients.
    Outpatient,
    /// For beds and day places.
    InpatientDayCase,
}

impl List {
    pub(super) fn of(row: &Row) -> Self {
        if row.case_type == "Outpatient" { Self::Outpatient } else { Self::InpatientDayCase }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Outpatient => "outpatient",
            Self::InpatientDayCase => "inpatient and day case",
        })
    }
}

/// What is kept apart. In their order, parts of one date stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) date: Day,
    pub(super) list: List,
    /// By its place among the sources.
    pub(super) source: usize,
}

impl Part {
    fn file(self, folder: &Path) -> PathBuf {
        let list = match self.list {
            List::Outpatient => "op",
            List::InpatientDayCase => "ipdc",
        };
        folder.join(format!("{}-{list}-{}.rows", self.date, self.source))
    }
}

/// Writes rows to their parts.
pub(super) struct Spooling {
    spool: Spool,
    buffers: BTreeMap<Part, Vec<u8>>,
    buffered: usize,
}

impl Spooling {
    /// How much is held before it is written.
    const BUFFERED_MAX: usize = 1 << 20;

    /// In a folder that is made anew.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(folder)?,
        }
        let spool = Spool { folder: folder.to_owned(), parts: Vec::new() };
        Ok(Self { spool, buffers: BTreeMap::new(), buffered: 0 })
    }

    pub(super) fn add(&mut self, source: usize, row: &Row) -> io::Result<()> {
        let part = Part { date: row.date, list: List::of(row), source };
        let buffer = self.buffers.entry(part).or_default();
        let before = buffer.len();
        // The buffer comes back longer: `postcard` appends.
        *buffer = postcard::to_extend(row, std::mem::take(buffer)).map_err(io::Error::other)?;
        self.buffered += buffer.len() - before;
        if self.buffered > Self::BUFFERED_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        for (part, bytes) in std::mem::take(&mut self.buffers) {
            let path = part.file(&self.spool.folder);
            OpenOptions::new().create(true).append(true).open(path)?.write_all(&bytes)?;
            if let Err(place) = self.spool.parts.binary_search(&part) {
                self.spool.parts.insert(place, part);
            }
        }
        self.buffered = 0;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Spool> {
        self.flush()?;
        Ok(self.spool)
    }
}

/// Rows in their parts.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    /// In their order.
    parts: Vec<Part>,
}

impl Spool {
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The rows of a part, in the order of its file.
    pub(super) fn rows(&self, part: Part) -> io::Result<Vec<Row>> {
        let bytes = fs::read(part.file(&self.folder))?;
        let mut rest = &*bytes;
        let mut rows = Vec::new();
        while !rest.is_empty() {
            let (row, after) = postcard::take_from_bytes(rest).map_err(io::Error::other)?;
            rows.push(row);
            rest = after;
        }
        Ok(rows)
    }

    pub(super) fn remove(&mut self, part: Part) -> io::Result<()> {
        self.parts.retain(|one| *one != part);
        fs::remove_file(part.file(&self.folder))
    }
}
