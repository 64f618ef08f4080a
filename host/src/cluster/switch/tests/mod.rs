//! The two ways over lines in memory. What servers agree on is explored in `sim`, and whole servers
//! in the workspace's `tests/tests/swap`.

mod publisher;
mod subscriber;
