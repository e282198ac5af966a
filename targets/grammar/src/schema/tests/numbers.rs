//! Ranges of numbers, against arithmetic.

use proptest::prelude::*;

use super::matcher::accepts;
use crate::schema::{Options, rules};

/// Whether integers around the bounds, and others, are written exactly if they are within.
fn check_integers(least: i64, most: i64, others: &[i64]) {
    let schema = format!(r#"{{"type":"integer","minimum":{least},"maximum":{most}}}"#);
    let rules = rules(&schema, &Options::default()).expect("a range that is not empty");
    let around = [least, most]
        .into_iter()
        .flat_map(|bound| (-2..=2).filter_map(move |offset| bound.checked_add(offset)));
    for number in around.chain(others.iter().copied()).chain([0, -1, 1, 9, 10, i64::MAX, i64::MIN])
    {
        let within = (least..=most).contains(&number);
        assert_eq!(accepts(&rules, &number.to_string()), within, "{number} in {least}..={most}");
    }
    assert!(!accepts(&rules, "-0") && !accepts(&rules, "00") && !accepts(&rules, "0.0"));
}

/// A number of up to 19 digits, short ones as often as long ones.
fn integer() -> impl Strategy<Value = i64> {
    (any::<i64>(), 0..=63_u32).prop_map(|(number, shift)| number >> shift)
}

/// A decimal of up to four places in units of the fourth, as text.
fn decimal(units: i64) -> String {
    let magnitude = units.unsigned_abs();
    let sign = if units < 0 { "-" } else { "" };
    format!("{sign}{}.{:04}", magnitude / 10_000, magnitude % 10_000)
}

proptest! {
    #[test]
    fn integers(a in integer(), b in integer(), others in prop::collection::vec(integer(), 20)) {
        check_integers(a.min(b), a.max(b), &others);
    }

    #[test]
    fn open_integers(bound in -1_000_000_000_000_i64..1_000_000_000_000, others in prop::collection::vec(-999_999_999_999_999_i64..=999_999_999_999_999, 20)) {
        let options = Options::default();
        let above = rules(&format!(r#"{{"type":"integer","exclusiveMinimum":{bound}}}"#), &options).expect("a range");
        let below = rules(&format!(r#"{{"type":"integer","maximum":{bound}}}"#), &options).expect("a range");
        for number in others.into_iter().chain([bound - 1, bound, bound + 1]) {
            prop_assert_eq!(accepts(&above, &number.to_string()), number > bound);
            prop_assert_eq!(accepts(&below, &number.to_string()), number <= bound);
        }
    }

    /// Bounds of four decimals; numbers of four decimals and fewer, around them and elsewhere.
    #[test]
    fn decimals(
        a in -99_999_999_i64..99_999_999, b in -99_999_999_i64..99_999_999, shift in 0..27_u32,
        others in prop::collection::vec(-99_999_999_i64..99_999_999, 20),
    ) {
        let (least, most) = ((a >> shift).min(b >> shift), (a >> shift).max(b >> shift));
        let schema = format!(r#"{{"type":"number","minimum":{},"maximum":{}}}"#, decimal(least), decimal(most));
        let rules = rules(&schema, &Options { decimals: 4, ..Options::default() }).expect("a range");
        let others = others.into_iter().flat_map(|number| [number, number >> shift, number >> shift << 4]);
        for units in others.chain((-3..=3).flat_map(|offset| [least + offset, most + offset])) {
            let within = (least..=most).contains(&units);
            let full = decimal(units);
            let short = full.trim_end_matches('0').trim_end_matches('.');
            for text in [full.as_str(), short] {
                // A zero has no sign.
                let expected = within && text != "-0" && !(units == 0 && text.starts_with('-'));
                prop_assert_eq!(accepts(&rules, text), expected, "{} for {}", text, schema);
            }
            let longer = [format!("{full}0"), format!("0{full}")];
            prop_assert!(!longer.iter().any(|text| accepts(&rules, text)));
        }
    }

    /// What is written for an exclusive bound is beyond it as an f64 too.
    #[test]
    fn exclusive(bound in -1000.0..1000.0_f64, offset in 0..10_u64) {
        let schema = format!(r#"{{"type":"number","exclusiveMinimum":{bound},"maximum":2000}}"#);
        let rules = rules(&schema, &Options::default()).expect("a range");
        let units = (bound * 1e9) as i64 + i64::try_from(offset).unwrap_or(0) - 5;
        let text = format!("{}{}.{:09}", if units < 0 { "-" } else { "" },
            units.unsigned_abs() / 1_000_000_000, units.unsigned_abs() % 1_000_000_000);
        let number: f64 = text.parse().expect("a number");
        prop_assert_eq!(accepts(&rules, &text), number > bound, "{} above {}", text, bound);
    }
}

#[test]
fn bounds_of_i64() {
    check_integers(i64::MIN, i64::MAX, &[]);
    check_integers(0, 0, &[]);
    check_integers(-1, 0, &[]);
    check_integers(99, 1000, &[100, 999]);
}

#[test]
fn bounds_that_are_no_integers() {
    let rules =
        rules(r#"{"type":"integer","minimum":-1.5,"exclusiveMaximum":2.5}"#, &Options::default());
    let rules = rules.expect("a range");
    for (number, within) in [("-2", false), ("-1", true), ("0", true), ("2", true), ("3", false)] {
        assert_eq!(accepts(&rules, number), within, "{number}");
    }
}

#[test]
fn multiples() {
    let schema = r#"{"type":"number","multipleOf":5,"minimum":-7,"maximum":12}"#;
    let rules = rules(schema, &Options::default()).expect("multiples");
    for (number, within) in
        [("-10", false), ("-5", true), ("0", true), ("3", false), ("10", true), ("15", false)]
    {
        assert_eq!(accepts(&rules, number), within, "{number}");
    }
}
