//! From the plain functions that a component exports to the traits that a plugin implements.

use std::cell::RefCell;

use crate::{Failure, PublishFailure};

/// Holds the one value of an instance between calls. Guests have one thread.
pub struct Slot<T>(RefCell<Option<T>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(RefCell::new(None))
    }
}

impl<T> Slot<T> {
    /// Puts a freshly opened value in; the former one is dropped.
    pub fn put(&self, value: T) {
        *self.0.borrow_mut() = Some(value);
    }

    /// Takes the value out for good.
    pub fn take(&self) -> Option<T> {
        self.0.borrow_mut().take()
    }

    /// Calls a method of the value; `None` when nothing has been opened.
    pub fn with<R>(&self, call: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.borrow_mut().as_mut().map(call)
    }
}

/// A host that calls before `open` breaks the contract; say so instead of trapping.
pub fn not_open() -> Failure {
    Failure::Unavailable("the host called this before open".to_owned())
}

/// What comes of a batch, without the offsets unless the host wants them: each is an allocation of its
/// own there.
pub fn if_wanted(
    wants_offsets: bool,
    published: Result<Vec<String>, PublishFailure>,
) -> Result<Vec<String>, PublishFailure> {
    if wants_offsets {
        return published;
    }
    match published {
        Ok(_) => Ok(Vec::new()),
        Err(failure) => Err(PublishFailure {
            offsets: Vec::new(),
            ..failure
        }),
    }
}

/// A guest's panic message would be lost in the trap: log it first, place and text in one line.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        crate::error(&info.to_string().replace(":\n", ": "));
    }));
}

/// Makes a component of a [`Publisher`](crate::Publisher) and a
/// [`Subscriber`](crate::Subscriber): the only line a plugin needs beside the two.
#[macro_export]
macro_rules! transport {
    ($publisher:ty, $subscriber:ty) => {
        // The names that a component exports are not names to a native linker.
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::__private::{
                Slot, if_wanted, install_panic_hook, not_open, publisher, subscriber,
            };

            ::std::thread_local! {
                static PUBLISHER: Slot<$publisher> = Slot::default();
                static WANTS_OFFSETS: ::std::cell::Cell<bool> = ::std::cell::Cell::new(false);
                static SUBSCRIBER: Slot<$subscriber> = Slot::default();
            }

            struct Component;

            impl publisher::Guest for Component {
                fn open(
                    config: $crate::Config,
                ) -> ::std::result::Result<$crate::TransportInfo, $crate::OpenFailure> {
                    install_panic_hook();
                    let wants_offsets = config.wants_offsets;
                    let (opened, info) = <$publisher as $crate::Publisher>::open(config)?;
                    WANTS_OFFSETS.set(wants_offsets);
                    PUBLISHER.with(|slot| slot.put(opened));
                    ::std::result::Result::Ok(info)
                }
                fn publish(
                    batch: ::std::vec::Vec<$crate::types::Run>,
                    first: f64,
                ) -> ::std::result::Result<
                    ::std::vec::Vec<::std::string::String>,
                    $crate::PublishFailure,
                > {
                    // Whole, and exact up to 2^53.
                    let first = first as u64;
                    let batch = $crate::Batch::from(batch);
                    let published = PUBLISHER
                        .with(|slot| slot.with(|p| $crate::Publisher::publish(p, batch, first)))
                        .unwrap_or_else(|| {
                            ::std::result::Result::Err($crate::PublishFailure {
                                accepted: 0,
                                offsets: ::std::vec::Vec::new(),
                                reason: not_open(),
                            })
                        });
                    if_wanted(WANTS_OFFSETS.get(), published)
                }
                fn count_nodes(
                    namespace: ::std::string::String,
                ) -> ::std::result::Result<::std::option::Option<u32>, $crate::Failure> {
                    PUBLISHER
                        .with(|slot| slot.with(|p| $crate::Publisher::count_nodes(p, namespace)))
                        .unwrap_or_else(|| ::std::result::Result::Err(not_open()))
                }
                fn close() {
                    if let ::std::option::Option::Some(p) = PUBLISHER.with(Slot::take) {
                        $crate::Publisher::close(p);
                    }
                }
            }

            impl subscriber::Guest for Component {
                fn open(
                    config: $crate::Config,
                    resume_from: ::std::option::Option<::std::string::String>,
                ) -> ::std::result::Result<(), $crate::OpenFailure> {
                    install_panic_hook();
                    let opened = <$subscriber as $crate::Subscriber>::open(config, resume_from)?;
                    SUBSCRIBER.with(|slot| slot.put(opened));
                    ::std::result::Result::Ok(())
                }
                fn enter(
                    namespace: ::std::string::String,
                ) -> ::std::result::Result<(), $crate::Failure> {
                    SUBSCRIBER
                        .with(|slot| slot.with(|s| $crate::Subscriber::enter(s, namespace)))
                        .unwrap_or_else(|| ::std::result::Result::Err(not_open()))
                }
                fn leave(namespace: ::std::string::String) {
                    SUBSCRIBER.with(|slot| slot.with(|s| $crate::Subscriber::leave(s, namespace)));
                }
                fn poll(
                    timeout_ms: u32,
                    max_events: u32,
                ) -> ::std::result::Result<::std::vec::Vec<subscriber::Event>, $crate::Failure>
                {
                    SUBSCRIBER
                        .with(|slot| {
                            slot.with(|s| $crate::Subscriber::poll(s, timeout_ms, max_events))
                        })
                        .unwrap_or_else(|| ::std::result::Result::Err(not_open()))
                        .map($crate::Events::into_border)
                }
                fn close() {
                    if let ::std::option::Option::Some(s) = SUBSCRIBER.with(Slot::take) {
                        $crate::Subscriber::close(s);
                    }
                }
            }

    $crate::__private::export!(Component with_types_in $crate::bindings);
        };

        #[cfg(not(target_family = "wasm"))]
        const _: fn() = || {
            fn is_a_transport<P: $crate::Publisher, S: $crate::Subscriber>() {}
            is_a_transport::<$publisher, $subscriber>();
        };
    };
}

/// Exports a [`Recovery`](crate::Recovery) as well, beside [`transport!`](crate::transport!).
#[macro_export]
macro_rules! recovery {
    ($recovery:ty) => {
        // The names that a component exports are not names to a native linker.
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            use $crate::__private::{Slot, install_panic_hook, not_open, recovery};

            ::std::thread_local! {
                static RECOVERY: Slot<$recovery> = Slot::default();
            }

            struct Component;

            impl recovery::Guest for Component {
                fn open(config: $crate::Config) -> ::std::result::Result<(), $crate::OpenFailure> {
                    install_panic_hook();
                    let opened = <$recovery as $crate::Recovery>::open(config)?;
                    RECOVERY.with(|slot| slot.put(opened));
                    ::std::result::Result::Ok(())
                }
                fn persist_session(
                    session: $crate::types::Session,
                    ttl_ms: u32,
                ) -> ::std::result::Result<(), $crate::Failure> {
                    RECOVERY
                        .with(|slot| {
                            slot.with(|r| $crate::Recovery::persist_session(r, session, ttl_ms))
                        })
                        .unwrap_or_else(|| ::std::result::Result::Err(not_open()))
                }
                fn restore_session(
                    namespace: ::std::string::String,
                    pid: ::std::string::String,
                    offset: ::std::string::String,
                    max_missed: u32,
                ) -> ::std::result::Result<
                    ::std::option::Option<$crate::types::Restored>,
                    $crate::Failure,
                > {
                    RECOVERY
                        .with(|slot| {
                            slot.with(|r| {
                                $crate::Recovery::restore_session(
                                    r, namespace, pid, offset, max_missed,
                                )
                            })
                        })
                        .unwrap_or_else(|| ::std::result::Result::Err(not_open()))
                }
                fn close() {
                    if let ::std::option::Option::Some(r) = RECOVERY.with(Slot::take) {
                        $crate::Recovery::close(r);
                    }
                }
            }

            $crate::__private::export_recovery!(
                Component with_types_in $crate::bindings::with_recovery
            );
        };

        #[cfg(not(target_family = "wasm"))]
        const _: fn() = || {
            fn is_a_session_store<R: $crate::Recovery>() {}
            is_a_session_store::<$recovery>();
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_reach_only_a_host_that_wants_them() {
        let offsets = || vec!["1-0".to_owned(), "2-0".to_owned()];
        let failed = |offsets| {
            Err(PublishFailure {
                accepted: 2,
                offsets,
                reason: Failure::Rejected("no".to_owned()),
            })
        };
        for (wants, expected) in [(true, offsets()), (false, Vec::new())] {
            let shown = |published| format!("{:?}", if_wanted(wants, published));
            let ok: Result<_, PublishFailure> = Ok(expected.clone());
            assert_eq!(shown(Ok(offsets())), format!("{ok:?}"));
            let failure: Result<Vec<String>, _> = failed(expected);
            assert_eq!(shown(failed(offsets())), format!("{failure:?}"));
        }
    }
}
