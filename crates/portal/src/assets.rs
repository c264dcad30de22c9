//! What is served as it stands: the style sheet, the script, the picture in the tab. All of it is in the binary.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

use crate::fault::Fault;

/// How long browsers keep a file whose address changes with its bytes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

const FILES: [(&str, &str, &[u8]); 3] = [
    ("salus.css", "text/css; charset=utf-8", include_bytes!("../assets/salus.css")),
    ("salus.js", "text/javascript; charset=utf-8", include_bytes!("../assets/salus.js")),
    ("salus.svg", "image/svg+xml", include_bytes!("../assets/salus.svg")),
];

/// The addresses of the files, each with a part that changes with its bytes.
static ADDRESSES: LazyLock<[String; 3]> = LazyLock::new(|| {
    FILES.map(|(name, _, bytes)| {
        let digest = hex::encode(&Sha256::digest(bytes)[..8]);
        format!("/assets/{digest}/{name}")
    })
});

pub(crate) fn style() -> &'static str {
    &ADDRESSES[0]
}

pub(crate) fn script() -> &'static str {
    &ADDRESSES[1]
}

pub(crate) fn icon() -> &'static str {
    &ADDRESSES[2]
}

/// `GET /assets/{digest}/{name}`. An old address gives the new file, which is then not kept.
pub(crate) async fn serve(Path((digest, name)): Path<(String, String)>) -> Result<Response, Fault> {
    let asked = format!("/assets/{digest}/{name}");
    let found = FILES.iter().zip(ADDRESSES.iter()).find(|((known, ..), _)| *known == name);
    let ((_, media_type, bytes), address) = found.ok_or(Fault::NotFound)?;
    let keep = if *address == asked { FOR_EVER } else { "no-store" };
    let headers = [(header::CONTENT_TYPE, *media_type), (header::CACHE_CONTROL, keep)];
    Ok((headers, *bytes).into_response())
}
