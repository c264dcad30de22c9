//! How somebody wants pages to look: language, light or dark, size of text. Kept in a cookie that says nothing else.

use axum::http::HeaderMap;

use crate::words::{self, Words};

/// The cookie.
pub(crate) const COOKIE: &str = "__Host-salus-look";

/// A language that patients' pages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    English,
    Irish,
}

/// Light or dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the device is set.
    #[default]
    Auto,
    Light,
    Dark,
}

/// How pages look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) language: Language,
    pub(crate) theme: Theme,
    pub(crate) is_large: bool,
}

impl Language {
    /// The BCP 47 tag.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Irish => "ga",
        }
    }
}

impl Theme {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Look {
    /// As the request's cookie says; what is not understood there is as if it were not there.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        cookie(headers, COOKIE).map_or_else(Self::default, Self::parse)
    }

    /// Reads `language.theme.text`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split('.');
        let language = match parts.next() {
            Some("ga") => Language::Irish,
            _ => Language::English,
        };
        let theme = match parts.next() {
            Some("light") => Theme::Light,
            Some("dark") => Theme::Dark,
            _ => Theme::Auto,
        };
        Self { language, theme, is_large: parts.next() == Some("large") }
    }

    /// As `Set-Cookie` wants it: for a year.
    pub(crate) fn set_cookie(self) -> String {
        let (language, theme) = (self.language.tag(), self.theme.name());
        let text = if self.is_large { "large" } else { "normal" };
        format!(
            "{COOKIE}={language}.{theme}.{text}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=31536000"
        )
    }

    pub(crate) const fn words(self) -> &'static Words {
        match self.language {
            Language::English => &words::ENGLISH,
            Language::Irish => &words::IRISH,
        }
    }
}

/// The value of a cookie. Of several of the same name, the first.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(axum::http::header::COOKIE).into_iter();
    let pairs = cookies.filter_map(|cookies| cookies.to_str().ok()).flat_map(|all| all.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_what_its_cookie_says() {
        let look = Look { language: Language::Irish, theme: Theme::Dark, is_large: true };
        let set = look.set_cookie();
        let value = set.split(['=', ';']).nth(1).unwrap();
        assert_eq!(Look::parse(value), look);
        assert_eq!(Look::parse("<script>"), Look::default());
    }
}
