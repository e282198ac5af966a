//! States and checks of models in pieces: the bytes of a whole file, whatever the pieces are, and
//! nothing that is half loaded.

use kinglet::engine::{Cpu, Engine, StateError};
use kinglet::f16;
use kinglet::format::model::{Header, Model, ModelError};
use kinglet::format::state_file::{
    HEADER_LEN, KeptSections, StateDecoder, StateEncoder, StateFile, StateFileError, StateSection,
};
use kinglet::kernels::scalar::Scalar;
use kinglet::num::state_dtype::StateElement;
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet_tests::quantized::{ModelBytes, with_states};
use proptest::prelude::*;
use proptest::sample::Index;

fn model_file(name: &str) -> ModelBytes {
    let path = format!("{}/data/compat/0.1.0/{name}.kinglet", env!("CARGO_MANIFEST_DIR"));
    ModelBytes::new(&std::fs::read(path).unwrap())
}

/// What a file is made of.
#[derive(Clone, Debug)]
struct Saved {
    /// Number of sequences, and the one that is saved.
    sequences: usize,
    sequence: usize,
    /// The states are made from this.
    seed: u32,
    next: Option<u32>,
    unfinished: Vec<u8>,
    /// Tokens that the sampler has counted.
    counted: Vec<u32>,
}

fn saved() -> impl Strategy<Value = Saved> {
    let counted = prop::collection::vec(0u32..60, 0..20);
    let unfinished = prop::collection::vec(any::<u8>(), 0..4);
    (1usize..4, any::<Index>(), any::<u32>(), prop::option::of(0u32..60), unfinished, counted)
        .prop_map(|(sequences, sequence, seed, next, unfinished, counted)| Saved {
            sequences,
            sequence: sequence.index(sequences),
            seed,
            next,
            unfinished,
            counted,
        })
}

impl Saved {
    /// The state of a sequence, of any finite numbers.
    fn state<S: StateElement>(&self, model: &Header, sequence: usize) -> Vec<S> {
        let mut x = self.seed ^ sequence as u32;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(x ^ x >> 15);
            S::narrow(if value.is_finite() { value } else { 0.5 })
        };
        (0..model.shape.state_len()).map(|_| next()).collect()
    }

    fn snapshot(&self) -> Vec<u8> {
        let options = SamplerOptions { presence: 0.5, ..SamplerOptions::default() };
        let mut sampler = Sampler::with_counts(options, self.seed.into(), [0.0; 60]).unwrap();
        self.counted.iter().for_each(|&token| sampler.accept(token));
        let mut snapshot = vec![0; sampler.snapshot_len()];
        sampler.snapshot(&mut snapshot).unwrap();
        snapshot
    }

    /// Sections, where the sampler has counted something.
    fn with_sections<R>(&self, f: impl FnOnce(&[(StateSection, &[u8])]) -> R) -> R {
        let (snapshot, start) = (self.snapshot(), self.seed.to_le_bytes());
        let sections = [
            (StateSection::UnfinishedBytes, &*self.unfinished),
            (StateSection::Sampler, &*snapshot),
            (StateSection::StartState, &start),
        ];
        f(if self.counted.is_empty() { &[] } else { &sections })
    }

    /// The file, by the writer that has all of it.
    fn file<S: StateElement>(&self, model: &Header) -> Vec<u8> {
        let state = self.state::<S>(model, self.sequence);
        self.with_sections(|sections| {
            let extra = StateFile::<S>::sections_len(sections);
            let mut file = vec![0; StateFile::<S>::len(&model.shape) + extra];
            StateFile::write_sections(model, &state, self.next, sections, &mut file).unwrap();
            file
        })
    }

    /// An engine whose sequences are these.
    fn with_engine<S: StateElement, R>(
        &self,
        model: Model<'_>,
        f: impl FnOnce(&mut Cpu<'_, Scalar, S>) -> R,
    ) -> R {
        with_states(model, Scalar, self.sequences, 1, |engine| {
            for sequence in 0..self.sequences {
                let state = self.state::<S>(model.header(), sequence);
                engine.load_elements(sequence, &state).unwrap();
            }
            f(engine)
        })
    }
}

/// The state of a sequence in bytes, so that `==` compares bits.
fn stored<S: StateElement>(engine: &Cpu<'_, Scalar, S>, sequence: usize) -> Vec<u8> {
    let mut state = vec![S::zeroed(); engine.shape().state_len()];
    engine.store_elements(sequence, &mut state).unwrap();
    state.iter().flat_map(|x| bytemuck_bytes(*x)).collect()
}

fn bytemuck_bytes<S: StateElement>(value: S) -> Vec<u8> {
    let one = [value];
    match S::as_f32(&one) {
        Some(one) => one[0].to_le_bytes().to_vec(),
        None => S::as_f16(&one).unwrap()[0].to_le_bytes().to_vec(),
    }
}

/// The states of all sequences.
fn all_stored<S: StateElement>(engine: &Cpu<'_, Scalar, S>) -> Vec<Vec<u8>> {
    (0..engine.sequences()).map(|sequence| stored(engine, sequence)).collect()
}

/// Cuts `bytes` into pieces of these lengths, again and again.
fn cut<'b>(bytes: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for len in lengths.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*len));
        pieces.push(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    pieces
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..16, 16usize..600, 600usize..5000], 1..5)
}

/// Reads the file of a writer page by page, in an order of the pages.
fn written<S: StateElement>(
    saved: &Saved,
    model: Model<'_>,
    check: &[usize],
    page: usize,
    order: usize,
) -> Vec<u8> {
    saved.with_engine::<S, _>(model, |engine| {
        saved.with_sections(|sections| {
            let mut writer = engine.state_writer(saved.sequence, saved.next, sections).unwrap();
            assert_eq!(writer.len(), engine.state_file_len(sections));
            let mut buffer = vec![0; page];
            let mut done = HEADER_LEN;
            for bytes in check.iter().cycle() {
                let before = writer.read(0, &mut buffer);
                let total = writer.len();
                assert_eq!(before, Err(StateFileError::Incomplete { done, total }));
                let progress = writer.check(*bytes).unwrap();
                assert!(progress.done > done && progress.done <= done + bytes + 7);
                done = progress.done;
                if progress.is_complete() {
                    break;
                }
            }
            let mut file = vec![0xEE; writer.len()];
            let mut offsets: Vec<_> = (0..writer.len()).step_by(page).collect();
            match order {
                0 => (),
                1 => offsets.reverse(),
                _ => offsets.rotate_left(1),
            }
            for offset in offsets {
                let len = writer.read(offset, &mut buffer).unwrap();
                assert_eq!(len, page.min(file.len() - offset));
                file[offset..offset + len].copy_from_slice(&buffer[..len]);
            }
            assert_eq!(writer.read(file.len(), &mut buffer), Ok(0));
            assert_eq!(writer.read(usize::MAX, &mut buffer), Ok(0));

            let mut whole = vec![0xEE; file.len() + 3];
            let len = engine.save_state(saved.sequence, saved.next, sections, &mut whole).unwrap();
            assert!(whole[..len] == file && whole[len..] == [0xEE; 3]);
            file
        })
    })
}

/// Loads a file in pieces, beside states that must stay.
fn check_load<S: StateElement>(saved: &Saved, model: Model<'_>, lengths: &[usize]) {
    let file = saved.file::<S>(model.header());
    let (header, rest) = file.split_first_chunk().unwrap();
    // The engine's own states are others.
    let other = Saved { seed: !saved.seed, ..saved.clone() };
    other.with_engine::<S, _>(model, |engine| {
        let mut expected = all_stored(engine);
        let state = saved.state::<S>(model.header(), saved.sequence);
        expected[saved.sequence] = state.iter().flat_map(|x| bytemuck_bytes(*x)).collect();

        let mut room = vec![0; 200];
        let wanted = [StateSection::Sampler, StateSection::UnfinishedBytes];
        let loader = engine.state_loader(saved.sequence, header, file.len()).unwrap();
        let mut loader = loader.keeping(&wanted, &mut room);
        let mut done = HEADER_LEN;
        for piece in cut(rest, lengths) {
            let progress = loader.feed(piece).unwrap();
            done += piece.len();
            assert_eq!((progress.done, progress.total), (done, file.len()));
        }
        let (next, sections) = loader.finish().unwrap();
        assert_eq!(next, saved.next);
        let parsed = StateFile::<S>::parse(model.header(), &file).unwrap();
        for section in wanted {
            assert_eq!(sections.section(section), parsed.section(section), "{section:?}");
        }
        assert_eq!(sections.section(StateSection::StartState), None, "it was not wanted");
        assert!(all_stored(engine) == expected);

        // And whole, from an address that is no multiple of an element's size.
        let again = other.state::<S>(model.header(), saved.sequence);
        engine.load_elements(saved.sequence, &again).unwrap();
        let shifted = [&[0], &file[..]].concat();
        let restored = engine.restore_state(saved.sequence, &shifted[1..]).unwrap();
        assert_eq!(restored.next_token(), saved.next);
        assert!(all_stored(engine) == expected);
    });
}

/// A file of which a bit is wrong, that ends too early, or whose load is given up.
fn check_torn<S: StateElement>(saved: &Saved, model: Model<'_>, lengths: &[usize], at: Index) {
    let file = saved.file::<S>(model.header());
    let at = at.index(file.len());
    let mut damaged = file.clone();
    damaged[at] ^= 1 << (saved.seed % 8);
    saved.with_engine::<S, _>(model, |engine| {
        let before = all_stored(engine);
        let mut reset = before.clone();
        let fresh = with_states::<_, S, _>(model, Scalar, 1, 1, |engine| stored(engine, 0));
        reset[saved.sequence] = fresh;

        let (header, rest) = damaged.split_first_chunk().unwrap();
        let mut refusal = None;
        match engine.state_loader(saved.sequence, header, file.len()) {
            Err(_) => assert!(at < HEADER_LEN),
            Ok(mut loader) => {
                for piece in cut(rest, lengths) {
                    let fed = loader.feed(piece);
                    assert_eq!(fed.err().or(refusal), fed.err(), "refused again, for the same");
                    refusal = fed.err();
                }
                assert!(refusal.is_some(), "bit of byte {at}");
                assert_eq!(loader.finish().err(), refusal);
            }
        }
        let expected = if refusal.is_some() { &reset } else { &before };
        assert!(all_stored(engine) == *expected, "bit of byte {at}");

        // Checked first, the file leaves everything where it is.
        if let Ok(mut decoder) = StateDecoder::new::<S>(model.header(), header, file.len()) {
            let error = cut(rest, lengths).iter().find_map(|piece| decoder.check(piece).err());
            assert_eq!(error, refusal);
        }

        // The front of a good file, given up.
        for sequence in 0..saved.sequences {
            engine.load_elements(sequence, &saved.state(model.header(), sequence)).unwrap();
        }
        let (header, rest) = file.split_first_chunk().unwrap();
        let mut loader = engine.state_loader(saved.sequence, header, file.len()).unwrap();
        let front = at.min(rest.len() - 1);
        let _ = loader.feed(&rest[..front]).unwrap();
        drop(loader);
        assert!(all_stored(engine) == *(if front == 0 { &before } else { &reset }));

        // More than the file has.
        let mut loader = engine.state_loader(saved.sequence, header, file.len()).unwrap();
        let long = [rest, &[0]].concat();
        let error = cut(&long, lengths).iter().find_map(|piece| loader.feed(piece).err());
        assert!(matches!(error, Some(StateFileError::Length { .. })));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_file_in_pieces_is_the_whole_file(
        saved in saved(),
        check in lengths(),
        page in prop_oneof![1usize..80, 80usize..5000],
        order in 0usize..3,
    ) {
        let (v7, v4) = (model_file("v7"), model_file("v4"));
        for model in [v7.model().unwrap(), v4.model().unwrap()] {
            let found = written::<f32>(&saved, model, &check, page, order);
            prop_assert!(found == saved.file::<f32>(model.header()));
        }
        let model = v7.model().unwrap();
        let found = written::<f16>(&saved, model, &check, page, order);
        prop_assert!(found == saved.file::<f16>(model.header()));
    }

    #[test]
    fn a_file_loads_from_any_pieces(saved in saved(), lengths in lengths()) {
        let (v7, v4) = (model_file("v7"), model_file("v4"));
        check_load::<f32>(&saved, v7.model().unwrap(), &lengths);
        check_load::<f16>(&saved, v7.model().unwrap(), &lengths);
        check_load::<f32>(&saved, v4.model().unwrap(), &lengths);
    }

    #[test]
    fn nothing_is_half_loaded(saved in saved(), lengths in lengths(), at: Index) {
        let (v7, v4) = (model_file("v7"), model_file("v4"));
        check_torn::<f32>(&saved, v7.model().unwrap(), &lengths, at);
        check_torn::<f16>(&saved, v7.model().unwrap(), &lengths, at);
        check_torn::<f32>(&saved, v4.model().unwrap(), &lengths, at);
    }

    /// In pieces of any size a model's check says what it says of the whole.
    #[test]
    fn a_model_is_verified_in_any_pieces(
        damage in prop::option::of((any::<Index>(), 0u32..8)),
        lengths in lengths(),
    ) {
        let mut bytes = model_file("v7").bytes().to_vec();
        if let Some((at, bit)) = damage {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let file = ModelBytes::new(&bytes);
        if let Ok(model) = Model::open(file.bytes()) {
            let expected = model.verify();
            prop_assert_eq!(model.verify_with(kinglet::format::crc32::crc32), expected);
            prop_assert_eq!(verified(model, &lengths), expected);
        }
    }
}

/// The outcome of a check in pieces.
fn verified(model: Model<'_>, lengths: &[usize]) -> Result<(), ModelError> {
    let mut verifier = model.verifier();
    for bytes in lengths.iter().cycle() {
        let before = verifier.progress();
        match verifier.poll(*bytes) {
            Ok(progress) if progress.is_complete() => break,
            Ok(progress) => {
                // The last piece of a tensor may be a value longer.
                assert!((before.done..=before.done + bytes + 3).contains(&progress.done));
                assert_eq!(progress.total, before.total);
            }
            Err(error) => {
                assert_eq!(verifier.poll(1), Err(error));
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Values that no checksum finds, because the file was written with them.
#[test]
fn values_out_of_bounds_are_found_in_pieces() {
    let file = model_file("v7");
    let model = file.model().unwrap();
    for bytes in [1, 7, 4096, usize::MAX] {
        assert_eq!(verified(model, &[bytes]), Ok(()));
    }
    let mut found = Vec::new();
    for (name, change) in out_of_bounds(file.bytes()) {
        let changed = ModelBytes::new(&change);
        let model = Model::open(changed.bytes()).unwrap();
        let expected = model.verify();
        assert!(matches!(expected, Err(ModelError::Tensor { .. })), "{name}: {expected:?}");
        for bytes in [1, 7, 4096, usize::MAX] {
            assert_eq!(verified(model, &[bytes]), expected, "{name}");
        }
        found.push(expected);
    }
    assert_eq!(found.len(), 3);
}

/// The model with a value that is wrong, and checksums that fit: a vector's, a weight, a scale.
fn out_of_bounds(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    use kinglet::format::crc32::crc32;
    use kinglet::format::layout::TensorLayout;
    use kinglet::format::model::{RECORD_LEN, Record, Section};
    use kinglet::format::tensors::Storage;

    let header = Header::parse(bytes).unwrap();
    let directory = header.section(Section::Directory);
    let start = directory.offset as usize;
    let records = bytes[start..start + directory.len as usize].as_chunks::<RECORD_LEN>().0;
    let record = |storage| {
        let mut records = records.iter().filter_map(Record::parse);
        records.find(|record| record.storage == Some(storage)).unwrap()
    };
    let (vector, matrix) = (record(Storage::Vector), record(Storage::Matrix));
    let [rows, cols, group] = [matrix.rows, matrix.cols, matrix.group].map(|x| x as usize);
    let layout = TensorLayout::new(Storage::Matrix, matrix.weights, rows, cols, group);
    let values = matrix.offset as usize + layout.values as usize;
    let scales = matrix.offset as usize + layout.scales_offset() as usize;
    let changes: [(&str, usize, &[u8]); 3] = [
        ("vector", vector.offset as usize + 4, &f32::NAN.to_le_bytes()),
        ("weight", values - 1, &[0x80]),
        ("scale", scales + 2, &f16::INFINITY.to_le_bytes()),
    ];
    let change = |(name, at, value): (_, usize, &[u8])| {
        let mut changed = bytes.to_vec();
        changed[at..at + value.len()].copy_from_slice(value);
        let mut header = header;
        for entry in &mut header.sections {
            let (start, len) = (entry.offset as usize, entry.len as usize);
            entry.crc = crc32(&changed[start..start + len]);
        }
        let emitted = header.emit();
        changed[..emitted.len()].copy_from_slice(&emitted);
        (name, changed)
    };
    changes.map(change).into()
}

#[test]
fn what_does_not_belong_to_the_engine_is_refused() {
    let saved = Saved {
        sequences: 2,
        sequence: 1,
        seed: 3,
        next: Some(5),
        unfinished: vec![0xE2],
        counted: vec![4],
    };
    let (v7, v4) = (model_file("v7"), model_file("v4"));
    let (model, other) = (v7.model().unwrap(), v4.model().unwrap());
    let file = saved.file::<f32>(model.header());
    let (header, rest) = file.split_first_chunk().unwrap();
    saved.with_engine::<f16, _>(model, |engine| {
        let error = engine.state_loader(0, header, file.len()).err();
        assert_eq!(error, Some(StateFileError::Element { found: 1, expected: 2 }));
    });
    saved.with_engine::<f32, _>(other, |engine| {
        // Of another shape, so its length is told first where the file has no sections.
        let error = engine.state_loader(0, header, file.len()).err();
        assert!(matches!(error, Some(StateFileError::Model { .. })), "{error:?}");
        // Nor is a job of another engine gone on with.
        let before = all_stored(engine);
        let mut encoder = StateEncoder::new::<f32>(model.header(), None, &[]).unwrap();
        let mut decoder = StateDecoder::new::<f32>(model.header(), header, file.len()).unwrap();
        let (found, expected) = (model.shape().state_len(), other.shape().state_len());
        let elements = Some(StateFileError::Elements { found, expected });
        assert_eq!(engine.check_state(0, &mut encoder, 4096).err(), elements);
        assert_eq!(engine.read_state(0, &encoder, 0, &mut [0; 8]).err(), elements);
        let fed = engine.feed_state(0, &mut decoder, &mut KeptSections::default(), rest);
        assert_eq!(fed.err(), elements);
        assert!(all_stored(engine) == before);
    });
    saved.with_engine::<f32, _>(model, |engine| {
        let before = all_stored(engine);
        let missing = StateFileError::Sequence { found: 2, sequences: 2 };
        assert_eq!(StateFileError::from(StateError::Sequence { found: 2, sequences: 2 }), missing);
        assert_eq!(engine.state_loader(2, header, file.len()).err(), Some(missing));
        assert_eq!(engine.state_writer(2, None, &[]).err(), Some(missing));
        assert_eq!(engine.restore_state(2, &file).err(), Some(missing));
        let vocab = model.shape().vocab;
        let token = StateFileError::Token { found: vocab as u32, vocab };
        assert_eq!(engine.state_writer(0, Some(vocab as u32), &[]).err(), Some(token));
        let twice = [(StateSection::Text, &[1][..]), (StateSection::Text, &[])];
        let error = engine.state_writer(0, None, &twice).err();
        assert!(matches!(error, Some(StateFileError::Sections { .. })));
        let needed = engine.state_file_len(&[]);
        let error = engine.save_state(0, None, &[], &mut vec![0; needed - 1]);
        assert_eq!(error, Err(StateFileError::Buffer { found: needed - 1, needed }));
        for len in [0, HEADER_LEN, file.len() - 50] {
            let error = engine.state_loader(1, header, len).err();
            assert!(matches!(error, Some(StateFileError::Length { .. })), "{len}: {error:?}");
        }
        assert!(all_stored(engine) == before);

        // A buffer without room for a section that is wanted.
        let mut room = [0; 20];
        let loader = engine.state_loader(1, header, file.len()).unwrap();
        let mut loader = loader.keeping(&[StateSection::Sampler], &mut room);
        let error = loader.feed(rest).err();
        assert_eq!(error, Some(StateFileError::Buffer { found: 20, needed: 24 }));
        drop(loader);
        engine.reset(0).unwrap();
        assert!(stored(engine, 1) == stored(engine, 0), "reset");
    });
}

/// The view of a state is the state.
#[test]
fn the_state_is_seen_where_it_lies() {
    let saved = Saved {
        sequences: 3,
        sequence: 0,
        seed: 9,
        next: None,
        unfinished: vec![],
        counted: vec![],
    };
    for name in ["v7", "v4"] {
        let file = model_file(name);
        let model = file.model().unwrap();
        saved.with_engine::<f32, _>(model, |engine| {
            for sequence in 0..3 {
                let expected = saved.state::<f32>(model.header(), sequence);
                for start in 0..expected.len() {
                    let run = engine.state_from(sequence, start).unwrap();
                    assert!(!run.is_empty());
                    let same =
                        run.iter().zip(&expected[start..]).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same && run.len() <= expected.len() - start, "{name}, from {start}");
                }
                assert_eq!(engine.state_from(sequence, expected.len()), Ok(&[][..]));
            }
            let missing = StateError::Sequence { found: 3, sequences: 3 };
            assert_eq!(engine.state_from(3, 0), Err(missing));
        });
    }
}
