//! What is written for schemas, by hand.

mod errors;
mod keywords;
mod matcher;
mod numbers;
