//! Handles and buffers of one call that share a byte are refused with OVERLAP, and nothing is
//! written. The cases go function by function, each buffer against each other and each handle.
//!
//! All memory is one array of words, and what a call is given are pointers into it, so that no
//! Rust reference vouches for what C would not promise.

use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

use KingletStatus as Status;
use kinglet_c::*;

static MODEL: &[u8] = kinglet_stories::MODEL;

/// Words of 8 bytes at which the parts of the arena start.
const MODEL_HANDLE: usize = 0;
const ENGINE: usize = 200;
const SAMPLER: usize = 400;
const TEXT: usize = 530;
const OUTPUT: usize = 600;
const TOKENS: usize = 620;
const WRITER: usize = 700;
const LOADER: usize = 780;
const VERIFIER: usize = 840;
const SNAPSHOT: usize = 920;
const ROOM: usize = 940;
const COUNTS: usize = 1000;

/// A model file in memory that can be written, with handles and buffers, all apart.
struct Arena {
    words: Vec<u64>,
    /// Where `words` lies.
    base: *mut u64,
    /// Byte offsets in `words`.
    file: usize,
    state: usize,
    workspace: usize,
    logits: usize,
    state_file: usize,
    sizes: Sizes,
}

#[derive(Default)]
struct Sizes {
    state: usize,
    workspace: usize,
    logits: usize,
    state_file: usize,
}

/// Tokens that the engines compute together.
const BATCH: usize = 2;

impl Arena {
    /// With an open model, an engine, a sampler with counts and a text stream.
    fn new() -> Self {
        let mut model = KingletModel { opaque: [0; 96] };
        // SAFETY: a handle and static bytes.
        let sizes = unsafe {
            assert_eq!(kinglet_model_open(&mut model, MODEL.as_ptr(), MODEL.len()), Status::Ok);
            Sizes {
                state: kinglet_state_size(&model),
                workspace: kinglet_workspace_size(&model, BATCH),
                logits: kinglet_logits_size(&model),
                state_file: kinglet_state_file_size(&model),
            }
        };
        let mut words = vec![0; 100_000 + MODEL.len() / 8 + sizes.state_file / 4];
        let mut arena = Self {
            base: words.as_mut_ptr(),
            words,
            file: 0,
            state: 0,
            workspace: 0,
            logits: 0,
            state_file: 0,
            sizes,
        };
        let mut end = 8 * 3000;
        let mut reserve = |size: usize| {
            let start = end;
            end = (end + size).next_multiple_of(64);
            start
        };
        arena.state = reserve(arena.sizes.state);
        arena.workspace = reserve(arena.sizes.workspace);
        arena.logits = reserve(arena.sizes.logits);
        arena.state_file = reserve(arena.sizes.state_file);
        let file = reserve(MODEL.len() + 64);
        arena.file = file + arena.at::<u8>(file).align_offset(64);
        assert!(arena.file + MODEL.len() <= 8 * arena.words.len());
        // SAFETY: the bytes are inside the arena, and the handles and buffers are apart.
        unsafe {
            arena.at::<u8>(arena.file).copy_from_nonoverlapping(MODEL.as_ptr(), MODEL.len());
            assert_eq!(arena.open(arena.model(), arena.file), Status::Ok);
            assert_eq!(arena.init(arena.engine(), arena.state, arena.workspace), Status::Ok);
            let (counts, options) = (arena.word(COUNTS), kinglet_sampler_defaults());
            let status = kinglet_sampler_init(arena.sampler(), options, 1, counts, 4 * 512);
            assert_eq!(status, Status::Ok);
            assert_eq!(kinglet_text_init(arena.text()), Status::Ok);
        }
        arena
    }

    /// A pointer to a byte of the arena.
    fn at<T>(&self, byte: usize) -> *mut T {
        self.base.wrapping_byte_add(byte).cast()
    }

    fn word<T>(&self, word: usize) -> *mut T {
        self.at(8 * word)
    }

    fn model(&self) -> *mut KingletModel {
        self.word(MODEL_HANDLE)
    }

    fn engine(&self) -> *mut KingletEngine {
        self.word(ENGINE)
    }

    fn sampler(&self) -> *mut KingletSampler {
        self.word(SAMPLER)
    }

    fn text(&self) -> *mut KingletText {
        self.word(TEXT)
    }

    /// Opens the model file at a byte.
    unsafe fn open(&self, model: *mut KingletModel, file: usize) -> Status {
        // SAFETY: the caller's promise.
        unsafe { kinglet_model_open(model, self.at(file), MODEL.len()) }
    }

    unsafe fn init(&self, engine: *mut KingletEngine, state: usize, workspace: usize) -> Status {
        let (state, workspace) = (self.at(state), self.at(workspace));
        let Sizes { state: state_size, workspace: workspace_size, .. } = self.sizes;
        let model = self.model();
        // SAFETY: the caller's promise.
        unsafe {
            kinglet_engine_init(engine, model, BATCH, state, state_size, workspace, workspace_size)
        }
    }

    /// The words, without those that belong to the engine and the sampler as long as they are used.
    fn words(&self) -> impl Iterator<Item = u64> {
        let counts = COUNTS..COUNTS + 256;
        let state = self.state / 8..(self.state + self.sizes.state) / 8;
        let workspace = self.workspace / 8..(self.workspace + self.sizes.workspace) / 8;
        let owned = [counts, state, workspace];
        let words = (0..self.words.len()).filter(move |i| owned.iter().all(|o| !o.contains(i)));
        // SAFETY: the word is in the arena, and nothing has a reference to it now.
        words.map(|i| unsafe { self.word::<u64>(i).read() })
    }

    /// The state file of the engine.
    fn saved(&self) -> Vec<u8> {
        let (file, size) = (self.at::<u8>(self.state_file), self.sizes.state_file);
        // SAFETY: the file has that size.
        unsafe {
            assert_eq!(kinglet_state_save(self.engine(), 5, file, size), Status::Ok);
            std::slice::from_raw_parts(file, size).to_vec()
        }
    }

    /// Each pointer is refused by `call`, and nothing is changed.
    fn refuses(&self, what: &str, pointers: &[usize], call: impl Fn(usize) -> Status) {
        let before: Vec<_> = self.words().collect();
        for (i, &byte) in pointers.iter().enumerate() {
            assert_eq!(call(byte), Status::Overlap, "{what}, pointer {i}");
            assert!(self.words().eq(before.iter().copied()), "{what}, pointer {i}: changed");
        }
    }

    /// First and last bytes, at a multiple of `align`, of what an engine computes with.
    fn of_the_engine(&self, align: usize) -> Vec<usize> {
        let parts = [
            (8 * ENGINE, size_of::<KingletEngine>()),
            (self.state, self.sizes.state),
            (self.workspace, self.sizes.workspace),
            (self.file, MODEL.len() / 64 * 64),
        ];
        parts.iter().flat_map(|&(start, size)| [start, start + size - align]).collect()
    }

    /// First and last bytes of a model's handle and file.
    fn of_the_model(&self) -> [usize; 4] {
        let file_end = self.file + MODEL.len() / 64 * 64;
        [
            8 * MODEL_HANDLE,
            8 * MODEL_HANDLE + size_of::<KingletModel>() - 8,
            self.file,
            file_end - 8,
        ]
    }
}

#[test]
fn a_model_is_apart_from_its_file() {
    let arena = Arena::new();
    // SAFETY: pointers into the arena, which is as large as they say.
    arena.refuses("open", &[arena.file, arena.file + 8, arena.file + 4096], |handle| unsafe {
        arena.open(arena.at(handle), arena.file)
    });
}

#[test]
fn what_a_model_writes_is_apart() {
    let arena = Arena::new();
    let model = arena.model();
    let read = arena.of_the_model();
    let (text, tokens, output) = (arena.word::<u8>(TOKENS - 8), arena.word(TOKENS), 8 * OUTPUT);
    // SAFETY: pointers into the arena, which is as large as they say.
    unsafe {
        arena.refuses("info", &read, |info| kinglet_model_info(model, arena.at(info)));
        arena.refuses("decoded bytes", &read, |bytes| {
            kinglet_decode(model, 70, arena.at(bytes), arena.at(output))
        });
        arena.refuses("decoded size", &read, |size| {
            kinglet_decode(model, 70, arena.at(output), arena.at(size))
        });
        arena.refuses("decoded bytes and size", &[output], |size| {
            kinglet_decode(model, 70, arena.at(output), arena.at(size))
        });
        arena.refuses("tokens", &[&read[..], &[8 * TOKENS - 64, output]].concat(), |tokens| {
            kinglet_encode(model, text, 6, arena.at(tokens), 8, arena.at(output))
        });
        arena.refuses("count", &[&read[..], &[8 * TOKENS - 64, 8 * TOKENS]].concat(), |count| {
            kinglet_encode(model, text, 6, tokens, 8, arena.at(count))
        });
        // A text inside the model, such as a token's own bytes, is only read.
        let (mut bytes, mut size, mut count) = (std::ptr::null(), 0, 0);
        assert_eq!(kinglet_decode(model, 70, &mut bytes, &mut size), Status::Ok);
        let status = kinglet_encode(model, bytes, size, tokens, 8, &mut count);
        assert_eq!((status, count, *tokens), (Status::Ok, 1, 70));
    }
}

#[test]
fn an_engine_is_apart_from_its_buffers() {
    let arena = Arena::new();
    let (state, workspace) = (arena.state, arena.workspace);
    let Sizes { state: state_size, workspace: workspace_size, .. } = arena.sizes;
    let [first, last, file, file_end] = arena.of_the_model();
    // SAFETY: pointers into the arena, which is as large as they say.
    unsafe {
        let handles = [first, last, file, file_end, state, state + state_size - 8, workspace];
        arena.refuses("engine", &handles, |engine| arena.init(arena.at(engine), state, workspace));
    }
    // A fresh handle, which a refused call leaves without an engine.
    let engine = arena.engine();
    let forget = || {
        // SAFETY: inside the arena.
        unsafe { engine.cast::<u64>().write(0) };
    };
    forget();
    // SAFETY: as above.
    unsafe {
        let others =
            [first, last, file, 8 * ENGINE, 8 * ENGINE + 8, workspace + workspace_size - 4];
        arena.refuses("state", &others, |state| arena.init(engine, state, workspace));
        let others = [first, last, file, 8 * ENGINE, 8 * ENGINE + 8, state + state_size - 4];
        arena.refuses("workspace", &others, |workspace| arena.init(engine, state, workspace));
        assert_eq!(arena.init(engine, state, workspace), Status::Ok);

        let (state, workspace) = (arena.at(state), arena.at(workspace));
        let model = arena.model();
        let half = state_size / 2;
        let init = |engine: *mut KingletEngine, state: *mut c_void| {
            kinglet_engine_init_f16(engine, model, BATCH, state, half, workspace, workspace_size)
        };
        arena.refuses("f16 engine", &[first, file], |engine| init(arena.at(engine), state));
        forget();
        arena.refuses("f16 state", &[first, file, arena.workspace], |state| {
            init(engine, arena.at(state))
        });
    }
}

#[test]
fn what_an_engine_reads_and_writes_is_apart() {
    let arena = Arena::new();
    let engine = arena.engine();
    let logits = arena.at::<f32>(arena.logits);
    let Sizes { logits: logits_size, state_file: file_size, .. } = arena.sizes;
    let taken = arena.of_the_engine(4);
    let (output, tokens) = (8 * OUTPUT, arena.word::<u32>(TOKENS));
    // SAFETY: pointers into the arena, which is as large as they say.
    unsafe {
        assert_eq!(kinglet_engine_prefill(engine, tokens, 3, logits, logits_size), Status::Ok);
        let before = arena.saved();
        arena.refuses("logits of a step", &taken, |logits| {
            kinglet_engine_step(engine, 1, arena.at(logits), logits_size)
        });
        let places = [&taken[..], &[8 * TOKENS]].concat();
        arena.refuses("logits of a prompt", &places, |logits| {
            kinglet_engine_prefill(engine, tokens, 3, arena.at(logits), logits_size)
        });
        // The model is only read, and so are the tokens.
        let places = [&taken[..6], &[arena.logits, arena.logits + logits_size - 4]].concat();
        arena.refuses("tokens of a prompt", &places, |tokens| {
            kinglet_engine_prefill(engine, arena.at(tokens), 1, logits, logits_size)
        });
        arena.refuses("logits of a digest", &taken, |logits| {
            kinglet_engine_digest(engine, 1, arena.at(logits), logits_size, arena.at(output))
        });
        let places = [&taken[..], &[arena.logits, arena.logits + logits_size - 4]].concat();
        arena.refuses("digest", &places, |digest| {
            kinglet_engine_digest(engine, 1, logits, logits_size, arena.at(digest))
        });

        arena.refuses("saved file", &taken, |file| {
            kinglet_state_save(engine, 5, arena.at(file), file_size)
        });
        assert!(arena.saved() == before, "the state is changed");
        let file = arena.at::<u8>(arena.state_file);
        arena.refuses("restored file", &taken, |file| {
            kinglet_state_restore(engine, arena.at(file), file_size, arena.at(output))
        });
        let places = [&taken[..], &[arena.state_file, arena.state_file + 64]].concat();
        arena.refuses("next token", &places, |next| {
            kinglet_state_restore(engine, file, file_size, arena.at(next))
        });
        assert!(arena.saved() == before, "the state is changed");
        assert_eq!(kinglet_state_restore(engine, file, file_size, arena.at(output)), Status::Ok);
        assert_eq!(*arena.at::<u32>(output), 5);
        assert_eq!(kinglet_engine_step(engine, 5, logits, logits_size), Status::Ok);
    }
}

#[test]
fn what_goes_in_pieces_is_apart() {
    let arena = Arena::new();
    let (model, engine, sampler) = (arena.model(), arena.engine(), arena.sampler());
    let verifier = arena.word::<KingletVerifier>(VERIFIER);
    let writer = arena.word::<KingletStateWriter>(WRITER);
    let loader = arena.word::<KingletStateLoader>(LOADER);
    let snapshot = arena.word::<u8>(SNAPSHOT);
    let (logits, logits_size) = (arena.at::<u8>(arena.logits), arena.sizes.logits);
    let output = 8 * OUTPUT;
    let taken = arena.of_the_engine(8);
    let of = |word: usize, size: usize| [8 * word, 8 * word + size - 8];
    let (snapshot_at, room_at) = (of(SNAPSHOT, 16), of(ROOM, 64));
    let (of_writer, of_loader) =
        (of(WRITER, size_of::<KingletStateWriter>()), of(LOADER, size_of::<KingletStateLoader>()));
    let of_sampler = [of(SAMPLER, size_of::<KingletSampler>()), of(COUNTS, 4 * 512)].concat();
    // SAFETY: pointers into the arena, which is as large as they say.
    unsafe {
        arena.refuses("verifier", &arena.of_the_model(), |verifier| {
            kinglet_model_verify_begin(arena.at(verifier), model)
        });
        assert_eq!(kinglet_model_verify_begin(verifier, model), Status::Ok);
        assert_eq!(kinglet_model_verify_poll(verifier, 1), Status::More);

        arena.refuses("snapshot", &of_sampler, |snapshot| {
            kinglet_sampler_snapshot(sampler, arena.at(snapshot), 64)
        });
        arena.refuses("restored snapshot", &of_sampler, |snapshot| {
            kinglet_sampler_restore(sampler, arena.at(snapshot), 64)
        });
        assert_eq!(kinglet_sampler_snapshot(sampler, snapshot, 16), Status::Ok);

        arena.refuses("writer", &[&taken[..], &snapshot_at].concat(), |writer| {
            kinglet_state_write_begin(arena.at(writer), engine, 5, snapshot, 16)
        });
        assert_eq!(kinglet_state_write_begin(writer, engine, 5, snapshot, 16), Status::Ok);
        arena.refuses("checked writer", &taken, |writer| {
            kinglet_state_write_check(arena.at(writer), engine, 64)
        });
        assert_eq!(kinglet_state_write_check(writer, engine, usize::MAX), Status::Ok);
        let read: *mut usize = arena.at(output);
        let places = [&taken[..], &of_writer, &snapshot_at].concat();
        arena.refuses("read bytes", &[&places[..], &[output]].concat(), |bytes| {
            kinglet_state_write_read(writer, engine, 0, arena.at(bytes), 8, read)
        });
        arena.refuses("number of bytes", &[&places[..], &[arena.logits]].concat(), |read| {
            kinglet_state_write_read(writer, engine, 0, logits, 256, arena.at(read))
        });
        assert_eq!(kinglet_state_write_read(writer, engine, 0, logits, 256, read), Status::Ok);

        // The file of the sequence, of which a part lies where the logits are.
        let before = arena.saved();
        let (header, size) = (arena.at::<u8>(arena.state_file), arena.sizes.state_file);
        let begin = |loader: usize, room: usize| {
            let (loader, room) = (arena.at(loader), arena.at(room));
            kinglet_state_load_begin(loader, engine, header, size, room, 64)
        };
        let places = [&taken[..], &[arena.state_file]].concat();
        let loaders = [&places[..], &room_at].concat();
        arena.refuses("loader", &loaders, |loader| begin(loader, 8 * ROOM));
        *loader.cast::<u64>() = 0;
        arena.refuses("room", &places, |room| begin(8 * LOADER, room));
        assert_eq!(begin(8 * LOADER, 8 * ROOM), Status::Ok);
        let places = [&taken[..], &of_loader, &room_at].concat();
        arena.refuses("piece", &places, |bytes| {
            kinglet_state_load_next(loader, engine, arena.at(bytes), 64)
        });
        assert!(arena.saved() == before, "the state is changed");
        let rest = header.add(KINGLET_STATE_HEADER_SIZE);
        let size = size - KINGLET_STATE_HEADER_SIZE;
        assert_eq!(kinglet_state_load_next(loader, engine, rest, size), Status::Ok);
        let places = [&of_loader[..], &room_at, &of_sampler].concat();
        arena.refuses("next token", &places, |next| {
            kinglet_state_load_end(loader, arena.at(next), sampler)
        });
        assert_eq!(kinglet_state_load_end(loader, arena.at(output), sampler), Status::Ok);
        assert_eq!(*arena.at::<u32>(output), 5);
        assert!(logits_size > 256 && arena.saved() == before);
    }
}

#[test]
fn a_sampler_is_apart_from_counts_logits_and_model() {
    let arena = Arena::new();
    let (sampler, output) = (arena.sampler(), 8 * OUTPUT);
    let logits = arena.at::<f32>(arena.logits);
    let own = [
        8 * SAMPLER,
        8 * SAMPLER + size_of::<KingletSampler>() - 8,
        8 * COUNTS,
        8 * COUNTS + 4 * 512 - 8,
    ];
    // SAFETY: pointers into the arena, which is as large as they say.
    unsafe {
        arena.refuses("counts", &own[..2], |counts| {
            let options = kinglet_sampler_defaults();
            kinglet_sampler_init(sampler, options, 1, arena.at(counts), 4 * 512)
        });
        arena.refuses("logits", &[&own[..], &[output]].concat(), |logits| {
            kinglet_sampler_sample(sampler, arena.at(logits), 8, arena.at(output))
        });
        arena.refuses("token", &[&own[..], &[arena.logits, arena.logits + 28]].concat(), |token| {
            kinglet_sampler_sample(sampler, logits, 8, arena.at(token))
        });
        arena.refuses("logits", &own, |logits| {
            kinglet_sampler_sample_begin(sampler, arena.at(logits), 8)
        });
        assert_eq!(kinglet_sampler_sample_begin(sampler, logits, 8), Status::Ok);
        arena.refuses("token", &[&own[..], &[arena.logits, arena.logits + 28]].concat(), |token| {
            kinglet_sampler_sample_poll(sampler, 9, arena.at(token))
        });
        arena.refuses("model", &own, |model| kinglet_sampler_accept(sampler, arena.at(model), 1));

        // A model whose file the counts are in.
        let counts = arena.at(arena.file + 4096);
        let options = kinglet_sampler_defaults();
        let mut inside = KingletSampler { opaque: [0; _] };
        let status = kinglet_sampler_init(&mut inside, options, 1, counts, 64);
        assert_eq!(status, Status::Ok);
        assert_eq!(kinglet_sampler_accept(&mut inside, arena.model(), 1), Status::Overlap);
        assert_eq!(kinglet_sampler_accept(sampler, arena.model(), 1), Status::Ok);
    }
}

#[test]
fn a_grammar_is_apart_from_its_table_and_what_a_sampler_writes() {
    static TABLE: &[u8] = include_bytes!("../../grammar/tests/data/led_servo.grammar");
    let arena = Arena::new();
    let (model, sampler) = (arena.model(), arena.sampler());
    let (grammar, table) = (arena.word::<KingletGrammar>(WRITER), arena.word::<u8>(LOADER));
    let (logits, token) = (arena.at::<f32>(arena.logits), arena.word::<u32>(OUTPUT));
    assert!(TABLE.len() <= 8 * (SNAPSHOT - LOADER));
    let of_table = [8 * LOADER, 8 * LOADER + TABLE.len() / 8 * 8 - 8];
    let read = [&of_table[..], &arena.of_the_model()[2..]].concat();
    let of_sampler =
        [8 * SAMPLER, 8 * SAMPLER + size_of::<KingletSampler>() - 8, 8 * COUNTS, 8 * COUNTS + 8];
    // SAFETY: pointers into the arena, which is as large as they say.
    unsafe {
        table.copy_from_nonoverlapping(TABLE.as_ptr(), TABLE.len());
        arena.refuses("grammar", &of_table, |grammar| {
            kinglet_grammar_open(arena.at(grammar), table, TABLE.len())
        });
        assert_eq!(kinglet_grammar_open(grammar, table, TABLE.len()), Status::Ok);
        arena.refuses("grammar", &of_sampler, |grammar| {
            kinglet_sampler_set_grammar(sampler, arena.at(grammar), model, 0, 0)
        });
        arena.refuses("model", &of_sampler, |model| {
            kinglet_sampler_set_grammar(sampler, grammar, arena.at(model), 0, 0)
        });
        assert_eq!(kinglet_sampler_set_grammar(sampler, grammar, model, 0, 0), Status::Ok);
        arena.refuses("logits", &read, |logits| {
            kinglet_sampler_sample(sampler, arena.at(logits), 8, token)
        });
        arena.refuses("token", &read, |token| {
            kinglet_sampler_sample(sampler, logits, 8, arena.at(token))
        });
        arena.refuses("logits", &read, |logits| {
            kinglet_sampler_sample_begin(sampler, arena.at(logits), 8)
        });
        arena.refuses("snapshot", &read, |snapshot| {
            kinglet_sampler_snapshot(sampler, arena.at(snapshot), 8)
        });

        // Counts that lie in the model's file.
        let (counts, options) = (arena.at(arena.file + 4096), kinglet_sampler_defaults());
        let mut inside = KingletSampler { opaque: [0; _] };
        assert_eq!(kinglet_sampler_init(&mut inside, options, 1, counts, 64), Status::Ok);
        let set = kinglet_sampler_set_grammar(&mut inside, grammar, model, 0, 0);
        assert_eq!(set, Status::Overlap);
    }
}

#[test]
fn a_text_stream_is_apart_from_its_bytes() {
    unsafe extern "C" fn write(_context: *mut c_void, _text: *const c_char, _size: usize) {
        unreachable!("nothing is written");
    }
    let arena = Arena::new();
    let text = arena.text();
    let places = [8 * TEXT - 4, 8 * TEXT, 8 * TEXT + size_of::<KingletText>() - 1];
    // SAFETY: pointers into the arena, which is as large as they say.
    arena.refuses("bytes", &places, |bytes| unsafe {
        kinglet_text_push(text, arena.at(bytes), 8, Some(write), null_mut())
    });
    let stops = arena.word::<KingletStop>(OUTPUT);
    // SAFETY: as above.
    unsafe {
        stops.write(KingletStop { text: arena.word(TOKENS), size: 8 });
        arena.refuses("stop strings", &[8 * OUTPUT - 120, 8 * OUTPUT, 8 * TOKENS], |handle| {
            kinglet_text_init_with_stops(arena.at(handle), stops, 1)
        });
        assert_eq!(kinglet_text_init_with_stops(text, stops, 1), Status::Ok);
    }
}
