//! The gateway's own interfaces, asked as somebody: in this process, by the same requests as everybody's.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderValue, Method, Request, StatusCode, header},
};
use domain::Reader;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{Portal, fault::Fault};

/// The longest answer that a page is made of, in bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1_024 * 1_024;

/// The gateway's own interfaces, asked as somebody.
pub(crate) struct Client<'a> {
    portal: &'a Portal,
    authorization: HeaderValue,
}

/// What an interface answered.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl<'a> Client<'a> {
    pub(crate) fn new(portal: &'a Portal, reader: Reader) -> Result<Self, Fault> {
        let token = portal.home().token(&reader)?;
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| Fault::Unavailable)?;
        authorization.set_sensitive(true);
        Ok(Self { portal, authorization })
    }

    /// What `GET /fhir/…` answers; `path` begins behind `/fhir`.
    pub(crate) async fn fhir(&self, path: &str) -> Result<Value, Fault> {
        self.fhir_raw(path).await?.ok()
    }

    /// The same, refusals included.
    pub(crate) async fn fhir_raw(&self, path: &str) -> Result<Answered, Fault> {
        self.ask(&self.portal.0.fhir, Method::GET, path, None).await
    }

    /// Every resource of a search, page by page up to `count_max`, and whether there are more.
    pub(crate) async fn search(
        &self,
        path: &str,
        count_max: usize,
    ) -> Result<(Vec<Value>, bool), Fault> {
        let mut found = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next.take() {
            let mut bundle = self.fhir(&path).await?;
            next = next_page(&bundle);
            if let Some(entries) = bundle["entry"].as_array_mut() {
                let entries =
                    entries.iter_mut().filter(|entry| entry["search"]["mode"] != "outcome");
                found.extend(entries.map(|entry| entry["resource"].take()));
            }
            if found.len() >= count_max {
                let more = next.is_some() || found.len() > count_max;
                found.truncate(count_max);
                return Ok((found, more));
            }
        }
        Ok((found, false))
    }

    /// What `GET /api/…` answers; `path` begins behind `/api`.
    pub(crate) async fn api(&self, path: &str) -> Result<Value, Fault> {
        self.ask(&self.portal.0.api, Method::GET, path, None).await?.ok()
    }

    /// What another request to `/api/…` answers, refusals included.
    pub(crate) async fn api_send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answered, Fault> {
        self.ask(&self.portal.0.api, method, path, body).await
    }

    async fn ask(
        &self,
        interface: &Router,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answered, Fault> {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = Request::builder().method(method).uri(path).body(body).map_err(|_| {
            Fault::Unusable(
                "something in this address is not understood; go back and try again".into(),
            )
        })?;
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let Ok(response) = interface.clone().oneshot(request).await;
        let status = response.status();
        let bytes = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
        let bytes = bytes.map_err(|_| Fault::Unavailable)?;
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or(Value::Null)
        };
        Ok(Answered { status, body })
    }
}

impl Answered {
    /// The body of an answer that is none of refusal.
    pub(crate) fn ok(self) -> Result<Value, Fault> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(self.fault())
    }

    /// What a refusal says, as a page says it.
    pub(crate) fn fault(&self) -> Fault {
        let text = self.text();
        match self.status {
            StatusCode::UNAUTHORIZED => Fault::SignedOut,
            StatusCode::FORBIDDEN => Fault::Refused(text),
            StatusCode::NOT_FOUND | StatusCode::GONE => Fault::NotFound,
            StatusCode::TOO_MANY_REQUESTS => Fault::TooOften(60),
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT => Fault::NotAllowed(text),
            status if status.is_client_error() => Fault::Unusable(text),
            status => {
                tracing::warn!(status = status.as_u16(), "the portal was not answered");
                Fault::Unavailable
            }
        }
    }

    /// What a problem document or an OperationOutcome says.
    fn text(&self) -> String {
        let said = self.body["detail"].as_str();
        let said = said.or_else(|| self.body["issue"][0]["diagnostics"].as_str());
        said.unwrap_or("the gateway did not say why").to_owned()
    }
}

/// The path and parameters of the next page of a search, behind `/fhir`.
pub(crate) fn next_page(bundle: &Value) -> Option<String> {
    let links = bundle["link"].as_array()?;
    let next = links.iter().find(|link| link["relation"] == "next")?["url"].as_str()?;
    let (_, path) = next.split_once("/fhir")?;
    Some(path.to_owned())
}

/// A value as a part of a URL.
pub(crate) fn encoded(value: &str) -> impl std::fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC)
}
