//! The formats of strings. Each is a part of what its specification allows.

use super::pattern::whole;
use crate::rules::Node;

/// Names of the formats that have patterns, for messages.
pub(super) const NAMES: &str = "date, time, date-time, email, hostname, ipv4, ipv6, uuid and uri";

/// A format's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Characters, not yet as they stand in a string.
    pub(super) node: Node,
    /// Characters at most, where the specification bounds parts of the text.
    pub(super) most: Option<u32>,
}

/// Days of every month; the 29th of February only in leap years.
const DATE: &str = "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])\
    |(0[469]|11)-(0[1-9]|[12][0-9]|30)\
    |02-(0[1-9]|1[0-9]|2[0-8]))\
    |([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)";

/// Without leap seconds, which come once in years and only at some hour of each zone.
const TIME: &str = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?\
    (Z|[+\\-]([01][0-9]|2[0-3]):[0-5][0-9])";

/// Labels without two hyphens side by side, since those at places 3 and 4 mean something.
const LABEL: &str = "[0-9A-Za-z]+(-[0-9A-Za-z]+)*";

/// Characters of the part before `@`, beside points.
const ATOM: &str = "[0-9A-Za-z!#$%&'*+/=?^_`{|}~\\-]+";

/// A number below 256.
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";

/// Characters of a path's segment, or a byte in percent encoding.
const PATH: &str = "([0-9A-Za-z\\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})";

/// The texts of a format; nothing if it has no pattern here.
pub(super) fn format(name: &str) -> Option<Format> {
    let (pattern, most) = match name {
        "date" => (DATE.to_owned(), None),
        "time" => (TIME.to_owned(), None),
        "date-time" => (format!("{DATE}T{TIME}"), None),
        // A label has at most 63 characters, so a name as long in all is within every bound.
        "hostname" => (format!("{LABEL}(\\.{LABEL})*"), Some(63)),
        // Before `@` are at most 64 characters.
        "email" => (format!("{ATOM}(\\.{ATOM})*@{LABEL}(\\.{LABEL})*"), Some(64)),
        "ipv4" => (format!("({OCTET}\\.){{3}}{OCTET}"), None),
        "ipv6" => (ipv6(), None),
        "uuid" => ("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}".to_owned(), None),
        "uri" => (
            format!(
                "[A-Za-z][0-9A-Za-z+.\\-]*://{LABEL}(\\.{LABEL})*(:[0-9]{{1,4}})?\
                 (/{PATH}*)*(\\?({PATH}|[/?])*)?(#({PATH}|[/?])*)?"
            ),
            None,
        ),
        _ => return None,
    };
    whole(&pattern).ok().map(|node| Format { node, most })
}

/// Eight groups, or fewer around a `::` that stands for the others.
fn ipv6() -> String {
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";
    let mut all = vec![format!("({GROUP}:){{7}}{GROUP}")];
    all.push(format!(":(:{GROUP}){{1,7}}|::"));
    for before in 1..=7 {
        // Behind the first colons are at most so many groups that eight are not exceeded.
        let after = 7 - before;
        all.push(if after == 0 {
            format!("({GROUP}:){{7}}:")
        } else {
            format!("({GROUP}:){{{before}}}((:{GROUP}){{1,{after}}}|:)")
        });
    }
    format!("({})", all.join("|"))
}
