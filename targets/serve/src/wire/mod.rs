//! What stands in requests and answers.

pub(crate) mod fields;
pub(crate) mod messages;
pub(crate) mod options;
pub(crate) mod parts;

pub(crate) use self::fields::Fields;
pub(crate) use self::messages::Conversation;
pub(crate) use self::options::{Options, ReturnState};
