//! What every plugin asks its host for, also where there is none: a native test has the clock of its
//! own process instead, so code that uses this runs there.

/// Wall clock: milliseconds since 1970-01-01 UTC.
pub fn now_ms() -> f64 {
    #[cfg(target_family = "wasm")]
    {
        crate::node::now_ms()
    }
    #[cfg(not(target_family = "wasm"))]
    {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH);
        since.unwrap_or_default().as_secs_f64() * 1000.0
    }
}
