//! The examples run, each of which asserts its claim; and a model that a program includes lies
//! where [`Model::open`](kinglet::Model::open) needs it.
#![cfg(feature = "rwkv7")]

#[path = "../examples/many_sequences.rs"]
mod many_sequences;
#[path = "../examples/save_and_restore.rs"]
mod save_and_restore;
#[path = "../examples/story.rs"]
mod story;
#[path = "../examples/structured.rs"]
mod structured;
#[path = "../examples/watchdog.rs"]
mod watchdog;

macro_rules! run {
    ($($example:ident)*) => {$(
        #[test]
        fn $example() -> Result<(), Box<dyn std::error::Error>> {
            $example::main()
        }
    )*};
}

run!(many_sequences save_and_restore story structured watchdog);

/// Any file shows it: source files have lengths that are no multiples of 64.
#[test]
fn an_included_model_is_aligned() {
    let first: &[u8] = kinglet::include_model!("math.rs");
    let second: &[u8] = kinglet::include_model!("features.rs");
    for (included, file) in
        [(first, &include_bytes!("math.rs")[..]), (second, &include_bytes!("features.rs")[..])]
    {
        assert_eq!(included.as_ptr().addr() % kinglet::kernels::matrix::ALIGN, 0);
        assert_eq!(included, file);
    }
}
