//! A store in this process: no server, nothing survives it. The executable specification of [`Transitions`](super::Transitions), the first run, and the world of the tests.
