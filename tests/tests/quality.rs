//! The table "Quality of int8" says what is measured now.

use std::fs;

use kinglet_tests::quality::{
    LIMIT, from_csv, measure, readme_path, record_path, to_csv, with_table,
};

const REMAKE: &str = "cargo run --release -p kinglet-tests --example quality";

/// Figures may move by this: exp and tanh of the reference differ by a last place
/// between systems, and the record is rounded.
const DRIFT: f64 = 5e-3;

#[test]
fn the_record_is_what_is_measured() {
    let recorded = from_csv(&fs::read_to_string(record_path()).unwrap());
    let measured = measure();
    assert_eq!(recorded.len(), measured.len());
    for (recorded, measured) in recorded.iter().zip(&measured) {
        assert_eq!(recorded.model, measured.model);
        assert_eq!(recorded.positions, measured.positions);
        for (old, new) in recorded.figures.iter().zip(measured.figures) {
            let drift = (new / old - 1.0).abs();
            assert!(drift <= DRIFT, "{measured:?}, recorded {recorded:?}; remake it: {REMAKE}");
        }
        assert!(measured.of_plain() <= LIMIT, "{measured:?}");
    }
}

#[test]
fn the_readme_has_the_recorded_table() {
    let recorded = from_csv(&fs::read_to_string(record_path()).unwrap());
    assert_eq!(from_csv(&to_csv(&recorded)), recorded);
    let readme = fs::read_to_string(readme_path()).unwrap();
    assert!(with_table(&readme, &recorded) == readme, "the table is not the record's: {REMAKE}");
}
