use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::super::message::{ControlMessage, Phase, State, Version};
use super::*;

/// One machine, `a`, on `local`, and what others say to it.
struct Case {
    machine: Machine,
    now: Instant,
    actions: Vec<Action>,
    seq: u32,
}

const HOME: LineId = LineId(0);
const NEW: LineId = LineId(1);

impl Case {
    fn new() -> Self {
        let now = Instant::now();
        let timing = Timing::default();
        let mut case = Self {
            machine: Machine::new("a".into(), "local".into(), HOME, timing, now),
            now,
            actions: Vec::new(),
            seq: 0,
        };
        case.input(Input::Tick);
        case
    }

    fn input(&mut self, input: Input) -> &mut Self {
        self.actions.clear();
        self.machine.handle(input, self.now, &mut self.actions);
        self
    }

    fn begin(&mut self, to: &str, members: &[&str]) -> &mut Self {
        let members = members.iter().map(|node| NodeId::from(*node)).collect();
        let to = to.into();
        self.input(Input::Begin { to, members })
    }

    /// Time passes, and the machine is woken when it wants to be.
    fn pass(&mut self, time: Duration) -> &mut Self {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(wake) = self.machine.wake_at().filter(|wake| *wake <= until) {
            self.now = wake.max(self.now);
            self.input(Input::Tick);
            all.append(&mut self.actions);
        }
        self.now = until;
        self.actions = all;
        self
    }

    fn hear(&mut self, from: &str, line: LineId, mut state: State) -> &mut Self {
        self.seq += 1;
        state.seq = self.seq;
        self.input(Input::Heard {
            from: from.into(),
            line,
            said: Arc::new(ControlMessage::State(state)),
        })
    }

    /// What this machine told last.
    fn told(&self) -> State {
        let mut told = self.actions.iter().rev().filter_map(|action| match action {
            Action::Tell { say, .. } => match &**say {
                ControlMessage::State(state) => Some(state.clone()),
                ControlMessage::Mark { .. } => None,
            },
            _ => None,
        });
        told.next().expect("it tells its State")
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.actions.iter().find_map(|action| match action {
            Action::Finished(outcome) => Some(outcome),
            _ => None,
        })
    }

    fn phase(&self) -> Phase {
        self.machine.report().phase
    }

    /// `b` takes part in the plan that was begun here.
    fn follower(&self, phase: Phase) -> State {
        let plan = self.machine.report().plan.expect("a plan");
        State {
            version: plan.base.clone(),
            home: plan.from.clone(),
            on: plan.from.clone(),
            phase,
            part: Some(super::super::message::Part {
                plan: plan.version.clone(),
                revision: plan.revision,
                ..Default::default()
            }),
            ..State::default()
        }
    }
}

fn idle(version: Version, on: &str) -> State {
    State {
        version,
        home: on.into(),
        on: on.into(),
        ..State::default()
    }
}

fn version(epoch: u32, id: &str) -> Version {
    Version {
        epoch,
        id: id.into(),
    }
}

fn is_gap(action: &Action) -> bool {
    matches!(action, Action::Gap { .. })
}

#[test]
fn a_node_that_is_alone_switches_alone() {
    let mut case = Case::new();
    case.begin("redis", &[]);
    assert!(matches!(
        &case.actions[..],
        [
            Action::Log { .. },
            Action::Open { line: NEW, .. },
            Action::Tell { line: HOME, .. }
        ]
    ));
    case.input(Input::Opened(NEW));
    let has_left = |action: &Action| matches!(action, Action::Leave { .. });
    assert!(case.actions.iter().any(has_left), "{:?}", case.actions);
    case.input(Input::Left { forced: false });
    assert_eq!(
        case.outcome(),
        Some(&Outcome::Switched {
            version: version(1, "a/1"),
            to: "redis".into(),
            gone: vec![],
            unfinished: vec![],
        })
    );
    let report = case.machine.report();
    assert_eq!((&*report.on, report.phase), ("redis", Phase::Idle));
    assert_eq!(report.signpost.as_deref(), Some("local"));
    case.pass(Timing::default().signpost);
    assert_eq!(case.machine.report().signpost, None);
}

#[test]
fn the_order_of_a_move_is_tell_then_leave() {
    let mut case = Case::new();
    case.begin("redis", &[]).input(Input::Opened(NEW));
    let place = |wanted: fn(&Action) -> bool| case.actions.iter().position(wanted);
    let start = place(|action| matches!(action, Action::MergeStart { .. }));
    let tell = place(|action| matches!(action, Action::Tell { line: NEW, .. }));
    let leave = place(|action| matches!(action, Action::Leave { .. }));
    assert!(start < tell && tell < leave, "{:?}", case.actions);
}

#[test]
fn a_switch_to_where_the_cluster_is_is_refused() {
    let mut case = Case::new();
    case.begin("local", &["b"]);
    assert!(matches!(
        case.outcome(),
        Some(Outcome::Refused { why }) if why == "the cluster is on `local` already"
    ));
    assert_eq!(case.phase(), Phase::Idle);
}

#[test]
fn a_second_switch_is_refused_and_the_first_goes_on() {
    let mut case = Case::new();
    case.begin("redis", &["b"]).begin("postgres", &["b"]);
    assert!(matches!(case.outcome(), Some(Outcome::Refused { .. })));
    assert_eq!(case.phase(), Phase::Opening);
}

#[test]
fn who_was_not_ready_in_time_is_named() {
    let mut case = Case::new();
    case.begin("redis", &["b"]).input(Input::Opened(NEW));
    case.pass(Timing::default().prepare);
    let Some(Outcome::Aborted { why }) = case.outcome() else {
        panic!("not aborted: {:?}", case.actions);
    };
    assert_eq!(
        why,
        "not all servers were ready for `redis` in time: a does not hear b there; b does not take \
         part"
    );
    let closes = |action: &Action| matches!(action, Action::Close(NEW));
    assert!(case.actions.iter().any(closes));
    let aborted = case.told().aborted.expect("it tells that");
    assert_eq!(&*aborted.why, why);
}

#[test]
fn nothing_is_decided_before_all_are_ready() {
    let mut case = Case::new();
    case.begin("redis", &["b"]).input(Input::Opened(NEW));
    // Heard, but not ready; then ready for another revision; then ready.
    case.hear("b", NEW, case.follower(Phase::Hearing));
    assert_eq!(case.phase(), Phase::Ready);
    let mut early = case.follower(Phase::Ready);
    if let Some(part) = &mut early.part {
        part.revision += 1;
    }
    case.hear("b", NEW, early);
    assert_eq!(case.phase(), Phase::Ready);
    case.hear("b", NEW, case.follower(Phase::Ready));
    assert_eq!(case.phase(), Phase::Leaving);
}

#[test]
fn a_member_that_cannot_open_the_transport_aborts_the_switch() {
    let mut case = Case::new();
    case.begin("redis", &["b"]).input(Input::Opened(NEW));
    let mut failed = case.follower(Phase::Opening);
    if let Some(part) = &mut failed.part {
        part.failed = Some("no such plugin".into());
    }
    case.hear("b", HOME, failed);
    assert!(matches!(
        case.outcome(),
        Some(Outcome::Aborted { why }) if why == "b cannot open `redis`: no such plugin"
    ));
}

#[test]
fn a_newcomer_becomes_a_member() {
    let mut case = Case::new();
    case.begin("redis", &[]);
    case.hear("b", HOME, idle(Version::default(), "local"));
    let plan = case.told().plan.expect("a plan");
    assert_eq!(plan.members, ["a", "b"].map(NodeId::from));
    assert_eq!(plan.revision, 1);
    case.input(Input::Opened(NEW));
    assert_eq!(case.phase(), Phase::Hearing, "it is waited for");
}

#[test]
fn a_plan_that_was_given_up_is_not_taken_up_again() {
    let mut coordinator = Case::new();
    coordinator.begin("redis", &["b"]);
    let mut told = coordinator.told();

    let now = Instant::now();
    let timing = Timing::default();
    let mut case = Case::new();
    case.machine = Machine::new("b".into(), "local".into(), HOME, timing, now);
    case.hear("a", HOME, told.clone());
    assert_eq!(case.phase(), Phase::Opening);
    coordinator.input(Input::Abort);
    case.hear("a", HOME, coordinator.told());
    assert_eq!(case.phase(), Phase::Idle);
    told.seq += 10;
    case.hear("a", HOME, told);
    assert_eq!(case.phase(), Phase::Idle);
}

#[test]
fn who_hears_on_the_signpost_where_the_others_are_follows_and_reports_the_gap() {
    let mut case = Case::new();
    case.hear("b", HOME, idle(version(4, "b/9"), "redis"));
    assert_eq!(case.phase(), Phase::Moving);
    case.input(Input::OpenFailed(NEW, "away".to_owned()));
    assert_eq!(case.phase(), Phase::Moving, "it tries on");
    case.pass(Timing::default().prepare / 10);
    let second = LineId(2);
    let opens = |action: &Action| matches!(action, Action::Open { line, .. } if *line == second);
    assert!(case.actions.iter().any(opens), "{:?}", case.actions);
    case.input(Input::Opened(second));
    assert!(case.actions.iter().any(is_gap));
    case.input(Input::Left { forced: false });
    let report = case.machine.report();
    assert_eq!((&*report.on, report.phase), ("redis", Phase::Idle));
    assert_eq!(report.version, version(4, "b/9"));
}

#[test]
fn a_node_that_is_there_already_takes_the_version_over() {
    let mut case = Case::new();
    case.hear("b", HOME, idle(version(4, "b/9"), "local"));
    assert_eq!(case.machine.report().version, version(4, "b/9"));
    assert!(!case.actions.iter().any(is_gap));
    assert_eq!(case.phase(), Phase::Idle);
}

#[test]
fn a_line_that_takes_no_mark_is_left_without() {
    let mut case = Case::new();
    case.begin("redis", &[]).input(Input::Opened(NEW));
    case.pass(Timing::default().leave);
    let goes = |action: &Action| matches!(action, Action::LeaveNow);
    assert_eq!(case.actions.iter().filter(|action| goes(action)).count(), 1);
    case.input(Input::Left { forced: true });
    assert!(case.told().forced);
}

#[test]
fn a_line_that_opens_too_late_is_closed() {
    let mut case = Case::new();
    case.begin("redis", &["b"]).input(Input::Abort);
    case.input(Input::Opened(NEW));
    assert!(matches!(case.actions[..], [Action::Close(NEW)]));
}

#[test]
fn a_mark_that_does_not_come_is_given_up_and_reported() {
    let mut case = Case::new();
    case.begin("redis", &["b"]).input(Input::Opened(NEW));
    case.hear("b", NEW, case.follower(Phase::Ready));
    case.input(Input::Left { forced: false });
    assert_eq!(case.phase(), Phase::Draining);
    case.hear("b", NEW, idle(version(1, "a/1"), "redis"));
    case.pass(Timing::default().drain - Duration::from_millis(1));
    assert!(!case.actions.iter().any(is_gap));
    case.pass(Duration::from_millis(1));
    assert_eq!(
        case.actions.iter().filter(|action| is_gap(action)).count(),
        1
    );
    assert_eq!(case.phase(), Phase::Idle);
}

#[test]
fn what_was_said_on_the_old_line_after_leaving_counts_as_the_mark() {
    let mut case = Case::new();
    case.begin("redis", &["b"]).input(Input::Opened(NEW));
    case.hear("b", NEW, case.follower(Phase::Ready));
    case.input(Input::Left { forced: false });
    case.hear("b", HOME, idle(version(1, "a/1"), "redis"));
    assert!(!case.actions.iter().any(is_gap));
    assert_eq!(case.phase(), Phase::Idle);
    assert!(matches!(case.outcome(), Some(Outcome::Switched { .. })));
}

#[test]
fn a_node_at_rest_that_has_never_switched_says_nothing() {
    let mut case = Case::new();
    case.pass(Duration::from_secs(3600));
    assert!(case.actions.is_empty());
    assert_eq!(case.machine.wake_at(), None);
}

#[test]
fn no_switch_begins_while_somebody_has_not_followed_the_last_one() {
    let mut case = Case::new();
    case.begin("redis", &[]).input(Input::Opened(NEW));
    case.input(Input::Left { forced: false });
    case.hear("b", HOME, idle(Version::default(), "local"));
    case.begin("postgres", &[]);
    assert!(matches!(
        case.outcome(),
        Some(Outcome::Refused { why })
            if why == "b is still on `local` and has not followed the last switch yet"
    ));
    case.hear("b", NEW, idle(version(1, "a/1"), "redis"));
    case.begin("postgres", &[]);
    assert_eq!(case.phase(), Phase::Opening);
}
