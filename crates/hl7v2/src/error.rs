//! What is wrong with a message, and where.

use std::fmt;

/// The segments that are named. Others may be anything, also something about somebody.
const NAMED: &[&str] = &[
    "MSH", "SFT", "UAC", "PID", "PD1", "PV1", "PV2", "NK1", "ORC", "OBR", "OBX", "NTE", "SPM",
    "TQ1", "CTD", "CTI", "FT1", "DSC", "BHS", "BTS", "FHS", "FTS", "MSA", "ERR",
];

/// A place in a message. Numbers count from 1; zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment, when its name is one that HL7 gives.
    pub segment: &'static str,
    /// Which segment of that name; of all when it has no name that HL7 gives.
    pub number: usize,
    /// Which field.
    pub field: usize,
    /// Which component.
    pub component: usize,
}

impl Place {
    /// The message as a whole.
    pub const MESSAGE: Self = Self { segment: "the message", number: 0, field: 0, component: 0 };

    /// A segment: the `number`th of its name, and at `position` of all.
    pub(crate) fn of_segment(name: &str, number: usize, position: usize) -> Self {
        let known = NAMED.iter().find(|known| **known == name);
        let (segment, number) = known.map_or(("segment", position), |known| (*known, number));
        Self { segment, number, field: 0, component: 0 }
    }

    /// A segment that has to be there.
    pub(crate) const fn missing(segment: &'static str) -> Self {
        Self { segment, number: 0, field: 0, component: 0 }
    }

    pub(crate) const fn field(self, field: usize) -> Self {
        Self { field, ..self }
    }

    pub(crate) const fn component(self, component: usize) -> Self {
        Self { component, ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.segment)?;
        if self.number > 0 {
            write!(f, "[{}]", self.number)?;
        }
        if self.field > 0 {
            write!(f, "-{}", self.field)?;
        }
        if self.component > 0 {
            write!(f, ".{}", self.component)?;
        }
        Ok(())
    }
}

/// Of which sort an error is.
///
/// # Source
///
/// HL7 table 0357, message error condition codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Segments are missing, or not in an order that a message may have.
    Sequence,
    /// A field that is needed is empty.
    Missing,
    /// What stands there is not of the field's type.
    Type,
    /// A code is not in its table, or means nothing that can be done.
    Table,
    /// Another message than `ORU`.
    MessageType,
    /// Another event than `R01`.
    Event,
    /// A test message, or one for training.
    Processing,
    /// A version that is not read.
    Version,
    /// Whom or what the message is about is not known.
    UnknownKey,
    /// The number of the message was used for another one.
    DuplicateKey,
    /// The result cannot be taken over as the order stands.
    Locked,
}

impl Code {
    /// Number and text as the table has them.
    #[must_use]
    pub const fn of_table(self) -> (u16, &'static str) {
        match self {
            Self::Sequence => (100, "Segment sequence error"),
            Self::Missing => (101, "Required field missing"),
            Self::Type => (102, "Data type error"),
            Self::Table => (103, "Table value not found"),
            Self::MessageType => (200, "Unsupported message type"),
            Self::Event => (201, "Unsupported event code"),
            Self::Processing => (202, "Unsupported processing id"),
            Self::Version => (203, "Unsupported version id"),
            Self::UnknownKey => (204, "Unknown key identifier"),
            Self::DuplicateKey => (205, "Duplicate key identifier"),
            Self::Locked => (206, "Application record locked"),
        }
    }

    /// Whether it is the kind of message that is not taken (`AR`), rather than this one (`AE`).
    #[must_use]
    pub const fn is_rejection(self) -> bool {
        matches!(self, Self::MessageType | Self::Event | Self::Processing | Self::Version)
    }
}

/// Why a message is not taken. It names a place, and never says what stands there (S1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} {what}")]
pub struct ReadError {
    /// Where.
    pub place: Place,
    /// Of which sort.
    pub code: Code,
    /// What is wrong there.
    pub what: &'static str,
}

impl ReadError {
    /// An error at a place.
    #[must_use]
    pub const fn new(place: Place, code: Code, what: &'static str) -> Self {
        Self { place, code, what }
    }

    pub(crate) const fn missing(place: Place) -> Self {
        Self::new(place, Code::Missing, "is empty")
    }
}
