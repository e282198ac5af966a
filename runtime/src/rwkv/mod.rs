//! The forward pass of every architecture, a file each, and what they share.

pub(crate) mod batch;
pub(crate) mod channel_mix;
pub(crate) mod scratch;
pub(crate) mod v4;
pub(crate) mod v5;
pub(crate) mod v6;
pub(crate) mod v7;
pub(crate) mod v7a;
pub(crate) mod wkv;
