//! What machines with an operating system share.
