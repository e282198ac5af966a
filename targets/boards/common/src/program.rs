//! A program from its model to its end.

use kinglet::Engine;

use crate::{Board, Error, Teller, fail, model};

/// Checks the model, runs `program`, and halts the board; says so where one of them fails.
pub fn run<B: Board, E: Engine>(
    teller: Result<Teller<'static, E>, Error>,
    program: fn(&mut Teller<'static, E>) -> Result<(), Error>,
) -> ! {
    let run = |mut teller: Teller<'static, E>| {
        model::check(&teller.model, || {})?;
        program(&mut teller)
    };
    match teller.and_then(run) {
        Ok(()) => B::halt(true),
        Err(error) => fail::<B>(&error),
    }
}

/// Checks the model and tells a story among other tasks, which run after each piece; then halts
/// the board.
pub async fn run_in_pieces<B: Board, E: Engine>(teller: Result<Teller<'static, E>, Error>) -> ! {
    let result = match teller {
        Ok(mut teller) => teller.story_in_pieces::<B>().await,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => B::halt(true),
        Err(error) => fail::<B>(&error),
    }
}
