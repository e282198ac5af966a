//! A model of every architecture through the C interface, each small enough for Miri: opened,
//! verified, computed, saved and restored, drawn from and shown. They are the seeds of the fuzz
//! target that reads model files.

use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

use KingletStatus as Status;
use kinglet_c::*;

#[repr(align(64))]
struct Aligned<const N: usize>([u8; N]);

macro_rules! model {
    ($name:literal) => {{
        static FILE: &Aligned<
            { include_bytes!(concat!("../../../tests/fuzz/seeds/model/", $name)).len() },
        > = &Aligned(*include_bytes!(concat!("../../../tests/fuzz/seeds/model/", $name)));
        ($name, &FILE.0[..])
    }};
}

unsafe extern "C" fn count(context: *mut c_void, _text: *const c_char, size: usize) {
    // SAFETY: the context is the test's number.
    unsafe { *context.cast::<usize>() += size }
}

fn buffer(size: usize) -> Vec<f32> {
    vec![0.0; size.div_ceil(4)]
}

/// Steps through a few tokens, saving the state between them.
fn compute(name: &str, file: &[u8]) {
    let mut model = KingletModel { opaque: [0; _] };
    let mut engine = KingletEngine { opaque: [0; _] };
    let mut sampler = KingletSampler { opaque: [0; _] };
    let mut text = KingletText { opaque: [0; _] };
    // SAFETY: handles and buffers of the sizes that are asked for, each used by its own.
    unsafe {
        assert_eq!(kinglet_model_open(&mut model, file.as_ptr(), file.len()), Status::Ok, "{name}");
        assert_eq!(kinglet_model_verify(&model), Status::Ok);
        let sizes = [
            kinglet_state_size(&model),
            kinglet_workspace_size(&model, 2),
            kinglet_logits_size(&model),
            kinglet_state_file_size(&model),
        ];
        let [mut state, mut workspace, mut logits, mut saved] = sizes.map(buffer);
        let saved = saved.as_mut_ptr().cast::<u8>();
        let (state, workspace) = (state.as_mut_ptr().cast(), workspace.as_mut_ptr().cast());
        let made =
            kinglet_engine_init(&mut engine, &model, 2, state, sizes[0], workspace, sizes[1]);
        assert_eq!(made, Status::Ok);
        let tokens = [1, 5, 9];
        let mut step = |engine: &mut KingletEngine| {
            let pointer = logits.as_mut_ptr();
            let fed = kinglet_engine_prefill(engine, tokens.as_ptr(), 3, pointer, sizes[2]);
            assert_eq!(fed, Status::Ok);
            assert!(logits.iter().all(|x| x.is_finite()));
            logits.clone()
        };
        step(&mut engine);
        assert_eq!(kinglet_state_save(&engine, 7, saved, sizes[3]), Status::Ok);
        let expected = step(&mut engine);
        let mut next = 0;
        assert_eq!(kinglet_state_restore(&mut engine, saved, sizes[3], &mut next), Status::Ok);
        assert_eq!((next, step(&mut engine)), (7, expected.clone()));

        let options = kinglet_sampler_defaults();
        assert_eq!(kinglet_sampler_init(&mut sampler, options, 1, null_mut(), 0), Status::Ok);
        let mut logits = expected;
        let pointer = logits.as_mut_ptr();
        let drawn = kinglet_sampler_sample(&mut sampler, pointer, logits.len(), &mut next);
        assert_eq!(drawn, Status::Ok);
        let (mut bytes, mut size, mut shown) = (std::ptr::null(), 0, 0_usize);
        assert_eq!(kinglet_decode(&model, 6, &mut bytes, &mut size), Status::Ok);
        assert_eq!(kinglet_text_init(&mut text), Status::Ok);
        let context: *mut c_void = (&raw mut shown).cast();
        assert_eq!(kinglet_text_push(&mut text, bytes, size, Some(count), context), Status::Ok);
        assert_eq!(kinglet_text_finish(&mut text, Some(count), context), Status::Ok);
        assert_eq!(shown, size);
    }
}

#[test]
fn every_architecture_computes() {
    let models = [
        model!("v4"),
        model!("v5_0"),
        model!("v5_1"),
        model!("v5_2"),
        model!("v6"),
        model!("v7"),
        model!("v7a"),
        model!("start"),
    ];
    for (name, file) in models {
        compute(name, file);
    }
}
