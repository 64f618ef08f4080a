//! Every scenario over every transport, and over one of them with each parser. What the scenarios
//! are is in `kit/src/scenarios`, what the transports are in `tests/src/transport.rs`.

use switchboard_tests::{
    Error, Parser, Transport, each_scenario, each_transport,
    scenarios::{self, Outcome, Setting},
};

async fn run(transport: Transport, group: &str, name: &str, parser: Parser) -> Outcome {
    if !transport.is_wanted()? {
        println!("left out: another transport was asked for");
        return Ok(());
    }
    let scenario = scenarios::find(group, name)
        .ok_or_else(|| Error::Test(format!("there is no scenario {group}::{name}")))?;
    scenario.run(Setting::new(transport, parser)).await
}

macro_rules! test {
    ($name:ident, $transport:ident, $group:ident, $scenario:ident, $parser:expr) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() -> Outcome {
            let (group, scenario) = (stringify!($group), stringify!($scenario));
            run(Transport::$transport(), group, scenario, $parser).await
        }
    };
}

// What clients speak makes no difference to a plugin: where it is converted is the host's.
macro_rules! with_parsers {
    (each_parser local $group:ident $scenario:ident) => {
        mod $scenario {
            use super::super::super::*;
            test! { common, local, $group, $scenario, Parser::Common }
            test! { msgpack, local, $group, $scenario, Parser::Msgpack }
        }
    };
    ($parsers:ident $transport:ident $group:ident $scenario:ident) => {
        test! { $scenario, $transport, $group, $scenario, Parser::Common }
    };
}

macro_rules! groups {
    ([$transport:ident] $($group:ident $parsers:ident { $($scenario:ident)+ })+) => {
        $(groups! { @ $transport $group $parsers $($scenario)+ })+
    };
    (@ $transport:ident $group:ident $parsers:ident $($scenario:ident)+) => {
        mod $group {
            #[allow(unused_imports)]
            use super::super::*;
            $(with_parsers! { $parsers $transport $group $scenario })+
        }
    };
}

macro_rules! transports {
    ($($transport:ident)+) => {
        $(mod $transport {
            use super::*;
            each_scenario! { groups $transport }
        })+
    };
}
each_transport! { transports }

/// A choice for a Redis Cluster and for durable Postgres, where a message takes another way: what has
/// channels of its own or depends on order, and is not in `mixed` already.
macro_rules! a_choice {
    ($transport:ident $($in_order:ident)*) => {
        mod $transport {
            groups! { [$transport]
                namespaces one_parser { an_event_stays_in_its_namespace }
                emitter one_parser { its_events_reach_the_clients_of_every_server }
                nodes one_parser { a_killed_server_is_counted_no_more }
                order one_parser { events_of_all_sizes_stay_in_order $($in_order)* }
            }
        }
    };
}
// The classic wire has a channel for each room, so its rooms have no order among each other there.
a_choice! { redis_cluster }
a_choice! { redis_sharded_cluster events_for_different_rooms_stay_in_order }
a_choice! { postgres_durable events_for_different_rooms_stay_in_order }
