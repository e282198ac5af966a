//! Chat templates in the form of Hugging Face: their work and their memory are bounded, and the
//! pieces of a conversation are the whole.
#![no_main]

use kinglet_fuzz::memory;
use kinglet_talk::template::{ChatTemplate, Past};
use kinglet_talk::{Template, Turn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| memory::within(256 << 20, || {
    let Ok(template) = ChatTemplate::new(source) else { return };
    let _ = (template.stop().len(), template.thinks());
    let template = Template::HuggingFace(template);
    let turn = |user: &str, answer: &str| Turn {
        user: user.into(),
        answer: answer.into(),
        ..Turn::default()
    };
    let turns = [turn("Hi", "Hello!"), turn("a\n\nb", " <think>c"), turn("", "é")];
    for system in [None, Some("Be brief.")] {
        let past = Past { system, turns: &turns };
        let _ = template.render(past);
        let _ = template.answered(past, turns[0].question(), "b");
    }
    let _ = (template.stops(), template.start(Some("x")));
}));
