//! The texts of numbers within bounds, exactly.
//!
//! Bounds are decimals, `i128` in units of 10^-15, and belong to the range. A range of numbers of
//! as many digits is a walk along the digits of both bounds: while the text has followed a bound,
//! the bound says which digits may come; once it has left both, any may.

use serde_json::Number;

use super::text::{bytes, class, empty, optional};
use crate::rules::Node;

/// Decimals that a bound has.
pub(super) const PLACES: u32 = 15;

/// One, in a bound's units.
pub(super) const ONE: i128 = 10_i128.pow(PLACES);

/// The largest bound that is told from no bound at all.
const LARGEST: i128 = 10_i128.pow(PLACES + 20);

/// Bounds of a number; absent ones do not bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) least: Option<i128>,
    pub(super) most: Option<i128>,
}

impl Range {
    pub(super) fn meet(self, other: Self) -> Self {
        let of = |a: Option<i128>, b: Option<i128>, choose: fn(i128, i128) -> i128| match (a, b) {
            (Some(a), Some(b)) => Some(choose(a, b)),
            (a, b) => a.or(b),
        };
        Self {
            least: of(self.least, other.least, i128::max),
            most: of(self.most, other.most, i128::min),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        matches!((self.least, self.most), (Some(least), Some(most)) if least > most)
    }

    /// Whether it has this number; a number between two units counts as both.
    pub(super) fn may_have(self, number: &Number) -> bool {
        let (low, high) = (bound(number, Side::Most, false), bound(number, Side::Least, false));
        self.least.is_none_or(|least| high >= least) && self.most.is_none_or(|most| low <= most)
    }
}

/// The side of a range on which a bound is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Least,
    Most,
}

/// A bound in units, rounded into the range; one that excludes itself is moved to the next f64,
/// since validators compare in f64.
pub(super) fn bound(number: &Number, side: Side, exclusive: bool) -> i128 {
    let text = match (exclusive, number.as_f64()) {
        (true, Some(float)) => match side {
            Side::Least => format!("{}", float.next_up()),
            Side::Most => format!("{}", float.next_down()),
        },
        (false, Some(float)) if !number.is_i64() && !number.is_u64() => format!("{float}"),
        _ => number.to_string(),
    };
    decimal(&text, side)
}

/// A decimal without exponent in units.
fn decimal(text: &str, side: Side) -> i128 {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let (kept, lost) = fraction.split_at(fraction.len().min(PLACES as usize));
    let digits = format!("{whole}{kept:0<width$}", width = PLACES as usize);
    let units = digits.parse::<i128>().unwrap_or(i128::MAX).min(LARGEST);
    let up = lost.bytes().any(|digit| digit != b'0') && (side == Side::Least) != negative;
    let units = units + i128::from(up);
    if negative { -units } else { units }
}

/// Whether a bound says more than that a number is finite.
pub(super) fn bounds(bound: i128) -> bool {
    bound.abs() < LARGEST
}

/// The integers of a range, with as many digits where it is open as an option says.
pub(super) fn integer(range: Range, digits: u32) -> Node {
    let (least, most) = integers(range, digits);
    signed(least, most, whole)
}

/// The least and the largest integer of a range.
pub(super) fn integers(range: Range, digits: u32) -> (i128, i128) {
    let least =
        range.least.map(|least| least.div_euclid(ONE) + i128::from(least.rem_euclid(ONE) > 0));
    let most = range.most.map(|most| most.div_euclid(ONE));
    close(least, most, 1, digits)
}

/// A range that is open on a side, closed there by a number of digits of the integer part; more
/// of them where the other side has more.
fn close(least: Option<i128>, most: Option<i128>, unit: i128, digits: u32) -> (i128, i128) {
    let longest = |bound: Option<i128>| {
        let whole = (bound.unwrap_or(0) / unit).unsigned_abs();
        10_i128.pow(digits.max(if whole == 0 { 0 } else { whole.ilog10() + 1 })) * unit - 1
    };
    (least.unwrap_or_else(|| -longest(most)), most.unwrap_or_else(|| longest(least)))
}

/// The numbers of a range, with at most so many decimals.
///
/// Where the bounds have long integer parts, there are fewer decimals, so that 15 digits in all
/// are compared with them: an f64 keeps as many exactly.
pub(super) fn decimal_number(range: Range, digits: u32, decimals: u32) -> Node {
    let whole_digits = |bound: Option<i128>| {
        let whole = (bound.unwrap_or(0) / ONE).unsigned_abs();
        if whole == 0 { 1 } else { whole.ilog10() + 1 }
    };
    let longest = whole_digits(range.least).max(whole_digits(range.most));
    let decimals = decimals.min(PLACES.saturating_sub(longest));
    let unit = 10_i128.pow(PLACES - decimals);
    let least =
        range.least.map(|least| least.div_euclid(unit) + i128::from(least.rem_euclid(unit) > 0));
    let most = range.most.map(|most| most.div_euclid(unit));
    let (least, most) = close(least, most, 10_i128.pow(decimals), digits);
    signed(least, most, |a, b| with_decimals(a, b, decimals))
}

/// Numbers from `least` to `most` by the texts of magnitudes; a zero has no sign.
fn signed(least: i128, most: i128, magnitudes: impl Fn(u128, u128) -> Node) -> Node {
    if least > most {
        return Node::Never;
    }
    let mut nodes = Vec::new();
    if most >= 0 {
        nodes.push(magnitudes(least.max(0).unsigned_abs(), most.unsigned_abs()));
    }
    if least < 0 {
        nodes.push(Node::Concat(vec![
            bytes("-"),
            magnitudes(most.min(-1).unsigned_abs(), least.unsigned_abs()),
        ]));
    }
    Node::Alternate(nodes)
}

/// The whole numbers from `a` to `b`, without leading zeros.
fn whole(a: u128, b: u128) -> Node {
    let mut nodes = Vec::new();
    if a == 0 {
        nodes.push(bytes("0"));
    }
    // Lengths at which every number is in the range follow one another, and are one repetition.
    let mut full: Option<(u32, u32)> = None;
    let mut start = 1_u128;
    for length in 1.. {
        if start > b {
            break;
        }
        let end = start * 10 - 1;
        let (low, high) = (a.max(start), b.min(end));
        if (low, high) == (start, end) {
            full = Some((full.map_or(length, |(first, _)| first), length));
        } else if low <= high {
            nodes.push(same_length(&low.to_string(), &high.to_string()));
        }
        start *= 10;
    }
    if let Some((first, last)) = full {
        let digits = Node::Repeat {
            node: Box::new(digit('0', '9')),
            least: first - 1,
            most: Some(last - 1),
        };
        nodes.push(Node::Concat(vec![digit('1', '9'), digits]));
    }
    Node::Alternate(nodes)
}

/// Magnitudes from `a` to `b`, in units of the last of so many decimals.
fn with_decimals(a: u128, b: u128, decimals: u32) -> Node {
    let unit = 10_u128.pow(decimals);
    let ((a, a_rest), (b, b_rest)) = ((a / unit, a % unit), (b / unit, b % unit));
    let last = unit - 1;
    let with = |number: u128, low, high| {
        Node::Concat(vec![bytes(&number.to_string()), fraction(low, high, decimals)])
    };
    if a == b {
        return with(a, a_rest, b_rest);
    }
    let mut nodes = vec![with(a, a_rest, last), with(b, 0, b_rest)];
    if a + 1 < b {
        nodes.push(Node::Concat(vec![whole(a + 1, b - 1), fraction(0, last, decimals)]));
    }
    Node::Alternate(nodes)
}

/// The point and digits behind it, for fractions from `low` to `high` in units of the last place;
/// missing digits are zeros.
fn fraction(low: u128, high: u128, decimals: u32) -> Node {
    if decimals == 0 {
        return if low == 0 { empty() } else { Node::Never };
    }
    let width = decimals as usize;
    let (low_digits, high_digits) = (format!("{low:0width$}"), format!("{high:0width$}"));
    let digits = fraction_digits(Some(low_digits.as_bytes()), Some(high_digits.as_bytes()), width);
    let point = Node::Concat(vec![bytes("."), digits]);
    if low == 0 { optional(point) } else { point }
}

/// At least one digit of a fraction, at most `left`; a bound is given while the text follows it.
fn fraction_digits(low: Digits<'_>, high: Digits<'_>, left: usize) -> Node {
    if low.is_none() && high.is_none() {
        let most = u32::try_from(left).unwrap_or(u32::MAX);
        return Node::Repeat { node: Box::new(digit('0', '9')), least: 1, most: Some(most) };
    }
    along(low, high, &mut |low, high| {
        // Here the text may end, as if zeros followed.
        let enough = low.is_none_or(|low| low.iter().all(|&digit| digit == b'0'));
        if left == 1 {
            return if enough { empty() } else { Node::Never };
        }
        let more = fraction_digits(low, high, left - 1);
        if enough { optional(more) } else { more }
    })
}

/// Digits from `low` to `high`, which are as long.
fn same_length(low: &str, high: &str) -> Node {
    fn digits(low: Digits<'_>, high: Digits<'_>, left: u32) -> Node {
        if left == 0 {
            return empty();
        }
        if low.is_none() && high.is_none() {
            let node = Box::new(digit('0', '9'));
            return Node::Repeat { node, least: left, most: Some(left) };
        }
        along(low, high, &mut |low, high| digits(low, high, left - 1))
    }
    let left = u32::try_from(low.len()).unwrap_or(u32::MAX);
    digits(Some(low.as_bytes()), Some(high.as_bytes()), left)
}

/// Digits of a bound from where the text is, while the text follows the bound.
type Digits<'a> = Option<&'a [u8]>;

/// One digit along the bounds, then what follows for the bounds that the text still follows.
fn along(
    low: Digits<'_>,
    high: Digits<'_>,
    next: &mut dyn FnMut(Digits<'_>, Digits<'_>) -> Node,
) -> Node {
    let first = low.map_or(b'0', |low| low[0]);
    let last = high.map_or(b'9', |high| high[0]);
    let mut nodes = Vec::new();
    let mut push = |from: u8, to: u8, rest| {
        nodes.push(Node::Concat(vec![digit(char::from(from), char::from(to)), rest]));
    };
    let (low_rest, high_rest) = (low.map(|low| &low[1..]), high.map(|high| &high[1..]));
    if first == last {
        push(first, last, next(low_rest, high_rest));
        return Node::Alternate(nodes);
    }
    let (mut from, mut to) = (first, last);
    if low.is_some() {
        push(first, first, next(low_rest, None));
        from += 1;
    }
    if high.is_some() {
        push(last, last, next(None, high_rest));
        to -= 1;
    }
    if from <= to {
        push(from, to, next(None, None));
    }
    Node::Alternate(nodes)
}

/// A digit of a range.
pub(super) fn digit(from: char, to: char) -> Node {
    Node::Class(class([(from, to)]))
}

/// Any number: integer part, decimals and an exponent of one or two digits.
pub(super) fn any(digits: u32, decimals: u32) -> Node {
    let repeat =
        |least, most| Node::Repeat { node: Box::new(digit('0', '9')), least, most: Some(most) };
    let mut parts = vec![
        optional(bytes("-")),
        Node::Alternate(vec![
            bytes("0"),
            Node::Concat(vec![digit('1', '9'), repeat(0, digits - 1)]),
        ]),
    ];
    if decimals > 0 {
        parts.push(optional(Node::Concat(vec![bytes("."), repeat(1, decimals)])));
    }
    let sign = optional(Node::Class(class([('+', '+'), ('-', '-')])));
    let e = Node::Class(class([('E', 'E'), ('e', 'e')]));
    parts.push(optional(Node::Concat(vec![e, sign, repeat(1, 2)])));
    Node::Concat(parts)
}
