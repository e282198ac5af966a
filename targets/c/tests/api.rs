//! The C functions, called as C calls them: right use gives the core's numbers,
//! wrong use a status.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

use KingletStatus as Status;
use kinglet::engine::{Cpu, Engine, workspace_len};
use kinglet::format::model::Model;
use kinglet::kernels::scalar::Scalar;
use kinglet_c::*;

static MODEL: &[u8] = kinglet_stories::MODEL;

/// `kinglet digest` of the shipped model.
const DIGEST: u32 = kinglet_stories::DIGEST;

/// The number of `kinglet digest --state-type f16`.
const DIGEST_F16: u32 = kinglet_stories::DIGEST_F16;

/// A zeroed handle.
macro_rules! handle {
    ($name:ident) => {
        $name { opaque: [0; size_of::<$name>() / 8] }
    };
}

fn open() -> KingletModel {
    let mut model = handle!(KingletModel);
    // SAFETY: the handle and the static bytes are what they say.
    let status = unsafe { kinglet_model_open(&mut model, MODEL.as_ptr(), MODEL.len()) };
    assert_eq!(status, Status::Ok);
    model
}

/// An engine with its buffers.
struct Rig {
    engine: KingletEngine,
    state: Vec<f32>,
    workspace: Vec<f32>,
    logits: Vec<f32>,
}

/// A function that makes an engine.
type Init = unsafe extern "C" fn(
    *mut KingletEngine,
    *const KingletModel,
    usize,
    *mut c_void,
    usize,
    *mut c_void,
    usize,
) -> Status;

impl Rig {
    fn new(model: &KingletModel, batch: usize) -> Self {
        // SAFETY: an open model.
        let state = unsafe { kinglet_state_size(model) };
        let mut rig = Self::sized(model, batch, state);
        assert_eq!(rig.init(model, batch), Status::Ok);
        rig
    }

    /// With an f16 state.
    fn new_f16(model: &KingletModel, batch: usize) -> Self {
        // SAFETY: an open model.
        let state = unsafe { kinglet_state_size_f16(model) };
        let mut rig = Self::sized(model, batch, state);
        assert_eq!(rig.init_with(kinglet_engine_init_f16, model, batch), Status::Ok);
        rig
    }

    /// Buffers with a state of `state` bytes, and no engine yet.
    fn sized(model: &KingletModel, batch: usize, state: usize) -> Self {
        // SAFETY: an open model.
        let sizes =
            unsafe { [state, kinglet_workspace_size(model, batch), kinglet_logits_size(model)] };
        // Any contents will do, because an engine overwrites them.
        let [state, workspace, logits] = sizes.map(|size| vec![f32::NAN; size / 4]);
        Self { engine: handle!(KingletEngine), state, workspace, logits }
    }

    fn init(&mut self, model: &KingletModel, batch: usize) -> Status {
        self.init_with(kinglet_engine_init, model, batch)
    }

    fn init_with(&mut self, init: Init, model: &KingletModel, batch: usize) -> Status {
        let Self { engine, state, workspace, .. } = self;
        let (state_size, workspace_size) = (4 * state.len(), 4 * workspace.len());
        // SAFETY: the buffers are the rig's and have these sizes.
        unsafe {
            init(
                engine,
                model,
                batch,
                state.as_mut_ptr().cast(),
                state_size,
                workspace.as_mut_ptr().cast(),
                workspace_size,
            )
        }
    }

    fn step(&mut self, token: u32) -> Status {
        let size = 4 * self.logits.len();
        // SAFETY: the buffers are the rig's and have these sizes.
        unsafe { kinglet_engine_step(&mut self.engine, token, self.logits.as_mut_ptr(), size) }
    }

    fn prefill(&mut self, tokens: &[u32]) -> Status {
        let (logits, size) = (self.logits.as_mut_ptr(), 4 * self.logits.len());
        // SAFETY: the buffers are the rig's and have these sizes.
        unsafe {
            kinglet_engine_prefill(&mut self.engine, tokens.as_ptr(), tokens.len(), logits, size)
        }
    }

    fn save(&self, next: u32, file: &mut [u32]) -> Status {
        let size = size_of_val(file);
        // SAFETY: the file has this size.
        unsafe { kinglet_state_save(&self.engine, next, file.as_mut_ptr().cast(), size) }
    }

    /// The digest of 64 tokens.
    fn digest(&mut self) -> (Status, u32) {
        let (logits, size, mut digest) = (self.logits.as_mut_ptr(), 4 * self.logits.len(), 0);
        // SAFETY: the rig's buffers.
        let status =
            unsafe { kinglet_engine_digest(&mut self.engine, 64, logits, size, &mut digest) };
        (status, digest)
    }

    fn restore(&mut self, file: &[u32], size: usize) -> (Status, u32) {
        assert!(size <= size_of_val(file));
        let mut next = 0;
        // SAFETY: the file has at least this size.
        let status = unsafe {
            kinglet_state_restore(&mut self.engine, file.as_ptr().cast(), size, &mut next)
        };
        (status, next)
    }
}

/// The core's logits after `tokens`.
fn expected(tokens: &[u32]) -> Vec<f32> {
    let model = Model::open(MODEL).unwrap();
    let mut state = vec![0.0; model.shape().state_len()];
    let mut workspace = vec![0.0; workspace_len(model.shape(), 1)];
    let mut logits = vec![0.0; model.shape().vocab];
    let mut engine = Cpu::new(model, Scalar, 1, &mut state, &mut workspace).unwrap();
    engine.prefill(0, tokens, &mut logits).unwrap();
    logits
}

/// Every kernel set of this machine has a name in C, and the fastest is taken.
#[test]
fn engines_have_the_kernels_of_the_machine() {
    let rig = Rig::new(&open(), 1);
    // SAFETY: an engine; a static string.
    let name = unsafe { CStr::from_ptr(kinglet_engine_kernels(&rig.engine)) };
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        name.to_str(),
        Ok(kinglet_simd::SimdKernels::name(&kinglet_desktop::KernelSet::best()))
    );
    #[cfg(target_arch = "aarch64")]
    assert_eq!(
        name.to_str(),
        Ok(kinglet_simd::SimdKernels::name(&kinglet_neon::KernelSet::best()))
    );
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    assert_eq!(name.to_str(), Ok("scalar"));
    // SAFETY: what is no engine is refused.
    unsafe {
        assert!(kinglet_engine_kernels(null()).is_null());
        assert!(kinglet_engine_kernels(&handle!(KingletEngine)).is_null());
    }
}

#[test]
fn the_numbers_are_those_of_the_core() {
    let model = open();
    let tokens = [0, 5, 300, 7, 7, 1];
    for batch in [1, 4, KINGLET_MAX_BATCH] {
        let mut rig = Rig::new(&model, batch);
        assert_eq!(rig.prefill(&tokens), Status::Ok);
        assert_eq!(rig.logits, expected(&tokens));
        assert_eq!(rig.step(9), Status::Ok);
        assert_eq!(rig.logits, expected(&[&tokens[..], &[9]].concat()));
        assert_eq!(rig.digest(), (Status::Ok, DIGEST));
    }
}

#[test]
fn an_f16_state_takes_half_and_has_numbers_of_its_own() {
    let model = open();
    // SAFETY: an open model.
    let (state, file_size, f32_file_size) = unsafe {
        assert_eq!(2 * kinglet_state_size_f16(&model), kinglet_state_size(&model));
        assert_eq!(kinglet_state_size_f16(&handle!(KingletModel)), 0);
        let file_size = kinglet_state_file_size_f16(&model);
        (kinglet_state_size_f16(&model), file_size, kinglet_state_file_size(&model))
    };
    assert_eq!(file_size - 64, state);
    for batch in [1, 7] {
        let mut rig = Rig::new_f16(&model, batch);
        assert_eq!(rig.digest(), (Status::Ok, DIGEST_F16));
        // As if nothing had been computed.
        assert_eq!(rig.digest(), (Status::Ok, DIGEST_F16));
    }

    let mut rig = Rig::new_f16(&model, 2);
    assert_eq!(rig.prefill(&[0, 5, 300]), Status::Ok);
    let mut file = vec![0u32; file_size / 4];
    assert_eq!(rig.save(7, &mut file), Status::Ok);
    assert_eq!(rig.save(7, &mut file[1..]), Status::BufferTooSmall);
    assert_eq!(rig.step(7), Status::Ok);
    let mut other = Rig::new_f16(&model, 1);
    assert_eq!(other.restore(&file, file_size), (Status::Ok, 7));
    assert_eq!(other.step(7), Status::Ok);
    assert_eq!(other.logits, rig.logits);

    let mut exact = Rig::new(&model, 1);
    assert_eq!(exact.restore(&file, file_size).0, Status::StateType);
    let mut exact_file = vec![0u32; f32_file_size / 4];
    assert_eq!(exact.save(7, &mut exact_file), Status::Ok);
    assert_eq!(rig.restore(&exact_file, f32_file_size).0, Status::StateType);

    let mut short = Rig::sized(&model, 1, state - 4);
    assert_eq!(short.init_with(kinglet_engine_init_f16, &model, 1), Status::BufferTooSmall);
    assert_eq!(short.init(&model, 1), Status::BufferTooSmall);
}

#[test]
fn logits_may_be_left_out() {
    let model = open();
    let mut rig = Rig::new(&model, 1);
    // SAFETY: no logits are wanted.
    let step = |rig: &mut Rig| unsafe { kinglet_engine_step(&mut rig.engine, 0, null_mut(), 0) };
    assert_eq!(step(&mut rig), Status::Ok);
    assert_eq!(rig.step(5), Status::Ok);
    assert_eq!(rig.logits, expected(&[0, 5]));
    // SAFETY: the rig's engine.
    assert_eq!(unsafe { kinglet_engine_reset(&mut rig.engine) }, Status::Ok);
    assert_eq!(rig.step(5), Status::Ok);
    assert_eq!(rig.logits, expected(&[5]));
}

#[test]
fn a_step_in_pieces_has_the_same_numbers() {
    let model = open();
    for f16 in [false, true] {
        let mut rig = if f16 { Rig::new_f16(&model, 1) } else { Rig::new(&model, 1) };
        let [begin, other] = match f16 {
            false => [kinglet_step_begin, kinglet_step_begin_f16],
            true => [kinglet_step_begin_f16, kinglet_step_begin],
        };
        let (logits, size) = (rig.logits.as_mut_ptr(), 4 * rig.logits.len());
        let engine: *mut KingletEngine = &mut rig.engine;
        let read = || -> Vec<u32> {
            // SAFETY: nothing writes to the logits meanwhile.
            let logits = unsafe { std::slice::from_raw_parts(logits, size / 4) };
            logits.iter().map(|x| x.to_bits()).collect()
        };
        // SAFETY: an engine with its buffers, used on one thread.
        unsafe {
            assert_eq!(kinglet_step_poll(engine, 1), Status::InvalidHandle);
            let tokens = [5, 77, 300];
            let whole = tokens.map(|token| {
                assert_eq!(kinglet_engine_step(engine, token, logits, size), Status::Ok);
                read()
            });
            assert_eq!(kinglet_engine_reset(engine), Status::Ok);
            for (token, whole) in tokens.into_iter().zip(whole) {
                assert_eq!(other(engine, token, logits, size), Status::StateType);
                assert_eq!(begin(engine, token, logits, size), Status::Ok);
                let mut polls = 1;
                while kinglet_step_poll(engine, 20_000) == Status::More {
                    polls += 1;
                }
                assert!(polls > 40, "{polls}");
                assert_eq!(read(), whole);
                assert_eq!(kinglet_step_poll(engine, 1), Status::InvalidHandle);
            }

            // Until it is given up, it is all that the engine does.
            assert_eq!(begin(engine, 0, null_mut(), 0), Status::Ok);
            assert_eq!(kinglet_step_poll(engine, 20_000), Status::More);
            assert_eq!(begin(engine, 0, logits, size), Status::Unfinished);
            assert_eq!(kinglet_engine_step(engine, 0, logits, size), Status::Unfinished);
            let prefill = kinglet_engine_prefill(engine, [0, 1].as_ptr(), 2, logits, size);
            assert_eq!(prefill, Status::Unfinished);
            let mut file = vec![0u32; 1 << 16];
            let (file, room) = (file.as_mut_ptr().cast::<u8>(), 4 << 16);
            assert_eq!(kinglet_state_save(engine, 0, file, room), Status::Unfinished);
            assert_eq!(kinglet_engine_reset(engine), Status::Ok);
            assert_eq!(kinglet_step_poll(engine, 1), Status::InvalidHandle);
            assert_eq!(kinglet_engine_step(engine, 5, logits, size), Status::Ok);

            // What cannot be begun.
            assert_eq!(begin(engine, 1 << 20, logits, size), Status::Token);
            assert_eq!(begin(engine, 0, logits, size - 4), Status::BufferTooSmall);
            assert_eq!(begin(null_mut(), 0, logits, size), Status::NullPointer);
            assert_eq!(begin(engine, 0, engine.cast(), size), Status::Overlap);
        }
    }
}

/// Counts calls, and stops at the fourth.
unsafe extern "C" fn stop_at_four(context: *mut c_void, layers: usize) -> i32 {
    // SAFETY: the tests give a count.
    let calls = unsafe { &mut *context.cast::<Vec<usize>>() };
    calls.push(layers);
    i32::from(layers == 4)
}

#[test]
fn a_hook_is_called_after_each_layer_and_may_stop() {
    let model = open();
    let mut rig = Rig::new(&model, 4);
    let (logits, size) = (rig.logits.as_mut_ptr(), 4 * rig.logits.len());
    let engine: *mut KingletEngine = &mut rig.engine;
    let mut calls: Vec<usize> = Vec::new();
    let context = (&raw mut calls).cast();
    // SAFETY: an engine with its buffers; the hook gets what it takes.
    unsafe {
        let step = kinglet_engine_step_with(engine, 5, logits, size, Some(stop_at_four), context);
        assert_eq!(step, Status::Cancelled);
        let tokens = [1, 2, 3, 4, 5];
        let (hook, tokens) = (Some(stop_at_four as _), (tokens.as_ptr(), tokens.len()));
        let prefill =
            kinglet_engine_prefill_with(engine, tokens.0, tokens.1, logits, size, hook, context);
        assert_eq!(prefill, Status::Cancelled);
        assert_eq!(kinglet_engine_reset(engine), Status::Ok);
        assert_eq!(kinglet_engine_step(engine, 5, logits, size), Status::Ok);
    }
    assert_eq!(calls, [1, 2, 3, 4, 1, 2, 3, 4]);
}

#[test]
fn a_sequence_goes_on_from_its_state_file() {
    let model = open();
    let mut rig = Rig::new(&model, 2);
    assert_eq!(rig.prefill(&[0, 5, 300]), Status::Ok);
    // SAFETY: an open model.
    let size = unsafe { kinglet_state_file_size(&model) };
    let mut file = vec![0u32; size / 4];
    assert_eq!(rig.save(7, &mut file), Status::Ok);

    let mut other = Rig::new(&model, 1);
    assert_eq!(other.restore(&file, size), (Status::Ok, 7));
    assert_eq!(other.step(7), Status::Ok);
    assert_eq!(other.logits, expected(&[0, 5, 300, 7]));

    assert_eq!(rig.save(KINGLET_NO_TOKEN, &mut file), Status::Ok);
    assert_eq!(other.restore(&file, size), (Status::Ok, KINGLET_NO_TOKEN));
    assert_eq!(other.restore(&file, size - 4).0, Status::StateDamaged);
    assert_eq!(other.restore(&file, 10).0, Status::NotAState);
    file[20] ^= 0x10000;
    assert_eq!(other.restore(&file, size).0, Status::StateDamaged);
    // The sequence stands where it stood.
    assert_eq!(other.step(7), Status::Ok);
    assert_eq!(other.logits, expected(&[0, 5, 300, 7]));

    assert_eq!(rig.save(1 << 20, &mut file), Status::Token);
    assert_eq!(rig.save(0, &mut file[1..]), Status::BufferTooSmall);
}

/// The program `kinglet` keeps more in a state file than the state.
#[test]
fn a_state_file_with_sections_is_restored() {
    use kinglet::format::state_file::{StateFile, StateSection};
    let model = open();
    let mut rig = Rig::new(&model, 1);
    // SAFETY: an open model.
    let size = unsafe { kinglet_state_file_size(&model) };
    let mut file = vec![0u32; size / 4];
    assert_eq!(rig.prefill(&[0, 5, 300]), Status::Ok);
    assert_eq!(rig.save(7, &mut file), Status::Ok);

    let header = *Model::open(MODEL).unwrap().header();
    // SAFETY: the words of `file`.
    let bytes = unsafe { std::slice::from_raw_parts(file.as_ptr().cast(), size) };
    let plain = StateFile::<f32>::parse(&header, bytes).unwrap();
    let (values, next) = (plain.values().unwrap(), plain.next_token());
    let sections = [(StateSection::UnfinishedBytes, &b"\xE2\x82"[..])];
    let mut longer = vec![0u32; file.len() + 16];
    let bytes = longer.as_mut_ptr().cast();
    // SAFETY: the words of `longer`.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, 4 * longer.len()) };
    let written = StateFile::write_sections(&header, values, next, &sections, bytes);
    let written = written.unwrap();
    assert!(written > size);
    let mut other = Rig::new(&model, 1);
    assert_eq!(other.restore(&longer, written), (Status::Ok, 7));
    assert_eq!(other.step(7), Status::Ok);
    assert_eq!(other.logits, expected(&[0, 5, 300, 7]));
}

#[test]
fn a_text_becomes_tokens_and_text_again() {
    let model = open();
    let text = b"Once upon a time";
    let encode = |tokens: &mut [u32]| {
        let mut count = usize::MAX;
        // SAFETY: the text and the tokens are what they say.
        let status = unsafe {
            let (tokens, capacity) = (tokens.as_mut_ptr(), tokens.len());
            kinglet_encode(&model, text.as_ptr(), text.len(), tokens, capacity, &mut count)
        };
        (status, count)
    };
    let (status, count) = encode(&mut []);
    assert_eq!(status, Status::BufferTooSmall);
    let mut tokens = vec![0; count];
    assert_eq!(encode(&mut tokens[..1]), (Status::BufferTooSmall, count));
    assert_eq!(encode(&mut tokens), (Status::Ok, count));

    unsafe extern "C" fn append(context: *mut c_void, text: *const c_char, size: usize) {
        // SAFETY: the context is the test's vector, the text has that size.
        unsafe {
            let text = std::slice::from_raw_parts(text.cast::<u8>(), size);
            assert!(std::str::from_utf8(text).is_ok(), "not whole characters");
            (*context.cast::<Vec<u8>>()).extend_from_slice(text);
        }
    }
    let mut stream = handle!(KingletText);
    let mut written = Vec::<u8>::new();
    let context: *mut c_void = (&raw mut written).cast();
    // SAFETY: the handles, the text and the context are what they say.
    unsafe {
        assert_eq!(
            kinglet_text_push(&mut stream, null(), 0, None, null_mut()),
            Status::InvalidHandle
        );
        assert_eq!(kinglet_text_init(&mut stream), Status::Ok);
        assert_eq!(
            kinglet_text_push(&mut stream, null(), 0, None, null_mut()),
            Status::NullPointer
        );
        for token in tokens {
            let (mut bytes, mut size) = (null(), 0);
            assert_eq!(kinglet_decode(&model, token, &mut bytes, &mut size), Status::Ok);
            assert_eq!(
                kinglet_text_push(&mut stream, bytes, size, Some(append), context),
                Status::Ok
            );
        }
        for bytes in [&b" \xC3"[..], b"\xA9", b"\xE2\x82"] {
            let push =
                kinglet_text_push(&mut stream, bytes.as_ptr(), bytes.len(), Some(append), context);
            assert_eq!(push, Status::Ok);
        }
        assert_eq!(kinglet_text_finish(&mut stream, Some(append), context), Status::Ok);
        let (mut bytes, mut size) = (null(), 9);
        assert_eq!(kinglet_decode(&model, 0, &mut bytes, &mut size), Status::Ok);
        assert_eq!(size, 0, "the end of a text has no bytes");
        assert_eq!(kinglet_decode(&model, 1 << 20, &mut bytes, &mut size), Status::Token);
    }
    assert_eq!(String::from_utf8(written).unwrap(), "Once upon a time é\u{FFFD}");
}

#[test]
fn a_model_has_options_of_its_own() {
    use kinglet::sampler::SamplerOptions;
    let mut model = handle!(KingletModel);
    // SAFETY: the handle and the bytes are what they say.
    let [none, unopened, of_model] = unsafe {
        let none = kinglet_sampler_defaults_for(null());
        let unopened = kinglet_sampler_defaults_for(&model);
        let bytes = kinglet_stories::MODEL;
        assert_eq!(kinglet_model_open(&mut model, bytes.as_ptr(), bytes.len()), Status::Ok);
        [none, unopened, kinglet_sampler_defaults_for(&model)].map(SamplerOptions::from)
    };
    assert_eq!([none, unopened], [SamplerOptions::default(); 2]);
    assert_eq!(of_model, SamplerOptions::STORIES);
    assert_eq!(SamplerOptions::from(kinglet_sampler_defaults()), SamplerOptions::default());
}

#[test]
fn a_sampler_draws_what_the_core_draws() {
    use kinglet::sampler::{Sampler, SamplerOptions};
    let mut options = kinglet_sampler_defaults();
    options.top_p = 0.9;
    options.presence = 0.5;
    let mut core = Sampler::with_counts(
        SamplerOptions { top_p: 0.9, presence: 0.5, ..Default::default() },
        42,
        vec![0.0; 512],
    )
    .unwrap();
    let logits: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32) / 12.0).collect();
    let mut counts = vec![f32::NAN; 512];
    let mut sampler = handle!(KingletSampler);
    // SAFETY: the handle and the buffers are what they say.
    unsafe {
        let init = |sampler: &mut KingletSampler, counts: *mut f32, size| {
            kinglet_sampler_init(sampler, options, 42, counts, size)
        };
        assert_eq!(init(&mut sampler, null_mut(), 0), Status::Counts);
        let mut token = 0;
        let mut copy = logits.clone();
        let draw = |sampler: &mut KingletSampler, copy: &mut [f32], token: &mut u32| {
            kinglet_sampler_sample(sampler, copy.as_mut_ptr(), copy.len(), token)
        };
        assert_eq!(draw(&mut sampler, &mut copy, &mut token), Status::InvalidHandle);
        assert_eq!(init(&mut sampler, counts.as_mut_ptr(), 4 * counts.len()), Status::Ok);
        assert_eq!(kinglet_sampler_ban(&mut sampler, 11), Status::Ok);
        core.ban(11).unwrap();
        for _ in 0..64 {
            copy.clone_from(&logits);
            assert_eq!(draw(&mut sampler, &mut copy, &mut token), Status::Ok);
            copy.clone_from(&logits);
            assert_eq!(token, core.sample(&mut copy).unwrap());
            assert_eq!(kinglet_sampler_accept(&mut sampler, null(), token), Status::Ok);
            core.accept(token);
        }
        copy.fill(f32::NAN);
        assert_eq!(draw(&mut sampler, &mut copy, &mut token), Status::NonFinite);
        copy.fill(f32::NEG_INFINITY);
        assert_eq!(draw(&mut sampler, &mut copy, &mut token), Status::NoCandidate);
        let bad = KingletSamplerOptions { temperature: -1.0, ..options };
        assert_eq!(kinglet_sampler_set_options(&mut sampler, bad), Status::Options);
        for token in 100..131 {
            assert_eq!(kinglet_sampler_ban(&mut sampler, token), Status::Ok);
        }
        assert_eq!(kinglet_sampler_ban(&mut sampler, 200), Status::TooManyBans);
        assert_eq!(kinglet_sampler_unban(&mut sampler, 100), Status::Ok);
        assert_eq!(kinglet_sampler_ban(&mut sampler, 200), Status::Ok);
    }
}

#[test]
fn a_draw_in_pieces_draws_the_same() {
    let logits: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32) / 12.0).collect();
    let options =
        KingletSamplerOptions { temperature: 0.8, top_p: 0.9, ..kinglet_sampler_defaults() };
    let [mut whole, mut sampler] = [(); 2].map(|()| {
        let mut sampler = handle!(KingletSampler);
        // SAFETY: the handle.
        let status = unsafe { kinglet_sampler_init(&mut sampler, options, 42, null_mut(), 0) };
        assert_eq!(status, Status::Ok);
        sampler
    });
    let mut copy = logits.clone();
    let (pointer, count) = (copy.as_mut_ptr(), copy.len());
    let again = || {
        // SAFETY: as many logits.
        unsafe { pointer.copy_from_nonoverlapping(logits.as_ptr(), count) }
    };
    let mut other = logits.clone();
    // SAFETY: the handles and the buffers are what they say.
    unsafe {
        let poll = |sampler: &mut KingletSampler, budget| {
            let mut token = u32::MAX;
            let status = kinglet_sampler_sample_poll(sampler, budget, &mut token);
            (status, token)
        };
        let begin =
            |sampler: &mut KingletSampler| kinglet_sampler_sample_begin(sampler, pointer, count);
        assert_eq!(begin(&mut handle!(KingletSampler)), Status::InvalidHandle);
        assert_eq!(poll(&mut sampler, 9), (Status::InvalidHandle, u32::MAX));
        for budget in [0, 100, 3000, usize::MAX] {
            let mut expected = 0;
            other.clone_from(&logits);
            let status =
                kinglet_sampler_sample(&mut whole, other.as_mut_ptr(), count, &mut expected);
            assert_eq!(status, Status::Ok);
            // One that is given up, and then the one that counts.
            for give_up in [true, false] {
                again();
                assert_eq!(begin(&mut sampler), Status::Ok);
                let mut polls = 1;
                let drawn = loop {
                    let (status, token) = poll(&mut sampler, budget);
                    if status != Status::More {
                        break (status, token);
                    }
                    polls += 1;
                    if give_up && polls == 3 {
                        break (status, token);
                    }
                };
                if give_up && budget < usize::MAX {
                    assert_eq!(drawn, (Status::More, u32::MAX));
                    assert_eq!(kinglet_sampler_unban(&mut sampler, 1), Status::Ok);
                } else {
                    assert_eq!(drawn, (Status::Ok, expected));
                    assert_eq!(polls == 1, budget == usize::MAX);
                    if give_up {
                        break;
                    }
                }
                assert_eq!(poll(&mut sampler, 9).0, Status::InvalidHandle);
            }
        }
        again();
        pointer.write(f32::NAN);
        assert_eq!(begin(&mut sampler), Status::Ok);
        assert_eq!(poll(&mut sampler, 9), (Status::NonFinite, u32::MAX));
        assert_eq!(poll(&mut sampler, 9).0, Status::InvalidHandle);
    }
}

#[test]
fn models_that_are_none_are_refused() {
    let mut model = handle!(KingletModel);
    let mut open = |bytes: *const u8, size| {
        // SAFETY: the bytes are there, or refused before they are read.
        let status = unsafe { kinglet_model_open(&mut model, bytes, size) };
        // SAFETY: an initialised or a refused handle.
        assert_eq!(unsafe { kinglet_state_size(&model) } != 0, status == Status::Ok);
        status
    };
    assert_eq!(open(MODEL.as_ptr(), MODEL.len()), Status::Ok);
    assert_eq!(open(null(), 100), Status::NullPointer);
    assert_eq!(open(null(), 0), Status::NotAModel);
    assert_eq!(open(MODEL.as_ptr(), usize::MAX), Status::Length);
    assert_eq!(open(MODEL[64..].as_ptr(), 4096), Status::NotAModel);
    assert_eq!(open(MODEL.as_ptr(), MODEL.len() / 2), Status::ModelDamaged);
    let mut copy = vec![0u8; MODEL.len() + 128];
    let start = copy.as_ptr().align_offset(64);
    copy[start..][..MODEL.len()].copy_from_slice(MODEL);
    copy[start + 100_000] ^= 1;
    assert_eq!(open(copy[start..].as_ptr(), MODEL.len()), Status::Ok);
    // SAFETY: an open model, whose bytes live.
    assert_eq!(unsafe { kinglet_model_verify(&model) }, Status::ModelDamaged);
    copy[start..].copy_within(..MODEL.len(), 4);
    let mut model = handle!(KingletModel);
    // SAFETY: the bytes are there.
    let status = unsafe { kinglet_model_open(&mut model, copy[start + 4..].as_ptr(), MODEL.len()) };
    assert_eq!(status, Status::Misaligned);
}

#[test]
fn buffers_that_do_not_serve_are_refused() {
    let model = open();
    let mut rig = Rig::new(&model, 4);
    assert_eq!(rig.init(&model, 0), Status::Batch);
    assert_eq!(rig.init(&model, KINGLET_MAX_BATCH + 1), Status::Batch);
    assert_eq!(rig.init(&model, usize::MAX), Status::Batch);
    assert_eq!(rig.init(&model, 5), Status::BufferTooSmall);
    assert_eq!(rig.step(0), Status::InvalidHandle, "its initialisation failed");
    assert_eq!(rig.init(&handle!(KingletModel), 4), Status::InvalidHandle);

    let (state_size, workspace_size) = (4 * rig.state.len(), 4 * rig.workspace.len());
    let mut both = vec![0f32; rig.state.len() + rig.workspace.len()];
    let mut init = |state: *mut f32, workspace: *mut f32| {
        let (state, workspace) = (state.cast(), workspace.cast());
        let engine = &mut rig.engine;
        // SAFETY: the buffers are inside `both`, or refused.
        unsafe {
            kinglet_engine_init(engine, &model, 4, state, state_size, workspace, workspace_size)
        }
    };
    let start = both.as_mut_ptr();
    let apart = start.wrapping_add(state_size / 4);
    assert_eq!(init(start, start.wrapping_add(state_size / 4 - 1)), Status::Overlap);
    assert_eq!(init(start.wrapping_byte_add(2), apart), Status::Misaligned);
    assert_eq!(init(null_mut(), apart), Status::NullPointer);
    assert_eq!(init(start, null_mut()), Status::NullPointer);
    assert_eq!(init(MODEL.as_ptr().cast_mut().cast(), apart), Status::Overlap);
    assert_eq!(init(start, apart), Status::Ok);
    let engine = &mut rig.engine;
    // SAFETY: the buffers are what they say, or refused.
    unsafe {
        let vocab = kinglet_logits_size(&model);
        assert_eq!(kinglet_engine_step(engine, 0, start, vocab), Status::Overlap);
        assert_eq!(
            kinglet_engine_step(engine, 0, rig.logits.as_mut_ptr(), vocab - 4),
            Status::BufferTooSmall
        );
        assert_eq!(
            kinglet_engine_step(engine, u32::MAX, rig.logits.as_mut_ptr(), vocab),
            Status::Token
        );
        assert_eq!(kinglet_engine_step(null_mut(), 0, null_mut(), 0), Status::NullPointer);
        assert_eq!(
            kinglet_engine_step(
                engine.opaque.as_mut_ptr().wrapping_byte_add(1).cast(),
                0,
                null_mut(),
                0
            ),
            Status::Misaligned
        );
        assert_eq!(
            kinglet_engine_reset((&raw const model).cast_mut().cast()),
            Status::InvalidHandle
        );
        assert_eq!(kinglet_workspace_size(&model, 0), 0);
        assert_eq!(kinglet_workspace_size(&model, usize::MAX), 0);
    }
}

/// Buffers of one call that share a byte are refused before there are references to them.
#[test]
fn buffers_of_one_call_are_apart() {
    let model = open();
    let mut memory = [0_u32; 64];
    let start = memory.as_mut_ptr();
    let mut count = 7;
    let encode = |text: *const u32, tokens: *mut u32, count: *mut usize| {
        // SAFETY: 16 bytes of text and 4 tokens are inside `memory`, or refused.
        unsafe { kinglet_encode(&model, text.cast(), 16, tokens, 4, count) }
    };
    assert_eq!(encode(start, start, &mut count), Status::Overlap);
    assert_eq!(encode(start.wrapping_add(3), start, &mut count), Status::Overlap);
    assert_eq!(encode(start.wrapping_add(4), start, start.cast()), Status::Overlap);
    assert_eq!(encode(start, start.wrapping_add(4), start.cast()), Status::Overlap);
    assert_eq!(count, 7);
    assert_eq!(encode(start.wrapping_add(4), start, &mut count), Status::BufferTooSmall);

    let mut sampler = handle!(KingletSampler);
    let handle = &raw mut sampler;
    let options = kinglet_sampler_defaults();
    let mut floats = [0_f32; 64];
    let counts = floats.as_mut_ptr();
    let mut token = 0;
    // SAFETY: 32 counts and 32 logits are inside `floats`, or refused.
    unsafe {
        let init = |counts: *mut f32| kinglet_sampler_init(handle, options, 1, counts, 128);
        assert_eq!(init(handle.cast::<f32>().wrapping_add(8)), Status::Overlap);
        let sample =
            |logits: *mut f32, token: *mut u32| kinglet_sampler_sample(handle, logits, 32, token);
        assert_eq!(sample(counts, &mut token), Status::InvalidHandle);
        assert_eq!(init(counts), Status::Ok);
        let apart = counts.wrapping_add(32);
        assert_eq!(sample(counts, &mut token), Status::Overlap);
        assert_eq!(sample(counts.wrapping_add(31), &mut token), Status::Overlap);
        assert_eq!(sample(handle.cast(), &mut token), Status::Overlap);
        assert_eq!(sample(apart, apart.cast()), Status::Overlap);
        assert_eq!(sample(apart, counts.cast()), Status::Overlap);
        assert_eq!(sample(apart, &mut token), Status::Ok);
        let begin = |logits: *mut f32| kinglet_sampler_sample_begin(handle, logits, 32);
        let poll = |token: *mut u32| kinglet_sampler_sample_poll(handle, 9, token);
        assert_eq!(begin(counts.wrapping_add(31)), Status::Overlap);
        assert_eq!(begin(handle.cast()), Status::Overlap);
        assert_eq!(begin(apart), Status::Ok);
        assert_eq!(poll(apart.cast()), Status::Overlap);
        assert_eq!(poll(counts.cast()), Status::Overlap);
        assert_eq!(poll(handle.cast()), Status::Overlap);
        assert_eq!(poll(&mut token), Status::More);
    }
}

#[test]
fn a_state_file_that_is_refused_is_as_it_was() {
    let model = open();
    let rig = Rig::new(&model, 1);
    // SAFETY: an open model.
    let mut file = vec![0x5A5A_5A5A_u32; unsafe { kinglet_state_file_size(&model) } / 4];
    assert_eq!(rig.save(1 << 20, &mut file), Status::Token);
    assert_eq!(rig.save(0, &mut file[1..]), Status::BufferTooSmall);
    let size = 4 * file.len() - 2;
    let odd = file.as_mut_ptr().wrapping_byte_add(2).cast();
    // SAFETY: inside the file.
    let status = unsafe { kinglet_state_save(&rig.engine, 0, odd, size) };
    assert_eq!(status, Status::BufferTooSmall);
    file.push(0x5A5A_5A5A);
    let odd = file.as_mut_ptr().wrapping_byte_add(2).cast();
    // SAFETY: inside the file.
    let status = unsafe { kinglet_state_save(&rig.engine, 0, odd, size + 2) };
    assert_eq!(status, Status::Misaligned);
    assert!(file.iter().all(|&word| word == 0x5A5A_5A5A));
    assert_eq!(rig.save(0, &mut file), Status::Ok);
}

#[test]
fn the_model_tells_what_it_is() {
    let model = open();
    // SAFETY: all bytes are an info.
    let mut info: KingletModelInfo = unsafe { std::mem::zeroed() };
    // SAFETY: an open model and an info.
    assert_eq!(unsafe { kinglet_model_info(&model, &mut info) }, Status::Ok);
    let core = Model::open(MODEL).unwrap();
    assert_eq!(info.vocab as usize, core.shape().vocab);
    assert_eq!((info.architecture, info.layers, info.width), (7, 6, 128));
    assert_eq!(info.end_of_text, 0);
    assert!(info.drawable > 256 && info.drawable <= info.vocab);
    assert_eq!(info.content_hash, core.header().content_hash);
    // SAFETY: an open model, and none.
    let turns = unsafe { [kinglet_model_end_of_turn(&model), kinglet_model_end_of_turn(null())] };
    assert_eq!(turns, [KINGLET_NO_TOKEN; 2], "the story teller has no turns");
}

#[test]
fn every_status_has_a_text() {
    // SAFETY: the strings end with NUL and always live.
    let text = |status| unsafe { CStr::from_ptr(kinglet_error_string(status)) };
    let texts: std::collections::BTreeSet<_> = (0..=Status::NotAllowed as i32).map(text).collect();
    assert_eq!(texts.len(), Status::NotAllowed as usize + 1);
    for unknown in [-1, Status::NotAllowed as i32 + 1, i32::MIN, i32::MAX] {
        assert_eq!(text(unknown), text(Status::Other as i32));
    }
    // SAFETY: as above.
    let version = unsafe { CStr::from_ptr(kinglet_version()) };
    assert_eq!(version.to_str().unwrap(), env!("CARGO_PKG_VERSION"));
}
