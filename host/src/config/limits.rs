//! Limits on every plugin: what one may use before it is stopped, and how often it is started
//! again. One table below declares each limit once: its meaning, default and range.

use std::{ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Deserializer};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR_MS: u64 = 3_600_000;

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident ($key:literal): $kind:ty = $default:expr, $range:expr;)*) => {
        /// What a plugin may use. `[limits]` holds for every plugin.
        ///
        /// Times are whole milliseconds in configuration, under keys that end in `_ms`.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct Limits {
            $(
                $(#[$doc])*
                #[serde(rename = $key, deserialize_with = "read")]
                pub $field: $kind,
            )*
        }

        /// The limits that are different for one plugin: `limits` in `[transports.NAME]`.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct LimitOverrides {
            $(
                #[doc = concat!("Instead of [`Limits::", stringify!($field), "`].")]
                #[serde(rename = $key, deserialize_with = "read_some")]
                pub $field: Option<$kind>,
            )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl Limits {
            /// These limits, except where others are given.
            pub fn with(&self, overrides: &LimitOverrides) -> Self {
                Self { $($field: overrides.$field.unwrap_or(self.$field)),* }
            }
        }

        impl From<&Limits> for LimitOverrides {
            fn from(limits: &Limits) -> Self {
                Self { $($field: Some(limits.$field)),* }
            }
        }

        impl LimitOverrides {
            /// Each number that is given, with its key and range.
            pub(super) fn numbers(&self) -> Vec<(&'static str, u64, RangeInclusive<u64>)> {
                let mut numbers = Vec::new();
                $(
                    let number = self.$field.and_then(Limit::number);
                    numbers.extend(number.map(|number| ($key, number, $range)));
                )*
                numbers
            }
        }
    };
}

/// How a limit is written.
trait Limit: Copy {
    type Written: serde::de::DeserializeOwned;
    fn from_written(written: Self::Written) -> Self;
    /// As written, if it is a number.
    fn number(self) -> Option<u64>;
}

impl Limit for usize {
    type Written = usize;
    fn from_written(written: usize) -> Self {
        written
    }
    fn number(self) -> Option<u64> {
        Some(self as u64)
    }
}

impl Limit for u32 {
    type Written = u32;
    fn from_written(written: u32) -> Self {
        written
    }
    fn number(self) -> Option<u64> {
        Some(self.into())
    }
}

impl Limit for Duration {
    type Written = u64;
    fn from_written(milliseconds: u64) -> Self {
        Self::from_millis(milliseconds)
    }
    fn number(self) -> Option<u64> {
        Some(u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Limit for bool {
    type Written = bool;
    fn from_written(written: bool) -> Self {
        written
    }
    fn number(self) -> Option<u64> {
        None
    }
}

fn read<'de, T: Limit, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::Written::deserialize(deserializer).map(T::from_written)
}

fn read_some<'de, T: Limit, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    read(deserializer).map(Some)
}

limits! {
    /// Linear memory of one instance. Default 128 MiB; 1 MiB to 1 GiB.
    memory_bytes("memory_bytes"): usize = 128 << 20, MIB..=GIB;
    /// The guest's own CPU time in one call; waiting in a capability does not count. Default 2 s;
    /// at most an hour.
    cpu("cpu_ms"): Duration = Duration::from_secs(2), 1..=HOUR_MS;
    /// Wall clock of one call that is not a poll. Default 30 s; at most an hour.
    call_timeout("call_timeout_ms"): Duration = Duration::from_secs(30), 1..=HOUR_MS;
    /// Lines that one plugin may log in a second; more are dropped and counted, and 0 silences it.
    /// Default 100; at most 100,000.
    log_lines_per_second("log_lines_per_second"): u32 = 100, 0..=100_000;
    /// Link WASI 0.2 with an empty context (clocks, randomness, output to the log; no files, no
    /// environment, no network), which the toolchains of most languages need. Default true.
    allow_wasi("allow_wasi"): bool = true, 0..=1;
    /// Pause before the first restart after a failure; it doubles with each one that follows.
    /// Default 50 ms; at most an hour.
    restart_backoff_min("restart_backoff_min_ms"): Duration = Duration::from_millis(50),
        1..=HOUR_MS;
    /// The longest such pause. Default 5 s; at most an hour.
    restart_backoff_max("restart_backoff_max_ms"): Duration = Duration::from_secs(5), 1..=HOUR_MS;
    /// Restarts within `restart_window`; after more the plugin is marked failed until it is
    /// replaced, and with 0 after the first failure. Default 20; at most 100,000.
    max_restarts("max_restarts"): u32 = 20, 0..=100_000;
    /// The time in which `max_restarts` are counted. Default a minute; at most a day.
    restart_window("restart_window_ms"): Duration = Duration::from_secs(60), 1..=24 * HOUR_MS;
    /// An instance whose memory has grown past this is replaced by a fresh one when it has nothing
    /// to do: Wasm memory never shrinks. Default 32 MiB; 1 MiB to 1 GiB.
    recycle_memory_bytes("recycle_memory_bytes"): usize = 32 << 20, MIB..=GIB;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges() {
        for (key, number, range) in LimitOverrides::from(&Limits::default()).numbers() {
            assert!(
                range.contains(&number),
                "{key} = {number} is not in {range:?}"
            );
        }
    }

    #[test]
    fn overrides_replace_what_they_name_only() {
        let cpu = Duration::from_millis(7);
        let overrides = LimitOverrides {
            cpu: Some(cpu),
            ..LimitOverrides::default()
        };
        assert_eq!(
            Limits::default().with(&overrides),
            Limits {
                cpu,
                ..Limits::default()
            }
        );
        assert_eq!(overrides.numbers(), [("cpu_ms", 7, 1..=HOUR_MS)]);
    }
}
