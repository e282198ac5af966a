//! Numbers: functions and reductions in f32 whose order of operations is fixed, and the types
//! that a state is kept in.

pub mod math;
pub mod reduce;
pub mod state_dtype;
