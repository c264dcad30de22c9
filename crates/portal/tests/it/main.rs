//! Tests of the portal.

mod doors;
mod explorer;
mod house;
