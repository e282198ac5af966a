//! The promise: the same logits, bit for bit, however tokens are divided.

use kinglet::engine::{BatchToken, Engine};
use kinglet::kernels::scalar::Scalar;
use kinglet_tests::fixture::Fixture;
use kinglet_tests::quantized::{ModelBytes, forward, with_engine};

fn fixture() -> (ModelBytes, Vec<u32>) {
    let fixture = Fixture::named("golden/v7");
    let (bytes, _) = ModelBytes::quantize(&fixture.path("model.pth"));
    (bytes, fixture.tokens().unwrap())
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn blocks_of_any_size_agree() {
    let (bytes, tokens) = fixture();
    let model = bytes.model().unwrap();
    let one = with_engine(model, Scalar, 1, 1, |engine| forward(engine, &tokens, 1).unwrap());
    for chunk in [2, 3, 7, 16, 64] {
        let many =
            with_engine(model, Scalar, 1, chunk, |engine| forward(engine, &tokens, chunk).unwrap());
        assert!(bits(&one) == bits(&many), "chunks of {chunk}");
    }
}

#[test]
fn prefill_ends_where_steps_do() {
    let (bytes, tokens) = fixture();
    let model = bytes.model().unwrap();
    let vocab = model.shape().vocab;
    let steps = with_engine(model, Scalar, 1, 1, |engine| forward(engine, &tokens, 1).unwrap());
    for block in [1, 5, 64] {
        let mut logits = vec![0.0; vocab];
        with_engine(model, Scalar, 1, block, |engine| engine.prefill(0, &tokens, &mut logits))
            .unwrap();
        assert!(bits(&logits) == bits(&steps[steps.len() - vocab..]), "blocks of {block}");
    }
}

#[test]
fn a_stored_state_continues_the_text() {
    let (bytes, tokens) = fixture();
    let model = bytes.model().unwrap();
    let all = with_engine(model, Scalar, 1, 8, |engine| forward(engine, &tokens, 8).unwrap());
    let (first, second) = tokens.split_at(tokens.len() / 2);
    let mut state = vec![0.0; model.shape().state_len()];
    with_engine(model, Scalar, 1, 8, |engine| {
        forward(engine, first, 8).unwrap();
        engine.store_state(0, &mut state).unwrap();
    });
    // Into another sequence of another engine.
    let rest = with_engine(model, Scalar, 3, 8, |engine| {
        engine.load_state(2, &state).unwrap();
        let columns: Vec<_> =
            second.iter().map(|&token| BatchToken { token, sequence: 2, logits: true }).collect();
        let vocab = engine.shape().vocab;
        let mut logits = vec![0.0; second.len() * vocab];
        for (columns, logits) in columns.chunks(8).zip(logits.chunks_mut(8 * vocab)) {
            engine.forward(columns, logits).unwrap();
        }
        logits
    });
    assert!(bits(&rest) == bits(&all[all.len() - rest.len()..]));
}

#[test]
fn sequences_do_not_see_each_other() {
    let (bytes, tokens) = fixture();
    let model = bytes.model().unwrap();
    let vocab = model.shape().vocab;
    let (a, b) = tokens.split_at(tokens.len() / 2);
    let alone = [a, b].map(|tokens| {
        with_engine(model, Scalar, 1, 1, |engine| forward(engine, tokens, 1).unwrap())
    });
    with_engine(model, Scalar, 2, 6, |engine| {
        // Three columns of each, interleaved in a different order in each block.
        for (i, (a, b)) in a.chunks(3).zip(b.chunks(3)).enumerate() {
            let column =
                |sequence| move |&token: &u32| BatchToken { token, sequence, logits: true };
            let (a, b) = (a.iter().map(column(0)), b.iter().map(column(1)));
            let columns: Vec<_> = if i % 2 == 0 {
                a.zip(b).flat_map(|(a, b)| [a, b]).collect()
            } else {
                b.chain(a).collect()
            };
            let mut logits = vec![0.0; columns.len() * vocab];
            engine.forward(&columns, &mut logits).unwrap();
            let mut seen = [3 * i; 2];
            for (column, logits) in columns.iter().zip(logits.chunks(vocab)) {
                let at = seen[column.sequence];
                seen[column.sequence] += 1;
                let expected = &alone[column.sequence][at * vocab..][..vocab];
                assert!(bits(logits) == bits(expected), "sequence {}, token {at}", column.sequence);
            }
        }
    });
}

#[test]
fn a_column_without_logits_changes_no_other() {
    let (bytes, tokens) = fixture();
    let model = bytes.model().unwrap();
    let vocab = model.shape().vocab;
    let all = with_engine(model, Scalar, 1, 8, |engine| forward(engine, &tokens, 8).unwrap());
    let columns: Vec<_> = tokens[..8]
        .iter()
        .enumerate()
        .map(|(i, &token)| BatchToken { token, sequence: 0, logits: i % 3 == 1 })
        .collect();
    let mut logits = vec![0.0; 3 * vocab];
    with_engine(model, Scalar, 1, 8, |engine| engine.forward(&columns, &mut logits)).unwrap();
    for (i, logits) in [1, 4, 7].into_iter().zip(logits.chunks(vocab)) {
        assert!(bits(logits) == bits(&all[i * vocab..][..vocab]), "token {i}");
    }
}
