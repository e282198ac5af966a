//! Adapters against their formulas, written out element by element in f64.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kinglet_quantize::checkpoint::{Checkpoint, Merged, Problem, Role};
use proptest::prelude::*;
use support::safetensors_f32;
use tempfile::TempDir;

type File = Vec<(&'static str, Vec<usize>, Vec<f32>)>;

const MATRIX: &str = "blocks.0.att.key.weight";
const BLOCK: &str = "blocks.0.att.key.bone";
const DISHA: &str = "blocks.0.att.key.disha";
const A: &str = "blocks.0.att.key.lora_A";
const B: &str = "blocks.0.att.key.lora_B";
const START_A: &str = "blocks.0.att.key.init_lora_A";
const START_B: &str = "blocks.0.att.key.init_lora_B";

/// Files of tensors in a folder of their own.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self, name: &str, file: &File) -> Checkpoint {
        std::fs::write(self.path(name), safetensors_f32(file)).unwrap();
        Checkpoint::open(&self.path(name)).unwrap()
    }
}

/// Merges adapter files into a base; the base's tensors after it, or the refusal.
fn merge(
    base: &File,
    adapters: &[File],
    alpha: Option<f64>,
) -> Result<(Merged, BTreeMap<String, Vec<f32>>), Problem> {
    let files = Files::new();
    let mut base = files.open("base", base);
    let adapters = adapters.iter().enumerate();
    let adapters = adapters.map(|(i, file)| files.open(&format!("adapter-{i}"), file)).collect();
    let merged = support::problem_of(base.merge(adapters, alpha))?;
    let mut values = Vec::new();
    let tensors = base.tensors().map(|tensor| {
        tensor.read_all(&mut values);
        (tensor.name().to_owned(), values.clone())
    });
    Ok((merged, tensors.collect()))
}

fn values(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn tensor(name: &'static str, shape: &[usize], seed: u32) -> (&'static str, Vec<usize>, Vec<f32>) {
    (name, shape.to_vec(), values(shape.iter().product(), seed))
}

/// Each element by `f(output, input)`, in f64.
fn by_formula(outputs: usize, inputs: usize, f: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..outputs * inputs).map(|at| f(at / inputs, at % inputs)).collect()
}

/// Products of f32 numbers below 1, at most `terms` of them, summed in f32.
fn assert_close(found: &[f32], expected: &[f64], terms: usize) {
    assert_eq!(found.len(), expected.len());
    let allowed = 2.0 * (terms + 2) as f64 * f64::from(f32::EPSILON) * (terms + 1) as f64;
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= allowed, "{found} is not {expected} at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lora_adds_the_scaled_product(
        (outputs, inputs, rank) in (1usize..40, 1usize..40, 1usize..9),
        alpha in 0.5f64..64.0,
    ) {
        let base = vec![tensor(MATRIX, &[outputs, inputs], 1)];
        let adapter = vec![tensor(A, &[rank, inputs], 2), tensor(B, &[outputs, rank], 3)];
        let (w, a, b) = (&base[0].2, &adapter[0].2, &adapter[1].2);
        let expected = by_formula(outputs, inputs, |o, i| {
            let product = |k| f64::from(b[o * rank + k]) * f64::from(a[k * inputs + i]);
            let sum: f64 = (0..rank).map(product).sum();
            (f64::from(w[o * inputs + i]) + alpha / rank as f64 * sum) / (1.0 + alpha)
        });
        let (merged, tensors) = merge(&base, &[adapter], Some(alpha)).unwrap();
        prop_assert_eq!(merged.lora, 1);
        let found: Vec<f32> =
            tensors[MATRIX].iter().map(|x| (f64::from(*x) / (1.0 + alpha)) as f32).collect();
        assert_close(&found, &expected, rank);
    }

    #[test]
    fn pissa_takes_its_start_away(
        (outputs, inputs, rank, start) in (1usize..40, 1usize..40, 1usize..9, 1usize..9),
        two_files in any::<bool>(),
        alpha in prop::option::of(1.0f64..64.0),
    ) {
        let base = vec![tensor(MATRIX, &[outputs, inputs], 1)];
        let trained = vec![tensor(A, &[rank, inputs], 2), tensor(B, &[outputs, rank], 3)];
        let init = vec![tensor(START_A, &[start, inputs], 4), tensor(START_B, &[outputs, start], 5)];
        let product = |pair: &File, rank: usize, o: usize, i: usize| -> f64 {
            let term = |k: usize| {
                f64::from(pair[1].2[o * rank + k]) * f64::from(pair[0].2[k * inputs + i])
            };
            (0..rank).map(term).sum()
        };
        let expected = by_formula(outputs, inputs, |o, i| {
            f64::from(base[0].2[o * inputs + i]) - product(&init, start, o, i)
                + product(&trained, rank, o, i)
        });
        let files =
            if two_files { vec![init, trained] } else { vec![[trained, init].concat()] };
        let (merged, tensors) = merge(&base, &files, alpha).unwrap();
        prop_assert_eq!((merged.pissa, merged.lora), (1, 0));
        assert_close(&tensors[MATRIX], &expected, rank + start);
    }

    #[test]
    fn disha_adds_its_block_to_every_group_of_columns(
        (outputs, inputs, rank) in (1usize..40, 1usize..40, 1usize..50),
        name in prop::sample::select(vec![DISHA, BLOCK]),
    ) {
        let base = vec![tensor(MATRIX, &[outputs, inputs], 1)];
        let adapter = vec![tensor(name, &[rank, outputs], 2)];
        let expected = by_formula(outputs, inputs, |o, i| {
            f64::from(base[0].2[o * inputs + i]) + f64::from(adapter[0].2[i % rank * outputs + o])
        });
        let (merged, tensors) = merge(&base, &[adapter], None).unwrap();
        prop_assert_eq!(merged.disha, 1);
        assert_close(&tensors[MATRIX], &expected, 1);
    }

    #[test]
    fn bone_multiplies_every_tile(
        (down, across, rank) in (1usize..6, 1usize..6, 1usize..9),
        name in prop::sample::select(vec![DISHA, BLOCK]),
    ) {
        let (outputs, inputs) = (down * rank, across * rank);
        let base = vec![tensor(MATRIX, &[outputs, inputs], 1)];
        let adapter = vec![tensor(name, &[across, rank, rank], 2)];
        let w = |o: usize, i: usize| f64::from(base[0].2[o * inputs + i]);
        let expected = by_formula(outputs, inputs, |o, i| {
            let (group, column) = (i / rank, i % rank);
            let block =
                |k: usize| f64::from(adapter[0].2[(group * rank + k) * rank + column]);
            let product: f64 = (0..rank).map(|k| w(o, group * rank + k) * block(k)).sum();
            w(o, i) + product + block(o % rank)
        });
        let (merged, tensors) = merge(&base, &[adapter], None).unwrap();
        prop_assert_eq!(merged.bone, 1);
        assert_close(&tensors[MATRIX], &expected, rank);
    }

    /// However rows are asked for, they are the same, bit for bit.
    #[test]
    fn merged_rows_can_be_read_in_any_order(
        (down, across, rank) in (1usize..5, 1usize..5, 1usize..6),
        kind in 0..3,
        cut in any::<prop::sample::Index>(),
    ) {
        let (outputs, inputs) = (down * rank, across * rank);
        let adapter = match kind {
            0 => vec![tensor(A, &[rank, inputs], 2), tensor(B, &[outputs, rank], 3)],
            1 => vec![tensor(DISHA, &[rank + 1, outputs], 2)],
            _ => vec![tensor(DISHA, &[across, rank, rank], 2)],
        };
        let files = Files::new();
        let mut base = files.open("base", &vec![tensor(MATRIX, &[outputs, inputs], 1)]);
        base.merge(vec![files.open("adapter", &adapter)], Some(3.0)).unwrap();
        let matrix = base.tensor(MATRIX).unwrap();
        let mut whole = Vec::new();
        matrix.read_all(&mut whole);

        let cut = cut.index(outputs + 1);
        let mut parts = vec![0.0; outputs * inputs];
        let (first, second) = parts.split_at_mut(cut * inputs);
        matrix.read_rows(cut..outputs, second);
        matrix.read_rows(0..cut, first);
        prop_assert_eq!(&parts, &whole);

        let turned = matrix.transposed();
        prop_assert_eq!(turned.shape(), [inputs, outputs]);
        let cut = cut.min(inputs);
        let (first, second) = parts.split_at_mut(cut * outputs);
        turned.read_rows(cut..inputs, second);
        turned.read_rows(0..cut, first);
        for (at, value) in parts.iter().enumerate() {
            prop_assert_eq!(*value, whole[at % outputs * inputs + at / outputs]);
        }
        matrix.transposed().transposed().read_all(&mut parts);
        prop_assert_eq!(&parts, &whole);
    }
}

fn base() -> File {
    vec![
        tensor(MATRIX, &[6, 4], 1),
        tensor("blocks.0.att.x_k", &[1, 1, 4], 2),
        tensor("blocks.0.ln1.bias", &[4], 3),
    ]
}

fn lora() -> File {
    vec![tensor(A, &[2, 4], 4), tensor(B, &[6, 2], 5)]
}

#[test]
fn whole_tensors_replace_those_of_the_base() {
    let mut adapter = lora();
    // Shapes of vectors differ between training code and files.
    adapter.push(tensor("blocks.0.att.x_k", &[4], 6));
    adapter.push(tensor("blocks.0.att.time_state", &[2, 2, 2], 7));
    let whole = adapter[2].2.clone();
    let base_bias = base()[2].2.clone();
    let (merged, tensors) = merge(&base(), &[adapter], Some(2.0)).unwrap();
    assert_eq!((merged.lora, merged.replaced), (1, 2));
    assert_eq!(merged.to_string(), "LoRA on 1 matrices, 2 tensors replaced");
    assert_eq!(tensors["blocks.0.att.x_k"], whole);
    assert_eq!(tensors["blocks.0.ln1.bias"], base_bias);
    assert_eq!(tensors["blocks.0.att.time_state"].len(), 8);
}

#[test]
fn sources_are_remembered() {
    let files = Files::new();
    let mut checkpoint = files.open("base", &base());
    checkpoint.merge(vec![files.open("adapter", &lora())], Some(2.0)).unwrap();
    let sources: Vec<_> =
        checkpoint.sources().iter().map(|s| (s.role(), s.path().to_owned())).collect();
    assert_eq!(
        sources,
        [
            (Role::Base, files.path("base")),
            (Role::Adapter { alpha: Some(2.0) }, files.path("adapter")),
        ]
    );
    let again = checkpoint.merge(vec![files.open("again", &lora())], Some(2.0));
    assert!(matches!(again.unwrap_err().problem(), Problem::AdaptedTwice { .. }));
}

/// What the program says about adapters that do not fit, and that the base stays as it was.
#[track_caller]
fn assert_refused(adapter: File, alpha: Option<f64>, said: &[&str]) {
    let files = Files::new();
    let mut checkpoint = files.open("base", &base());
    let error = checkpoint.merge(vec![files.open("adapter", &adapter)], alpha).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with(files.path("adapter").to_str().unwrap()), "{message}");
    for said in said {
        assert!(message.contains(said), "{message} does not say {said:?}");
    }
    assert_eq!(checkpoint.sources().len(), 1);
    for (name, _, expected) in base() {
        let mut found = Vec::new();
        checkpoint.tensor(name).unwrap().read_all(&mut found);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let with = |more: File| [lora(), more].concat();
    let other = "blocks.0.att.gate.lora_A";
    let (x_k, bias) = ("blocks.0.att.x_k", "blocks.0.ln1.bias");
    for (adapter, alpha, said) in [
        (lora(), None, vec!["LoRA adapter of rank 2", "alpha is not given"]),
        (lora()[..1].to_vec(), Some(1.0), vec![A, "the other is missing"]),
        (lora()[1..].to_vec(), Some(1.0), vec![B, "the other is missing"]),
        (
            vec![tensor(A, &[2, 4], 1), tensor(B, &[6, 3], 2)],
            Some(1.0),
            vec![A, "rank 2", B, "rank 3"],
        ),
        (
            vec![tensor(A, &[2, 6], 1), tensor(B, &[6, 2], 2)],
            Some(1.0),
            vec![A, "[2, 6]", "[r, 4]", MATRIX, "[6, 4]"],
        ),
        (
            vec![tensor(A, &[2, 4], 1), tensor(B, &[4, 2], 2)],
            Some(1.0),
            vec![B, "[4, 2]", "[6, r]"],
        ),
        (
            vec![tensor(A, &[0, 4], 1), tensor(B, &[6, 0], 2)],
            Some(1.0),
            vec![A, "[0, 4]", "[r, 4]"],
        ),
        (with(vec![tensor(other, &[2, 4], 1)]), Some(1.0), vec![other, "att.gate.weight"]),
        (
            vec![tensor("blocks.0.ln1.disha", &[2, 4], 1)],
            None,
            vec!["blocks.0.ln1.disha", "blocks.0.ln1.weight", "no matrix of the base"],
        ),
        (vec![tensor(DISHA, &[2, 5], 1)], None, vec![DISHA, "[2, 5]", "[r, 6]"]),
        (vec![tensor(DISHA, &[0, 6], 1)], None, vec![DISHA, "[0, 6]"]),
        (vec![tensor(BLOCK, &[1, 4, 4], 1)], None, vec![BLOCK, "[1, 4, 4]", "divides 6"]),
        (vec![tensor(BLOCK, &[3, 2, 2], 1)], None, vec![BLOCK, "[3, 2, 2]", "[4 / r, r, r]"]),
        (vec![tensor(x_k, &[4], 1)], Some(1.0), vec!["holds no adapter;", "lora_A"]),
        (
            vec![tensor("blocks.0.att.time_state", &[2, 2, 2], 1)],
            None,
            vec!["no adapter but a tuned state"],
        ),
        (with(vec![tensor(DISHA, &[2, 6], 1)]), Some(1.0), vec![MATRIX, "adapted twice"]),
        (with(vec![tensor(MATRIX, &[6, 4], 1)]), Some(1.0), vec![MATRIX, "adapted twice"]),
        (with(vec![tensor("blocks.9.ln1.bias", &[4], 1)]), Some(1.0), vec!["blocks.9", "base"]),
        (with(vec![tensor(bias, &[5], 1)]), Some(1.0), vec![bias, "[5]", "[4]"]),
        (
            vec![tensor(START_A, &[2, 4], 1), tensor(START_B, &[6, 2], 2)],
            None,
            vec![START_A, "the trained one is missing"],
        ),
        (with(vec![tensor(START_A, &[2, 4], 1)]), None, vec![START_A, "the other is missing"]),
        (
            with(vec![(x_k, vec![4], vec![0.0, f32::NAN, 0.0, 0.0])]),
            Some(1.0),
            vec![x_k, "NaN", "finite"],
        ),
    ] {
        assert_refused(adapter, alpha, &said);
    }
}

#[test]
fn a_tensor_in_two_files_is_refused() {
    let error = merge(&base(), &[lora(), lora()], Some(1.0)).unwrap_err();
    assert!(matches!(error, Problem::AdaptedTwice { tensor } if tensor == A));
}

#[test]
fn no_files_change_nothing() {
    let (merged, tensors) = merge(&base(), &[], None).unwrap();
    assert_eq!(merged, Merged::default());
    assert_eq!(tensors[MATRIX], base()[0].2);
}

/// Rows without values cost a hostile file nothing, and must cost the reader nothing.
#[test]
fn rows_of_nothing_take_no_time() {
    let rows = 1 << 50;
    let adapter = [lora(), vec![("blocks.0.ln1.bias", vec![rows, 0], vec![])]].concat();
    let error = merge(&base(), &[adapter], Some(1.0)).unwrap_err();
    assert!(matches!(error, Problem::ReplacementShape { found, .. } if found == [rows, 0]));
}

/// The base's matrix with an adapter of one tensor.
fn merged_block(base: &File, adapter: &File) -> Result<Vec<f32>, Problem> {
    let (_, mut tensors) = merge(base, std::slice::from_ref(adapter), None)?;
    Ok(tensors.remove(MATRIX).unwrap())
}

const MISS: &str = "base_model.model.blocks.0.att.key.miss_block";

#[test]
fn miss_is_added_to_every_group_of_columns_and_repeated_over_outputs() {
    let (outputs, inputs, rank) = (12, 10, 4);
    let base = vec![tensor(MATRIX, &[outputs, inputs], 1)];
    let w = &base[0].2;
    // As wide as the outputs, and PEFT's "mini", a third as wide.
    for width in [outputs, outputs / 3] {
        let adapter = vec![tensor(MISS, &[rank, width], 2)];
        let block = &adapter[0].2;
        let expected = by_formula(outputs, inputs, |o, i| {
            f64::from(w[o * inputs + i]) + f64::from(block[i % rank * width + o % width])
        });
        assert_close(&merged_block(&base, &adapter).unwrap(), &expected, 1);
    }
    let narrow = vec![tensor(MISS, &[rank, 5], 2)];
    assert!(matches!(merged_block(&base, &narrow), Err(Problem::Shape { .. })));
}

#[test]
fn miss_multiplies_tiles_by_the_block_of_their_rows() {
    let (outputs, inputs, rank) = (6, 9, 3);
    let base = vec![tensor(MATRIX, &[outputs, inputs], 1)];
    let adapter = vec![tensor(MISS, &[outputs / rank, rank, rank], 2)];
    let (w, block) = (&base[0].2, &adapter[0].2);
    let expected = by_formula(outputs, inputs, |o, i| {
        let b = |row, column| f64::from(block[(o / rank * rank + row) * rank + column]);
        let tile = i / rank * rank;
        let product: f64 =
            (0..rank).map(|k| f64::from(w[o * inputs + tile + k]) * b(k, i % rank)).sum();
        f64::from(w[o * inputs + i]) + product + b(o % rank, i % rank)
    });
    assert_close(&merged_block(&base, &adapter).unwrap(), &expected, rank);
    // The blocks are counted by outputs; as many as there are groups of columns do not fit.
    let by_inputs = vec![tensor(MISS, &[inputs / rank, rank, rank], 2)];
    assert!(matches!(merged_block(&base, &by_inputs), Err(Problem::Shape { .. })));
}

#[test]
fn loras_of_web_rwkv_and_ai00_are_those_of_training() {
    let (outputs, inputs, rank) = (5, 7, 2);
    let base = vec![tensor(MATRIX, &[outputs, inputs], 1)];
    let (a, b) = (tensor(A, &[rank, inputs], 2), tensor(B, &[outputs, rank], 3));
    let turned = (0..inputs * rank).map(|at| a.2[at % rank * inputs + at / rank]).collect();
    let [zero, one] = ["blocks.0.att.key.lora.0", "blocks.0.att.key.lora.1"];
    let b_named = (one, b.1.clone(), b.2.clone());
    let forms = [
        vec![(zero, a.1.clone(), a.2.clone()), b_named.clone()],
        vec![(zero, vec![inputs, rank], turned), b_named],
    ];
    let trained = merge(&base, &[vec![a, b]], Some(4.0)).unwrap().1;
    for form in forms {
        assert_eq!(merge(&base, &[form], Some(4.0)).unwrap().1, trained);
    }
}
