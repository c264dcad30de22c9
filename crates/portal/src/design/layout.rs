//! The page around what is shown: its head, navigation by role, messages, foot.

use domain::{ProfessionalRole as Role, Reader};
use maud::{DOCTYPE, Markup, html};

use super::parts::{Tone, csrf, notice};
use crate::{assets, look::Theme, visitor::Visitor};

/// A link of the navigation.
struct Link(&'static str, &'static str);

/// A whole page.
pub(crate) fn page(visitor: &Visitor, title: &str, content: Markup) -> Markup {
    let (look, words) = (visitor.look, visitor.words());
    let institution = &visitor.portal.home().institution().name;
    html! {
        (DOCTYPE)
        html lang=(look.language.tag()) data-theme=(look.theme.name()) data-text=[look.is_large.then_some("large")] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content=(match look.theme {
                    Theme::Auto => "light dark",
                    Theme::Light => "light",
                    Theme::Dark => "dark",
                });
                @if visitor.session.is_some() { meta name="salus-csrf" content=(visitor.csrf()); }
                title { (title) " – Salus" }
                link rel="icon" type="image/svg+xml" href=(assets::icon());
                link rel="stylesheet" href=(assets::style());
                script type="module" src=(assets::script()) {}
            }
            body {
                a class="skip" href="#content" { (words.skip) }
                header class="top" {
                    a class="brand" href="/" {
                        span class="mark" aria-hidden="true" {}
                        span class="brand-name" { "Salus" }
                        span class="brand-place" { (institution) }
                    }
                    (account(visitor))
                }
                @let links = links(visitor);
                @if !links.is_empty() {
                    nav class="main" aria-label=(words.navigation) {
                        ul {
                            @for Link(path, label) in &links {
                                li { a href=(path) aria-current=[is_current(&visitor.path, path, &links).then_some("page")] { (label) } }
                            }
                        }
                    }
                }
                main id="content" tabindex="-1" {
                    @if let Some(message) = &visitor.message {
                        div role="status" { (notice(Tone::Good, message, html! {})) }
                    }
                    h1 { (title) }
                    (content)
                }
                (foot(visitor))
            }
        }
    }
}

/// Who is signed in, and the way out.
fn account(visitor: &Visitor) -> Markup {
    let words = visitor.words();
    html! {
        div class="account" {
            @if let Some(reader) = &visitor.reader {
                a class="who" href="/account" {
                    span class="who-name" { (visitor.name(reader.address())) }
                    span class="who-role" { (role(reader, words.patient)) }
                }
                form method="post" action="/sign-out" {
                    (csrf(visitor))
                    button class="quiet" type="submit" { (words.sign_out) }
                }
            } @else {
                a class="button" href="/sign-in" { (words.sign_in) }
            }
        }
    }
}

/// A role as people say it.
fn role(reader: &Reader, patient: &'static str) -> String {
    match reader {
        Reader::Patient { .. } => patient.to_owned(),
        Reader::Professional { role, .. } => role.to_string().replace('-', " "),
        Reader::Institution { role, .. } => role.to_string().replace('-', " "),
    }
}

/// The longest link that the path is at or below.
fn is_current(path: &str, link: &str, links: &[Link]) -> bool {
    let is_at =
        |link: &str| path == link || path.starts_with(link) && path[link.len()..].starts_with('/');
    let longest = links
        .iter()
        .map(|Link(path, _)| *path)
        .filter(|link| is_at(link))
        .max_by_key(|link| link.len());
    longest == Some(link)
}

/// Where somebody goes every day.
fn links(visitor: &Visitor) -> Vec<Link> {
    let words = visitor.words();
    let mut links = match &visitor.reader {
        None => return vec![],
        Some(Reader::Patient { .. }) => {
            return vec![
                Link("/patient", words.home),
                Link("/patient/records", words.records),
                Link("/patient/sharing", words.sharing),
                Link("/patient/looked", words.looked),
                Link("/patient/inbox", words.inbox),
                Link("/patient/timeline", words.timeline),
            ];
        }
        Some(Reader::Professional { role, .. }) => match role {
            Role::Physician | Role::Surgeon | Role::Nurse | Role::Paramedic => {
                vec![Link("/clinician", "Patients"), Link("/clinician/inbox", "Inbox")]
            }
            _ => vec![],
        },
        Some(Reader::Institution { .. }) => vec![Link("/operator", "Operator")],
    };
    links.extend([Link("/explorer", "Explorer"), Link("/study", "Cost study")]);
    links
}

/// How the page looks can be changed on every page.
fn foot(visitor: &Visitor) -> Markup {
    let (look, words) = (visitor.look, visitor.words());
    let button = |value: &str, label: &str, tag: Option<&str>| {
        html! { button class="quiet" type="submit" name="look" value=(value) lang=[tag] { (label) } }
    };
    html! {
        footer {
            form method="post" action="/look" {
                @if visitor.session.is_some() { (csrf(visitor)) }
                input type="hidden" name="back" value=(visitor.path);
                @if look.language.tag() == "en" { (button("ga", "Gaeilge", Some("ga"))) }
                @else { (button("en", "English", Some("en"))) }
                @if look.theme == Theme::Dark { (button("light", words.light, None)) }
                @else if look.theme == Theme::Light { (button("dark", words.dark, None)) }
                @else { (button("dark", words.dark, None)) (button("light", words.light, None)) }
                @if look.is_large { (button("normal", words.normal_text, None)) }
                @else { (button("large", words.large_text, None)) }
            }
            @if visitor.portal.home().demonstration().is_some() {
                p class="demo" { (words.demonstration) }
            }
        }
    }
}
