//! What int8 costs every architecture: the table of the quantizer's README, from the fixtures
//! and the shipped model.

use std::path::{Path, PathBuf};

use half::f16;
use kinglet::format::tensors::{self, Storage, TensorName};
use kinglet::kernels::scalar::Scalar;
use kinglet_quantize::checkpoint::Checkpoint;
use kinglet_quantize::quality::{self, Quality, SAMPLE_LEN, SAMPLE_SEED, SAMPLES};
use kinglet_quantize::reference::{MAX_BATCH, Reference};

use crate::fixture::{Fixture, load};
use crate::metrics::mean_cosine_loss;
use crate::quantized::{ModelBytes, with_engine};
use crate::tensor::{Tensor, Tensors};

/// One fixture of each architecture.
const FIXTURES: [&str; 8] = ["v4", "v5_0", "v5_1", "v5_2", "v6", "v7", "v7_dummy", "v7a"];
/// Most that int8 may cost, in units of what plain rounding costs.
pub const LIMIT: f64 = 1.2;
/// Inputs that share a scale in plain rounding.
const PLAIN_GROUP: usize = 32;
/// Columns of the record.
const HEADER: &str =
    "model,positions,kl_nats,top1_agreement,perplexity_ratio,cosine_loss,plain_cosine_loss";
/// Marks around the table.
const MARKS: [&str; 2] = ["<!-- quality -->\n", "<!-- /quality -->\n"];

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The fixture, or the shipped model.
    pub model: String,
    /// Positions at which int8 and the checkpoint were compared.
    pub positions: usize,
    /// Mean KL divergence in nats, top-1 agreement, perplexity of int8 over that
    /// of the checkpoint, 1 - mean cosine of int8, and that of plain rounding.
    pub figures: [f64; 5],
}

impl Row {
    fn new(model: &str, quality: &Quality, plain: f64) -> Self {
        let Quality { kl, top1, cosine_loss, .. } = *quality;
        let figures = [kl, top1, quality.perplexity_ratio(), cosine_loss, plain];
        Self { model: model.to_owned(), positions: quality.positions, figures }
    }

    /// What int8 costs in units of what plain rounding costs.
    #[must_use]
    pub fn of_plain(&self) -> f64 {
        self.figures[3] / self.figures[4]
    }
}

/// Computes the table.
///
/// # Panics
///
/// When a fixture cannot be read or run.
#[must_use]
pub fn measure() -> Vec<Row> {
    let fixtures = FIXTURES.map(|name| {
        let fixture = Fixture::named(&format!("golden/{name}"));
        row(name, &fixture.path("model.pth"), Some(fixture.tokens().expect("token ids")))
    });
    let shipped = root().join("models/stories/stories.pth");
    fixtures.into_iter().chain([row("stories", &shipped, None)]).collect()
}

/// Compares int8 with a checkpoint on `tokens`, or on texts of the model's own.
fn row(name: &str, path: &Path, tokens: Option<Vec<u32>>) -> Row {
    let (bytes, _) = ModelBytes::quantize(path);
    let checkpoint = Checkpoint::open(path).expect("a readable checkpoint");
    let mut reference = Reference::open(&checkpoint).expect("a whole checkpoint");
    let model = bytes.model().expect("a sound model");
    with_engine(model, Scalar, SAMPLES, MAX_BATCH, |engine| {
        let sequences = match tokens {
            Some(tokens) => vec![tokens],
            None => quality::samples(engine, SAMPLES, SAMPLE_LEN, SAMPLE_SEED).expect("samples"),
        };
        let quality = quality::measure(&mut reference, engine, &sequences, &mut |_| ());
        let plain = plain_loss(&checkpoint, &mut reference, &sequences);
        Row::new(name, &quality.expect("finite logits"), plain)
    })
}

/// 1 - mean cosine of the logits with weights rounded plainly.
fn plain_loss(
    checkpoint: &Checkpoint,
    reference: &mut Reference<'_>,
    sequences: &[Vec<u32>],
) -> f64 {
    let mut rounded = Reference::new(plain(checkpoint)).expect("the same tensors");
    let mut both = [Vec::new(), Vec::new()];
    for tokens in sequences {
        reference.reset();
        rounded.reset();
        both[0].extend(rounded.forward(tokens));
        both[1].extend(reference.forward(tokens));
    }
    mean_cosine_loss(&both[0], &both[1], reference.vocab())
}

/// The checkpoint's tensors with every matrix rounded to the nearest of 255 int8
/// levels: an f16 scale per output and group of 32 inputs, nothing chosen.
fn plain(checkpoint: &Checkpoint) -> Tensors {
    let shape = kinglet_quantize::shape(checkpoint).expect("an RWKV checkpoint");
    let mut all = load(checkpoint.path()).expect("a readable checkpoint");
    let specs = (0..tensors::tensor_count(&shape)).map(|index| tensors::tensor(&shape, index));
    // Parts of one tensor come together.
    let mut done = String::new();
    for (layer, spec) in specs.filter(|(_, spec)| spec.storage != Storage::Vector) {
        let name = TensorName { layer, name: spec.stored_name() }.to_string();
        let Some(tensor) = all.get_mut(&name).filter(|_| name != done) else { continue };
        *tensor = if spec.transposed {
            let mut turned = tensor.transposed();
            round(&mut turned);
            turned.transposed()
        } else {
            let mut rounded = tensor.clone();
            round(&mut rounded);
            rounded
        };
        done = name;
    }
    all
}

/// Rounds in groups along the last dimension.
fn round(tensor: &mut Tensor) {
    let inputs = *tensor.shape.last().expect("a matrix");
    for row in tensor.data.chunks_mut(inputs) {
        for group in row.chunks_mut(PLAIN_GROUP) {
            let largest = group.iter().fold(0.0f64, |m, w| m.max(w.abs()));
            let step = f16::from_f64(largest / 127.0).to_f64();
            if step > 0.0 {
                group.iter_mut().for_each(|w| {
                    *w = (*w / step).round_ties_even().clamp(-127.0, 127.0) * step;
                });
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The record of the table's figures.
#[must_use]
pub fn record_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/quality.csv")
}

/// The quantizer's README, which has the table.
#[must_use]
pub fn readme_path() -> PathBuf {
    root().join("quantize/README.md")
}

/// The record of `rows`, with four significant digits.
#[must_use]
pub fn to_csv(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let [kl, top1, ratio, int8, plain] = row.figures;
        let Row { model, positions, .. } = row;
        format!("{model},{positions},{kl:.3e},{top1:.4},{ratio:.5},{int8:.3e},{plain:.3e}\n")
    };
    format!("{HEADER}\n{}", rows.iter().map(line).collect::<String>())
}

/// Reads what [`to_csv`] wrote.
///
/// # Panics
///
/// When it is anything else.
#[must_use]
pub fn from_csv(text: &str) -> Vec<Row> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(HEADER));
    let row = |line: &str| {
        let (model, rest) = line.split_once(',').expect("columns");
        let (positions, figures) = rest.split_once(',').expect("columns");
        let figures = figures.split(',').map(|figure| figure.parse().expect("a number"));
        Row {
            model: model.to_owned(),
            positions: positions.parse().expect("a number"),
            figures: figures.collect::<Vec<_>>().try_into().expect("five figures"),
        }
    };
    lines.map(row).collect()
}

/// The table as the README has it.
fn table(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let [kl, top1, ratio, int8, plain] = row.figures;
        let Row { model, positions, .. } = row;
        let top1 = 100.0 * top1;
        let of_plain = row.of_plain();
        format!(
            "| `{model}` | {positions} | {kl:.1e} | {top1:.1} % | {ratio:.4} | {int8:.1e} | \
             {plain:.1e} | {of_plain:.2} |\n"
        )
    };
    let head = "| | tokens | KL, nats | top-1 | perplexity | 1 - cosine | of plain G32 | ratio |\n\
                |---|--:|--:|--:|--:|--:|--:|--:|\n";
    format!("{head}{}", rows.iter().map(line).collect::<String>())
}

/// `readme` with the table of `rows` between its marks.
///
/// # Panics
///
/// When the marks are not there.
#[must_use]
pub fn with_table(readme: &str, rows: &[Row]) -> String {
    let [begin, end] = MARKS;
    let (before, rest) = readme.split_once(begin).expect("the mark before the table");
    let (_, after) = rest.split_once(end).expect("the mark after the table");
    format!("{before}{begin}{}{end}{after}", table(rows))
}
