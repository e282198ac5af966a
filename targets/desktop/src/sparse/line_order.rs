//! The order in which the lines of a row of weights are read.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Bytes from which on a row is long: half of a page.
pub(super) const LONG: usize = 2048;

/// The order in which a row's lines are read: `pieces` of `piece` bytes, every
/// `step`th, round and round.
///
/// The rows of several inputs are read side by side, and short ones out of order:
/// lines that are asked for one after the other are a stream to the hardware, which
/// fetches on beyond the row's end, up to that of the page, what nobody wants.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) piece: usize,
    pub(super) pieces: usize,
    pub(super) step: usize,
}

impl Order {
    /// The order for rows of `len` bytes, of inputs that are `crowded` if most of
    /// their neighbours are active, too.
    pub(super) fn new(len: usize, crowded: bool) -> Self {
        let straight = crowded || len >= LONG;
        // Two neighbouring lines are served faster than two lines apart, but the
        // shortest rows have too few pairs to be out of order.
        let piece = if straight || len >= 16 * LINE { 2 * LINE } else { LINE };
        let pieces = len.div_ceil(piece);
        Self { piece, pieces, step: if straight { 1 } else { STEPS[pieces].into() } }
    }

    /// Whether lines are read out of order.
    pub(super) fn is_scattered(self) -> bool {
        self.step > 1
    }
}

/// The step for a number of pieces: about five eighths of it, so that no piece is
/// near the ones before, and without a common divisor, so that each is met once.
pub(super) const STEPS: [u8; LONG / LINE] = {
    pub(super) const fn divisor(a: usize, b: usize) -> usize {
        if b == 0 { a } else { divisor(b, a % b) }
    }
    let mut steps = [1; LONG / LINE];
    let mut pieces = 3;
    while pieces < steps.len() {
        let mut step = pieces * 5 / 8;
        while divisor(step, pieces) > 1 {
            step += 1;
        }
        steps[pieces] = step as u8;
        pieces += 1;
    }
    steps
};

#[cfg(test)]
mod tests {
    use super::super::single::RUN;
    use super::*;

    #[test]
    fn every_line_is_read_once() {
        for len in (16..=RUN).step_by(16) {
            for crowded in [false, true] {
                let Order { piece, pieces, step } = Order::new(len, crowded);
                let mut read = [0; RUN / LINE];
                let read = &mut read[..pieces];
                (0..pieces).for_each(|i| read[i * step % pieces] += 1);
                assert!(read.iter().all(|times| *times == 1), "{len} bytes: {read:?}");
                assert!((len..len + piece).contains(&(pieces * piece)), "{len} bytes");
            }
        }
    }
}
