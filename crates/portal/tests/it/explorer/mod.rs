//! The explorer, the study and the operator's pages, over the router and a real chain.

mod chain_pages;
mod operator;
mod recorded;
mod study;
mod world;
