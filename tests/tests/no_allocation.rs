//! Nothing is allocated per token.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kinglet::engine::Engine;
use kinglet::format::model::{Model, Section};
use kinglet::kernels::scalar::Scalar;
use kinglet::sampler::{Sampler, SamplerOptions};
use kinglet::tokenizer::Tokenizer;
use kinglet::tokenizer::text_stream::TextStream;
use kinglet_tests::quantized::with_engine;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_story_is_told_without_allocating() {
    let model = Model::open(kinglet_stories::MODEL).unwrap();
    let tokenizer = Tokenizer::parse(model.section(Section::Tokenizer)).unwrap();
    let options = SamplerOptions { presence: 0.1, frequency: 0.1, ..Default::default() };
    let mut sampler = Sampler::with_counts(options, 7, [0.0; 1024]).unwrap();
    let mut stream = TextStream::new();
    let mut logits = vec![0.0; model.shape().vocab];
    let mut prompt = Vec::with_capacity(64);
    with_engine(model, Scalar, 2, 4, |engine| {
        let before = ALLOCATIONS.get();
        prompt.push(0);
        prompt.extend(tokenizer.encode(b"Lily has a red ball").map(Result::unwrap));
        engine.prefill(0, &prompt, &mut logits).unwrap();
        let mut bytes = 0;
        for _ in 0..50 {
            let token = sampler.sample(&mut logits).unwrap();
            sampler.accept(token);
            let text = tokenizer.token(token).unwrap_or_default();
            bytes += stream.push(text).map(str::len).sum::<usize>();
            engine.step(0, token, &mut logits).unwrap();
        }
        assert!(bytes > 50);
        assert_eq!(ALLOCATIONS.get() - before, 0);
    });
}
