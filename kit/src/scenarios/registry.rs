//! The list of all scenarios, for tests and for commands.

use std::fmt;

use futures_util::future::LocalBoxFuture;

use super::{
    Given, Outcome, Setting, acks, broadcast, connections, crowds, custom, deaths, emitter, lookup,
    namespaces, nodes, operators, order, remote, requests, rooms, server_events, sizes, sockets,
};

/// Hands all scenarios to a macro, in groups: `group parsers { scenario … }`, with what else is
/// given in brackets before them. A scenario that is not listed here is dead code, which the
/// compiler reports.
#[macro_export]
macro_rules! each_scenario {
    ($then:ident $($more:tt)*) => {
        $then! { [$($more)*]
            broadcast each_parser {
                an_event_reaches_every_client_of_every_server_once
                every_kind_of_json_arrives_as_it_was_sent
                an_event_without_arguments_has_none_at_the_other_end
                binary_parts_arrive_in_their_places
                a_large_text_arrives_whole
                an_event_for_a_room_reaches_its_members_only
                a_member_of_several_rooms_gets_an_event_for_them_once
                an_excepted_room_gets_nothing
                a_local_event_stays_on_its_server
                a_volatile_event_reaches_clients_that_can_take_it
                a_socket_that_broadcasts_does_not_hear_itself
                a_socket_id_is_a_room
            }
            acks each_parser {
                every_client_acknowledges
                binary_acknowledgements_arrive_intact
                only_the_clients_that_match_are_asked
                a_client_that_does_not_answer_is_reported_and_costs_no_other_answer
                many_events_at_once_get_their_own_acknowledgements
            }
            rooms each_parser {
                sockets_of_all_servers_join_a_room
                the_sockets_of_one_room_join_another
                sockets_leave_a_room
                one_socket_joins_and_leaves_by_its_id
                a_local_join_stays_on_its_server
                the_rooms_of_all_servers_are_listed_once
                the_rooms_of_some_sockets_are_theirs_only
            }
            requests each_parser {
                the_sockets_of_all_servers_are_found
                only_the_sockets_that_match_are_found
                many_questions_at_once_get_their_own_answers
                every_server_counts_all_servers
            }
            remote each_parser {
                a_remote_socket_gets_an_event_alone
                a_remote_socket_acknowledges
                a_remote_socket_joins_and_leaves_rooms
                a_remote_socket_is_disconnected
            }
            connections each_parser {
                the_sockets_of_a_room_are_disconnected_everywhere
                a_local_disconnect_stays_on_its_server
                a_client_that_left_is_found_no_more
                a_client_that_comes_with_rooms_is_reached_in_them
            }
            namespaces each_parser {
                an_event_stays_in_its_namespace
                a_room_is_another_one_in_another_namespace
                a_dynamic_namespace_spans_the_servers_that_have_clients_in_it
                a_namespace_may_have_a_long_name_or_a_strange_one
            }
            operators each_parser {
                an_event_reaches_the_sockets_that_were_selected
                every_value_arrives_as_it_was_sent
                a_volatile_event_reaches_clients_that_can_take_it
                sockets_join_and_leave_rooms
                clients_acknowledge_with_their_names
                large_acknowledgements_arrive_whole
                a_client_that_does_not_acknowledge_is_accounted_for
                a_socket_that_is_disconnected_keeps_its_other_namespaces
                a_connection_that_is_closed_ends_in_all_its_namespaces
                the_rooms_of_all_servers_are_listed_once
            }
            sockets each_parser {
                sockets_are_found_with_their_servers_and_rooms
                only_the_sockets_that_match_are_found
                the_applications_data_is_seen_by_every_server
                how_a_socket_connected_is_seen_by_every_server
                a_found_socket_gets_an_event_alone
                a_found_socket_acknowledges
                a_found_socket_joins_and_leaves_rooms
                a_found_socket_is_disconnected_and_keeps_its_other_namespaces
                a_found_sockets_connection_is_closed
            }
            lookup each_parser {
                the_rooms_of_any_socket_are_known_to_any_server
                one_socket_joins_and_leaves_rooms
                one_socket_is_disconnected_from_its_namespace_or_altogether
                a_socket_that_does_not_exist_is_not_found
                a_socket_is_found_while_another_server_stands_still
                a_socket_is_found_although_others_are_in_the_room_of_its_name
                a_socket_that_may_be_on_a_server_that_is_silent_is_not_called_absent
            }
            server_events one_parser {
                an_event_reaches_all_other_servers_once
                an_event_stays_in_its_namespace
                events_arrive_in_the_order_in_which_they_were_sent
                every_other_server_answers
                an_answer_without_a_value_is_one
                a_server_that_never_answers_is_named
                servers_without_a_handler_and_those_that_fail_say_so_at_once
                slow_answers_hold_up_nothing_else
            }
            custom one_parser {
                every_server_answers_a_custom_request
                servers_without_a_hook_say_so_at_once
            }
            emitter each_parser {
                its_events_reach_the_clients_of_every_server
                its_events_stay_in_their_namespace
                its_volatile_events_reach_clients_that_can_take_them
                it_makes_sockets_join_and_leave_rooms
                it_disconnects_sockets_and_closes_connections
                its_server_events_reach_every_server
                it_is_never_counted_as_a_server
                what_it_sent_before_it_ended_arrives_complete_and_in_order
                a_command_in_a_shell_does_the_same
            }
            nodes one_parser {
                a_question_ends_when_a_server_is_killed_and_names_it
                acknowledgements_end_when_a_server_is_killed
                a_killed_server_is_counted_no_more
                a_server_that_stops_leaves_at_once_and_cleanly
                what_a_server_sent_before_it_stopped_arrives
                a_new_server_takes_part_at_once
                a_server_knows_the_others_and_since_when
                a_server_that_comes_and_stops_is_told
                a_server_that_is_killed_is_told
            }
            deaths one_parser {
                sockets_of_the_others_are_found
                rooms_of_the_others_are_listed
                acknowledgements_of_the_others_clients_arrive
                answers_of_the_others_to_an_event_arrive
                answers_of_the_others_to_a_custom_request_arrive
                a_socket_that_was_on_the_dead_server_is_not_called_absent
            }
            crowds one_parser {
                thousands_look_for_sockets
                thousands_look_for_rooms
                thousands_look_for_one_socket
                thousands_ask_servers
                thousands_make_custom_requests
                thousands_want_acknowledgements
            }
            sizes one_parser {
                a_large_event_reaches_every_server
                large_answers_of_servers_arrive_whole
                large_custom_requests_and_answers_arrive_whole
                large_data_of_a_socket_is_seen_whole
                a_great_many_rooms_are_listed
            }
            order one_parser {
                a_hundred_thousand_small_events_arrive_complete_and_in_order
                events_of_all_sizes_stay_in_order
                events_for_different_rooms_stay_in_order
                servers_that_all_send_at_once_keep_their_own_order
                a_join_takes_effect_between_the_events_around_it
            }
        }
    };
}

/// One promise, and how to check it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Scenario {
    /// Its subject.
    pub group: &'static str,
    /// A sentence with underscores.
    pub name: &'static str,
    /// With which parsers to run it.
    pub parsers: Parsers,
    run: fn(Setting) -> LocalBoxFuture<'static, Outcome>,
}

/// With which parsers a scenario is worth running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsers {
    /// Clients take part, and how they encode packets matters.
    Each,
    /// Any one will do.
    One,
}

impl Scenario {
    /// One that is in no list of conformance, because it needs a plugin folder of its own.
    pub(crate) const fn beyond(
        group: &'static str,
        name: &'static str,
        run: fn(Setting) -> LocalBoxFuture<'static, Outcome>,
    ) -> Self {
        Self {
            group,
            name,
            parsers: Parsers::One,
            run,
        }
    }

    /// Starts what it needs and checks the promise.
    ///
    /// # Errors
    /// What did not happen.
    ///
    /// # Panics
    /// When something else happened than was promised.
    pub async fn run(&self, setting: Setting) -> Outcome {
        (self.run)(setting).await
    }
}

/// Its name as a sentence.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.group, self.name.replace('_', " "))
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.group, self.name)
    }
}

/// All scenarios, by subject.
pub fn all() -> &'static [Scenario] {
    SCENARIOS
}

/// One scenario.
pub fn find(group: &str, name: &str) -> Option<&'static Scenario> {
    all()
        .iter()
        .find(|scenario| scenario.group == group && scenario.name == name)
}

macro_rules! registry {
    ([] $($group:ident $parsers:ident { $($name:ident)+ })+) => {
        const SCENARIOS: &[Scenario] = &[$($(Scenario {
            group: stringify!($group),
            name: stringify!($name),
            parsers: $parsers,
            run: |setting| Box::pin(play(setting, $group::$name)),
        },)+)+];
    };
}
// As they are written in the list.
#[allow(non_upper_case_globals)]
const each_parser: Parsers = Parsers::Each;
#[allow(non_upper_case_globals)]
const one_parser: Parsers = Parsers::One;
each_scenario!(registry);

async fn play<G: Given>(setting: Setting, story: impl AsyncFn(&G) -> Outcome) -> Outcome {
    story(&G::given(&setting).await?).await
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{all, find};

    #[test]
    fn a_scenario_is_found_by_its_name_and_no_two_have_the_same() {
        let names: HashSet<_> = all().iter().map(|s| (s.group, s.name)).collect();
        assert_eq!(names.len(), all().len());
        let found = find("rooms", "sockets_leave_a_room").map(ToString::to_string);
        assert_eq!(found.as_deref(), Some("rooms: sockets leave a room"));
        assert!(find("rooms", "sockets_leave").is_none());
    }
}
