use super::*;
use crate::cluster::switch::message::{Part, State};

fn version(epoch: u32) -> Version {
    Version {
        epoch,
        id: format!("a/{epoch}").into(),
    }
}

/// A merge after version 1 that awaits `a` and `b`, and what it let out.
struct Case {
    merge: Merge<u32>,
    out: Vec<u32>,
}

impl Case {
    fn new() -> Self {
        let awaited = ["a", "b"].map(NodeId::from);
        Self {
            merge: Merge::new(version(1), awaited, MergeLimits::default()),
            out: Vec::new(),
        }
    }

    fn old(&mut self, sender: &str, n: u32) -> &mut Self {
        self.out.extend(self.merge.on_old(&sender.into(), n));
        self
    }

    fn new_line(&mut self, sender: &str, n: u32) -> &mut Self {
        self.out.extend(self.merge.on_new(&sender.into(), n, 10));
        self
    }

    fn mark(&mut self, sender: &str, epoch: u32) -> &mut Self {
        let out = &mut self.out;
        let mark = ControlMessage::Mark {
            version: version(epoch),
        };
        self.merge
            .heard_on_old(&sender.into(), &mark, &mut |n| out.push(n));
        self
    }

    fn ended(&mut self, sender: &str, forced: bool) -> &mut Self {
        let out = &mut self.out;
        self.merge
            .ended(&sender.into(), forced, &mut |n| out.push(n));
        self
    }

    fn says(&mut self, sender: &str, seq: u32, epoch: u32, phase: Phase) -> &mut Self {
        let state = State {
            seq,
            version: version(epoch),
            phase,
            part: (phase == Phase::Ready).then(Part::default),
            ..State::default()
        };
        self.merge
            .heard_on_new(&sender.into(), &ControlMessage::State(state));
        self
    }

    #[track_caller]
    fn let_out(&mut self, expected: &[u32]) -> &mut Self {
        assert_eq!(self.out, expected);
        self
    }
}

#[test]
fn the_new_line_waits_for_the_mark_of_each_sender() {
    let mut case = Case::new();
    case.new_line("a", 3).new_line("b", 30).old("a", 1);
    case.new_line("a", 4).old("a", 2).let_out(&[1, 2]);
    case.mark("a", 2).let_out(&[1, 2, 3, 4]);
    case.new_line("a", 5).let_out(&[1, 2, 3, 4, 5]);
    assert!(!case.merge.is_drained());
    case.mark("b", 2).let_out(&[1, 2, 3, 4, 5, 30]);
    assert!(case.merge.is_drained());
    assert_eq!(case.merge.dropped(), 0);
}

#[test]
fn a_mark_of_an_earlier_switch_ends_nothing() {
    let mut case = Case::new();
    case.new_line("a", 2).mark("a", 1).old("a", 1).let_out(&[1]);
    case.mark("a", 2).let_out(&[1, 2]);
}

#[test]
fn what_a_sender_says_on_the_old_line_after_it_has_left_counts_as_its_mark() {
    let mut case = Case::new();
    let mut say = |seq, phase, expected: bool| {
        let said = ControlMessage::State(State {
            seq,
            version: version(2),
            phase,
            ..State::default()
        });
        let out = &mut case.out;
        let ended = case
            .merge
            .heard_on_old(&"a".into(), &said, &mut |n| out.push(n));
        assert_eq!(ended, expected, "{phase:?}");
    };
    say(1, Phase::Moving, false);
    say(2, Phase::Leaving, false);
    say(3, Phase::Draining, true);
    // It has come back, which is not for here.
    case.old("a", 9).new_line("a", 2).let_out(&[2]);
}

#[test]
fn what_says_not_who_sent_it_waits_for_all() {
    for anonymous in ["", EMITTER] {
        let mut case = Case::new();
        case.new_line(anonymous, 8).old(anonymous, 7);
        case.mark("a", 2).let_out(&[7]);
        case.new_line(anonymous, 9).let_out(&[7]);
        case.mark("b", 2).let_out(&[7, 8, 9]);
        case.new_line(anonymous, 10).let_out(&[7, 8, 9, 10]);
    }
}

#[test]
fn who_dies_is_waited_for_no_more() {
    let mut case = Case::new();
    case.new_line("a", 2).ended("a", false).let_out(&[2]);
    // Late, and out of order now.
    case.old("a", 1).let_out(&[2]);
    assert_eq!(case.merge.dropped(), 1);
    case.new_line("a", 3).let_out(&[2, 3]);
}

#[test]
fn the_old_line_of_who_is_given_up_goes_on_until_the_new_one_was_used() {
    let mut case = Case::new();
    case.ended("a", false).old("a", 1).let_out(&[1]);
    case.says("a", 1, 2, Phase::Leaving);
    // It turns out that it is alive: its mark is awaited again.
    case.merge.wait_for("a".into(), &version(2));
    case.new_line("a", 3).old("a", 2).mark("a", 2);
    case.let_out(&[1, 2, 3]);
}

#[test]
fn nothing_more_is_taken_from_a_line_that_was_left_by_force() {
    let mut case = Case::new();
    case.old("a", 1).says("a", 1, 2, Phase::Leaving);
    case.ended("a", true).old("a", 2).let_out(&[1]);
    case.new_line("a", 3).let_out(&[1, 3]);
    assert_eq!(case.merge.dropped(), 1);
}

#[test]
fn others_pass_on_both_lines() {
    let mut case = Case::new();
    case.old("node-server", 1).new_line("elsewhere", 2);
    case.let_out(&[1, 2]);
}

#[test]
fn one_that_comes_late_is_waited_for_from_when_it_says_so() {
    let mut case = Case::new();
    case.old("late", 1).says("late", 1, 2, Phase::Leaving);
    case.new_line("late", 3).old("late", 2).let_out(&[1, 2]);
    case.mark("late", 2).let_out(&[1, 2, 3]);
    // It says so on the other line as well, which was slower.
    case.merge.wait_for("late".into(), &version(2));
    case.new_line("late", 4).let_out(&[1, 2, 3, 4]);
}

#[test]
fn what_is_from_an_earlier_stay_does_not_come_after_the_old_line() {
    let mut case = Case::new();
    // It takes part, is held back, and turns out to have sent that before it came.
    case.new_line("a", 1).old("a", 2).let_out(&[2]);
    case.says("a", 1, 1, Phase::Ready)
        .mark("a", 2)
        .let_out(&[2]);
    assert_eq!(case.merge.dropped(), 1);

    // It has not come yet, so what it sends is in time; what is late is not.
    case.says("late", 1, 1, Phase::Moving).new_line("late", 10);
    case.says("late", 2, 1, Phase::Leaving).old("late", 12);
    case.new_line("late", 11).let_out(&[2, 10, 12]);
    assert_eq!(case.merge.dropped(), 2);
}

#[test]
fn a_word_that_waited_on_the_old_line_says_nothing_new() {
    let mut case = Case::new();
    case.says("a", 5, 2, Phase::Leaving).new_line("a", 2);
    case.says("a", 4, 1, Phase::Ready).old("a", 1).mark("a", 2);
    case.let_out(&[1, 2]);
}

#[test]
fn a_full_merge_says_so_until_a_mark_makes_room() {
    let limits = MergeLimits {
        messages: 2,
        bytes: 15,
    };
    let mut case = Case::new();
    case.merge = Merge::new(version(1), [NodeId::from("a")], limits);
    case.new_line("a", 1);
    assert!(!case.merge.is_full());
    case.new_line("a", 2);
    assert!(case.merge.is_full(), "20 bytes, and two messages");
    assert_eq!(case.merge.held(), 2);
    case.mark("a", 2).let_out(&[1, 2]);
    assert!(!case.merge.is_full());
}

#[test]
fn a_merge_that_ends_early_keeps_nothing_back_that_is_in_order() {
    let mut case = Case::new();
    case.new_line("a", 1).new_line("", 2);
    let out = &mut case.out;
    case.merge.finish(&mut |n| out.push(n));
    case.let_out(&[2]);
    assert_eq!(case.merge.dropped(), 1);
    assert_eq!(case.merge.held(), 0);
}

#[test]
fn without_the_mark_nothing_follows_what_may_be_of_a_later_stay() {
    for has_mark in [true, false] {
        let mut case = Case::new();
        case.old("a", 1).says("a", 1, 2, Phase::Draining);
        case.new_line("a", 3).old("a", 2);
        match has_mark {
            true => case.mark("a", 2).let_out(&[1, 2, 3]),
            false => case.ended("a", false).let_out(&[1, 2]),
        };
    }
}
