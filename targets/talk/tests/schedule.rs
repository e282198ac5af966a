//! Texts that share passes are the texts that they are alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use kinglet::sampler::{Pcg32, Sampler, SamplerOptions};
use kinglet::{Cpu, Engine, Model, Requirements, Scalar};
use kinglet_talk::schedule::{
    Draw, End, Reason, RefusedReason, Request, ScheduleOptions, Scheduler, Snapshot,
};

const MAX_BATCH: usize = 16;
const SEQUENCES: usize = 4;

/// What a test sees of a text.
#[derive(Debug, Default)]
struct Seen {
    tokens: Vec<u32>,
    is_unwanted: bool,
    end: Option<End>,
}

/// Draws so many tokens.
struct Writer {
    sampler: Sampler,
    most: usize,
    seen: Rc<RefCell<Seen>>,
}

impl Draw for Writer {
    fn is_wanted(&self) -> bool {
        !self.seen.borrow().is_unwanted
    }

    fn draw(&mut self, logits: &mut [f32]) -> Option<u32> {
        let mut seen = self.seen.borrow_mut();
        let token = self.sampler.sample(logits).unwrap();
        if seen.tokens.len() == self.most {
            return None;
        }
        seen.tokens.push(token);
        Some(token)
    }

    fn end(self: Box<Self>, end: End) {
        let earlier = self.seen.borrow_mut().end.replace(end);
        assert!(earlier.is_none());
    }
}

fn sampler(seed: u64) -> Sampler {
    Sampler::new(SamplerOptions { top_p: 0.9, ..SamplerOptions::default() }, seed).unwrap()
}

fn request<'a>(prompt: &[u32], seed: u64, most: usize) -> (Request<'a>, Rc<RefCell<Seen>>) {
    let seen = Rc::default();
    let draw = Box::new(Writer { sampler: sampler(seed), most, seen: Rc::clone(&seen) });
    let request = Request {
        start: None,
        prompt: prompt.to_vec(),
        borders: vec![],
        shared: true,
        keep: false,
        draw,
    };
    (request, seen)
}

struct Machine {
    model: Model<'static>,
    state: Vec<f32>,
    workspace: Vec<f32>,
}

impl Machine {
    fn new(sequences: usize) -> Self {
        let model = Model::open(kinglet_stories::MODEL).unwrap();
        let needs = Requirements::of::<f32>(model.shape(), MAX_BATCH);
        let state = vec![0.0; sequences * needs.state];
        Self { model, state, workspace: vec![0.0; needs.workspace] }
    }

    fn engine(&mut self) -> Cpu<'_, Scalar, f32> {
        Cpu::new(self.model, Scalar, MAX_BATCH, &mut self.state, &mut self.workspace).unwrap()
    }
}

/// The text that a prompt has alone: a step for each token.
fn alone(engine: &mut impl Engine, prompt: &[u32], seed: u64, most: usize) -> Vec<u32> {
    let mut logits = vec![0.0; engine.shape().vocab];
    engine.reset(0).unwrap();
    for &token in prompt {
        engine.step(0, token, &mut logits).unwrap();
    }
    let mut sampler = sampler(seed);
    let mut tokens = Vec::new();
    while tokens.len() < most {
        let token = sampler.sample(&mut logits).unwrap();
        engine.step(0, token, &mut logits).unwrap();
        tokens.push(token);
    }
    tokens
}

/// A text of a random schedule: all tokens before it, its seed and length.
struct Text {
    history: Vec<u32>,
    seed: u64,
    most: usize,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Debug, Default)]
struct Counts {
    texts: usize,
    forks: usize,
    cancelled: usize,
    hits: u64,
    evicted: u64,
}

/// Random arrivals, cancels and forks, among prompts that begin alike, with room for few states.
fn random_schedule(seed: u64, counts: &mut Counts) {
    let mut rng = Pcg32::new(seed);
    let mut below = |most: usize| (rng.next_f32() * most as f32) as usize;
    let (mut machine, mut single) = (Machine::new(SEQUENCES), Machine::new(1));
    let state_bytes = machine.model.shape().state_len() * 4;
    let mut engine = machine.engine();
    let options = ScheduleOptions {
        waiting: 64,
        prompt_tokens: 1 + below(MAX_BATCH),
        cache_bytes: (2 + below(6)) * (state_bytes + 6000),
        cache_every: 4 + below(12),
    };
    let mut scheduler = Scheduler::new(&mut engine, options);
    let beginnings: Vec<Vec<u32>> =
        (0..3).map(|_| (0..8 + below(16)).map(|_| 1 + below(900) as u32).collect()).collect();
    let mut texts: Vec<Text> = Vec::new();
    let mut forks: BTreeMap<usize, Snapshot> = BTreeMap::new();
    for _ in 0..60 {
        match below(5) {
            0 | 1 if texts.len() < 14 => {
                let mut prompt = beginnings[below(3)].clone();
                prompt.truncate(1 + below(prompt.len()));
                prompt.extend((0..below(4)).map(|_| 1 + below(900) as u32));
                let (seed, most) = (below(1000) as u64, below(8));
                let (mut request, seen) = request(&prompt, seed, most);
                request.borders = vec![below(12), below(12)];
                request.keep = below(2) == 0;
                request.shared = below(4) > 0;
                let mut history = prompt;
                if let Some((&from, snapshot)) = forks.iter().next()
                    && below(2) == 0
                {
                    let earlier = &texts[from];
                    let written = earlier.seen.borrow().tokens.clone();
                    history = [&earlier.history[..], &written, &request.prompt].concat();
                    request.start = Some(snapshot.clone());
                    counts.forks += 1;
                }
                scheduler.submit(request).unwrap();
                texts.push(Text { history, seed, most, seen });
            }
            2 if !texts.is_empty() => {
                let text = &texts[below(texts.len())];
                if below(3) == 0 {
                    text.seen.borrow_mut().is_unwanted = true;
                }
            }
            _ => {
                for _ in 0..below(6) {
                    scheduler.pass().unwrap();
                }
            }
        }
        for (index, text) in texts.iter().enumerate() {
            let snapshot = text.seen.borrow().end.as_ref().and_then(|end| end.snapshot.clone());
            if let Some(snapshot) = snapshot {
                forks.entry(index).or_insert(snapshot);
            }
        }
    }
    let mut passes = 0;
    while !scheduler.is_idle() {
        scheduler.pass().unwrap();
        passes += 1;
        assert!(passes < 1000, "{scheduler:?}");
    }
    let stats = scheduler.cache().stats();
    assert!(stats.bytes <= options.cache_bytes);
    counts.hits += stats.hits;
    counts.evicted += stats.evicted;
    let mut engine = single.engine();
    for text in texts {
        let seen = text.seen.borrow();
        let end = seen.end.as_ref().unwrap();
        let expected = alone(&mut engine, &text.history, text.seed, text.most);
        match end.reason {
            Reason::Drawn => assert_eq!(seen.tokens, expected),
            Reason::Unwanted => {
                assert!(seen.is_unwanted && expected.starts_with(&seen.tokens));
                counts.cancelled += 1;
            }
            Reason::Failed(ref error) => panic!("{error}"),
        }
        assert_eq!(end.drawn, seen.tokens.len());
        counts.texts += 1;
    }
}

#[test]
fn a_text_is_the_same_whatever_the_others_do() {
    let mut counts = Counts::default();
    for seed in 0..8 {
        random_schedule(seed, &mut counts);
    }
    let Counts { texts, forks, cancelled, hits, evicted } = counts;
    assert!(texts > 60 && forks > 5 && cancelled > 5 && hits > 10 && evicted > 10, "{counts:?}");
}

#[test]
fn a_long_prompt_holds_no_text_up() {
    let mut machine = Machine::new(SEQUENCES);
    let mut engine = machine.engine();
    let options = ScheduleOptions { prompt_tokens: 4, cache_bytes: 0, ..Default::default() };
    let mut scheduler = Scheduler::new(&mut engine, options);
    let (writing, seen) = request(&[5], 1, 30);
    scheduler.submit(writing).unwrap();
    scheduler.pass().unwrap();
    let (long, other) = (request(&[7; 60], 2, 2), request(&[8; 20], 3, 2));
    scheduler.submit(long.0).unwrap();
    scheduler.submit(other.0).unwrap();
    for pass in 2..=10 {
        let done = scheduler.pass().unwrap();
        assert_eq!((done.read, done.written), (4, 1), "{pass}");
        assert_eq!(seen.borrow().tokens.len(), pass);
    }
    // Both prompts were read alike: the shorter one is at its end.
    scheduler.pass().unwrap();
    assert_eq!(other.1.borrow().tokens.len(), 1);
    assert!(long.1.borrow().tokens.is_empty());
}

#[test]
fn a_prompt_read_before_is_not_read_again() {
    let mut machine = Machine::new(SEQUENCES);
    let mut engine = machine.engine();
    let mut scheduler = Scheduler::new(&mut engine, ScheduleOptions::default());
    let prompt: Vec<u32> = (1..50).collect();
    let mut last = None;
    for _ in 0..2 {
        let (request, seen) = request(&prompt, 9, 5);
        scheduler.submit(request).unwrap();
        while !scheduler.is_idle() {
            scheduler.pass().unwrap();
        }
        last = Some((seen.borrow().tokens.clone(), seen.borrow().end.as_ref().unwrap().cached));
    }
    assert_eq!(last.as_ref().map(|(_, cached)| *cached), Some(prompt.len()));
    assert_eq!(scheduler.cache().stats().tokens, prompt.len() as u64);
    let mut single = Machine::new(1);
    assert_eq!(last.unwrap().0, alone(&mut single.engine(), &prompt, 9, 5));
}

#[test]
fn what_is_not_shared_leaves_nothing_behind() {
    let mut machine = Machine::new(SEQUENCES);
    let mut engine = machine.engine();
    let mut scheduler = Scheduler::new(&mut engine, ScheduleOptions::default());
    let prompt: Vec<u32> = (1..50).collect();
    for shared in [false, true, false] {
        let (mut request, seen) = request(&prompt, 9, 5);
        request.shared = shared;
        request.borders = vec![20];
        scheduler.submit(request).unwrap();
        while !scheduler.is_idle() {
            scheduler.pass().unwrap();
        }
        assert_eq!(seen.borrow().end.as_ref().unwrap().cached, 0);
    }
    assert_eq!(scheduler.cache().stats().hits, 0);
}

#[test]
fn what_fails_for_one_text_ends_that_one_alone() {
    let mut machine = Machine::new(SEQUENCES);
    let state_len = machine.model.shape().state_len();
    let mut engine = machine.engine();
    let mut scheduler = Scheduler::new(&mut engine, ScheduleOptions::default());
    let (good, seen) = request(&[5, 6, 7], 1, 6);
    scheduler.submit(good).unwrap();
    scheduler.pass().unwrap();
    let (mut bad, failed) = request(&[5], 1, 6);
    // Finite, but nothing that can be computed with.
    bad.start = Some(Snapshot { state: vec![f32::MAX; state_len].into(), logits: None });
    scheduler.submit(bad).unwrap();
    while !scheduler.is_idle() {
        scheduler.pass().unwrap();
    }
    assert!(matches!(failed.borrow().end.as_ref().unwrap().reason, Reason::Failed(_)));
    let mut single = Machine::new(1);
    assert_eq!(seen.borrow().tokens, alone(&mut single.engine(), &[5, 6, 7], 1, 6));
    assert!(matches!(seen.borrow().end.as_ref().unwrap().reason, Reason::Drawn));
}

#[test]
fn what_cannot_be_written_comes_back() {
    let mut machine = Machine::new(1);
    let mut engine = machine.engine();
    let options = ScheduleOptions { waiting: 1, ..Default::default() };
    let mut scheduler = Scheduler::new(&mut engine, options);
    let reason = |refused: Result<(), Box<_>>| {
        let refused: Box<kinglet_talk::schedule::Refused<'_>> = refused.unwrap_err();
        refused.reason
    };
    assert_eq!(reason(scheduler.submit(request(&[], 1, 1).0)), RefusedReason::Empty);
    let strange = RefusedReason::Token { found: 5000, vocab: 1024 };
    assert_eq!(reason(scheduler.submit(request(&[1, 5000], 1, 1).0)), strange);
    let (mut short, _) = request(&[1], 1, 1);
    short.start = Some(Snapshot { state: vec![0.0; 3].into(), logits: None });
    let RefusedReason::Start { found: 3, .. } = reason(scheduler.submit(short)) else {
        panic!("another reason");
    };
    let (waiting, seen) = request(&[1], 1, 1);
    scheduler.submit(waiting).unwrap();
    assert_eq!(reason(scheduler.submit(request(&[1], 1, 1).0)), RefusedReason::Full(1));
    // Who waits is told when the scheduler goes.
    drop(scheduler);
    assert!(matches!(seen.borrow().end.as_ref().unwrap().reason, Reason::Unwanted));
}
