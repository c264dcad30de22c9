//! The pages: plain HTML without scripts.

use std::fmt::Write as _;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{Person, params::Params};

/// What must reach the second step from the first. Everything is checked again there.
const CARRIED: &[&str] = &[
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "aud",
    "code_challenge",
    "code_challenge_method",
    "nonce",
];

const WARNING: &str = "<p><strong>For development only.</strong> Nobody is asked for a password here: \
     whoever opens this page can sign in as anybody. Never use it with data of real people.</p>";

/// An answer that is not kept, not framed, runs nothing and tells no other site where one came from.
pub(super) fn guarded(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title></head>\n\
         <body><main><h1>{title}</h1>\n{WARNING}\n{body}</main></body></html>\n"
    )
}

/// What this is.
pub(super) fn about(url: &str) -> String {
    let body = format!(
        "<p>This is the development issuer <code>{}</code>. Apps find what they need at \
         <a href=\".well-known/openid-configuration\">its configuration</a>.</p>\n",
        escape(url)
    );
    page("Development issuer", &body)
}

/// Why nobody is sent anywhere.
pub(super) fn refused(message: &str) -> String {
    page("Not possible", &format!("<p role=\"alert\">{}.</p>\n", escape(message)))
}

/// Who can be picked.
pub(super) fn pick(
    client: &str,
    scopes: &[&str],
    people: &[Person],
    wants_patient: bool,
    params: &Params,
) -> String {
    let mut form = format!(
        "<p>The app <code>{}</code> asks for:</p>\n<ul>{}</ul>\n<form method=\"post\">\n",
        escape(client),
        scopes
            .iter()
            .map(|scope| format!("<li><code>{}</code></li>", escape(scope)))
            .collect::<String>(),
    );
    // Writing to a text cannot fail.
    for name in CARRIED {
        if let Some(value) = params.get(name) {
            let value = escape(value);
            let _ = writeln!(form, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">");
        }
    }
    form.push_str("<fieldset><legend>Sign in as</legend>\n");
    for (number, person) in people.iter().enumerate() {
        let (subject, name) = (escape(&person.subject), escape(&person.name));
        let _ = writeln!(
            form,
            "<p><input type=\"radio\" name=\"person\" id=\"person-{number}\" value=\"{subject}\" \
             required> <label for=\"person-{number}\">{name}</label></p>"
        );
    }
    form.push_str("</fieldset>\n");
    if wants_patient {
        form.push_str(
            "<p><label for=\"patient\">Patient in context, by id; only for those who are not the \
             patient</label> <input name=\"patient\" id=\"patient\" maxlength=\"64\" \
             autocomplete=\"off\"></p>\n",
        );
    }
    form.push_str("<p><button type=\"submit\">Sign in</button></p>\n</form>\n");
    page("Development sign-in", &form)
}

/// Text that HTML takes for nothing else, in content and in attributes with double quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
