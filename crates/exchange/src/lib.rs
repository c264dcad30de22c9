//! Move sealed records between institutions.
