//! How everything looks: the page around what is shown, and the parts that pages are made of. The style sheet is
//! `assets/salus.css`; nothing has a style of its own.

pub(crate) mod chart;
pub(crate) mod faults;
pub(crate) mod layout;
pub(crate) mod parts;
