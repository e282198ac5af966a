//! Measures what int8 costs every architecture, and writes the record and the
//! README's table: `cargo run --release -p kinglet-tests --example quality`.

use std::fs;
use std::io;

use kinglet_tests::quality::{from_csv, measure, readme_path, record_path, to_csv, with_table};

fn main() -> io::Result<()> {
    let record = to_csv(&measure());
    fs::write(record_path(), &record)?;
    let readme = fs::read_to_string(readme_path())?;
    // From the rounded figures, as the test reads them.
    fs::write(readme_path(), with_table(&readme, &from_csv(&record)))
}
