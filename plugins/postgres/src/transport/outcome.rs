//! What Postgres' answers mean.

use switchboard_plugin::{OpenFailure, postgres::Error};

/// A statement that Postgres refuses by this code names a table that does not exist.
const UNDEFINED_TABLE: &str = "42P01";
/// A key is there already.
const UNIQUE_VIOLATION: &str = "23505";

/// Why a batch was not executed, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It was not executed, for a reason that passes by itself.
    Away(String),
    /// It may have been executed, as a whole.
    InDoubt(String),
    /// A table is missing.
    NoTable(String),
    /// The first statement's key is taken.
    Taken,
    /// The role, the operator or the schema is in the way, whatever the messages are.
    Setting(String),
    /// One of the messages is at fault, for example by its size.
    Message(String),
}

impl Trouble {
    pub(crate) fn of(error: Error) -> Self {
        match error {
            Error::Unavailable(why) => Self::Away(why),
            Error::Unknown(why) => Self::InDoubt(why),
            Error::Denied(why) => Self::Setting(why),
            Error::TooLarge(limit) => Self::Message(format!(
                "it is over the limit of {limit} bytes (`max_batch_bytes` of the connection)"
            )),
            Error::Invalid(why) => Self::Message(why),
            Error::Failed(failure) => {
                let why = format!(
                    "Postgres refuses it: {} ({})",
                    failure.message, failure.code
                );
                match failure.code.as_str() {
                    UNDEFINED_TABLE => Self::NoTable(why),
                    UNIQUE_VIOLATION if failure.statement == Some(0) => Self::Taken,
                    // Data exceptions, and limits of Postgres.
                    code if code.starts_with("22") || code.starts_with("54") => Self::Message(why),
                    _ => Self::Setting(why),
                }
            }
        }
    }

    /// In words.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Away(why)
            | Self::InDoubt(why)
            | Self::NoTable(why)
            | Self::Setting(why)
            | Self::Message(why) => why,
            Self::Taken => "a key is taken".to_owned(),
        }
    }
}

/// Why the plugin cannot open.
pub(crate) fn open_failure(error: Error) -> OpenFailure {
    match Trouble::of(error) {
        Trouble::Away(why) | Trouble::InDoubt(why) => OpenFailure::Unavailable(why),
        other => OpenFailure::Unsupported(other.why()),
    }
}

#[cfg(test)]
mod tests {
    use switchboard_plugin::postgres::Failure;

    use super::*;

    fn refused(statement: Option<u32>, code: &str) -> Trouble {
        Trouble::of(Error::Failed(Failure {
            statement,
            code: code.to_owned(),
            message: "m".to_owned(),
        }))
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let text = |code: &str| format!("Postgres refuses it: m ({code})");
        for (trouble, expected) in [
            (refused(Some(0), "42P01"), Trouble::NoTable(text("42P01"))),
            (refused(Some(0), "23505"), Trouble::Taken),
            // Not the key's statement.
            (refused(Some(1), "23505"), Trouble::Setting(text("23505"))),
            (refused(Some(1), "22021"), Trouble::Message(text("22021"))),
            (refused(None, "P0001"), Trouble::Setting(text("P0001"))),
        ] {
            assert_eq!(trouble, expected);
        }
        let denied = Trouble::of(Error::Denied("no".to_owned()));
        assert_eq!(denied, Trouble::Setting("no".to_owned()));
    }
}
