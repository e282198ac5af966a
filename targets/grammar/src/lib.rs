//! Grammars compiled to the tables of `kinglet::grammar`.
#![forbid(unsafe_code)]

pub mod rules;
pub mod schema;
