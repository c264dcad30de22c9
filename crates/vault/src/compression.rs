//! Making bodies smaller, and expanding them within bounds.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, Read};

use zstd::zstd_safe::{DCtx, DParameter, ResetDirective};

/// The fast end: higher levels make FHIR JSON a few per cent smaller at several times the cost.
pub(crate) const ZSTD_LEVEL: i32 = 1;

/// The largest window a frame may ask for, 8 MiB, so that opening needs little memory. Our own level
/// needs 512 KiB.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The body as one frame; `None` when there is no memory for it.
pub(crate) fn compress(body: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        // Making a compressor costs more than compressing one record with it.
        static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
            RefCell::new(zstd::bulk::Compressor::new(ZSTD_LEVEL).ok());
    }
    COMPRESSOR.with_borrow_mut(|compressor| compressor.as_mut()?.compress(body).ok())
}

/// What zstd needs to expand a frame. Making one costs more than expanding a short record with it, so
/// each thread keeps one that did its work.
pub(crate) struct Decompressor(DCtx<'static>);

thread_local! {
    static DECOMPRESSOR: Cell<Option<Decompressor>> = const { Cell::new(None) };
}

impl Decompressor {
    pub(crate) fn take() -> io::Result<Self> {
        if let Some(kept) = DECOMPRESSOR.take() {
            return Ok(kept);
        }
        let failed = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(failed)?;
        Ok(Self(context))
    }

    /// What one frame expands to.
    pub(crate) fn expand<'c, R: BufRead>(&'c mut self, frame: R) -> impl Read + use<'c, R> {
        zstd::stream::read::Decoder::with_context(frame, &mut self.0).single_frame()
    }

    /// Keeps it for the next record, when the last one went well.
    pub(crate) fn give_back(mut self) {
        if self.0.reset(ResetDirective::SessionOnly).is_ok() {
            DECOMPRESSOR.set(Some(self));
        }
    }
}
