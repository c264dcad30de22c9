//! The header of a sealed record: what it says of itself, in the clear. Drawn in `sealed`.

use std::io::Write as _;

use domain::{Address, Kind, RecordId, RecordVersion, Timestamp};

use crate::sealed::UnsealError;
use crate::segments::NONCE_PREFIX_LEN;

/// Length of the header of format 1, in bytes.
pub(crate) const HEADER_LEN: usize = 131;

/// Length of the commitment to the content key, in bytes.
pub(crate) const COMMITMENT_LEN: usize = 32;

/// The flag of a compressed body.
pub(crate) const FLAG_COMPRESSED: u8 = 1;

const MAGIC: &[u8; 4] = b"SLRC";
const FORMAT: u8 = 1;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Content {
    /// A FHIR R4 resource, JSON as it was received.
    FhirJson = 1,
    /// Any other bytes, such as a scanned document.
    Other = 2,
}

impl Content {
    /// The number in headers and rows.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::FhirJson),
            2 => Some(Self::Other),
            _ => None,
        }
    }
}

/// What a sealed record says of itself, in the clear and bound to the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Which record.
    pub record: RecordId,
    /// Which version of it.
    pub version: RecordVersion,
    /// What it is about.
    pub kind: Kind,
    /// What the body is.
    pub content: Content,
    /// Which institution keeps it, by member address.
    pub steward: Address,
    /// Who wrote it, by member address.
    pub author: Address,
    /// When it was sealed.
    pub created: Timestamp,
}

impl Header {
    /// Reads the header of sealed bytes. It is proven only once the record opens.
    ///
    /// # Errors
    ///
    /// [`UnsealError::NotSealed`], [`UnsealError::UnknownFormat`] or [`UnsealError::Malformed`].
    pub fn read(sealed: &[u8]) -> Result<Self, UnsealError> {
        let bytes = sealed.first_chunk().ok_or(UnsealError::NotSealed)?;
        RawHeader::decode(bytes).map(|raw| raw.header)
    }
}

/// A header with the fields that only opening needs.
pub(crate) struct RawHeader {
    pub(crate) header: Header,
    pub(crate) is_compressed: bool,
    pub(crate) nonce_prefix: [u8; NONCE_PREFIX_LEN],
    pub(crate) commitment: [u8; COMMITMENT_LEN],
}

impl RawHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let Header { record, version, kind, content, steward, author, created } = &self.header;
        let flags = if self.is_compressed { FLAG_COMPRESSED } else { 0 };
        let mut bytes = [0; HEADER_LEN];
        let mut rest = bytes.as_mut_slice();
        for field in [
            MAGIC.as_slice(),
            &[FORMAT, flags, kind.number(), content.number()],
            record.0.as_slice(),
            &version.get().to_be_bytes(),
            steward.as_slice(),
            author.as_slice(),
            &created.0.to_be_bytes(),
            &self.nonce_prefix,
            &self.commitment,
        ] {
            rest.write_all(field).expect("the fields add up to the header's length");
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, UnsealError> {
        let mut fields = Fields(bytes);
        if &fields.take::<4>() != MAGIC {
            return Err(UnsealError::NotSealed);
        }
        let [format, flags, kind, content] = fields.take();
        if format != FORMAT {
            return Err(UnsealError::UnknownFormat { format });
        }
        if flags & !FLAG_COMPRESSED != 0 {
            return Err(UnsealError::Malformed);
        }
        let header = Header {
            record: RecordId(fields.take().into()),
            version: u32::from_be_bytes(fields.take())
                .try_into()
                .map_err(|_| UnsealError::Malformed)?,
            kind: kind.try_into().map_err(|_| UnsealError::Malformed)?,
            content: Content::of_number(content).ok_or(UnsealError::Malformed)?,
            steward: fields.take().into(),
            author: fields.take().into(),
            created: Timestamp(u64::from_be_bytes(fields.take())),
        };
        let (nonce_prefix, commitment) = (fields.take(), fields.take());
        Ok(Self { header, is_compressed: flags == FLAG_COMPRESSED, nonce_prefix, commitment })
    }
}

/// Takes fields of fixed length off the front of a header.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) =
            self.0.split_first_chunk().expect("the fields add up to the header's length");
        self.0 = rest;
        *field
    }
}
