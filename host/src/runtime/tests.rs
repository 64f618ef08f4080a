//! Hostile components, written in WebAssembly text, and what becomes of them.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use super::{Contract, Fault, Guest, Limits, LoadError, Program, Runtime, load};

fn importing<'a>(imports: &'a [&'a str]) -> Contract<'a> {
    Contract {
        imports,
        exports: &[],
    }
}

/// Exports that do what their names say. `wait` calls the host, which sleeps.
const COMPONENT: &str = r#"
(component
  (import "test:host/clock@0.1.0" (instance $clock (export "sleep" (func))))
  (core func $sleep (canon lower (func $clock "sleep")))
  (core module $m
    (import "host" "sleep" (func $sleep))
    (memory (export "memory") 1)
    (func (export "fine"))
    (func (export "spin") (loop (br 0)))
    (func (export "trap") unreachable)
    (func $recurse (export "recurse") (call $recurse))
    (func (export "hoard") (loop (drop (memory.grow (i32.const 16))) (br 0)))
    (func (export "wait") (call $sleep))
  )
  (core instance $i (instantiate $m
    (with "host" (instance (export "sleep" (func $sleep))))))
  (func (export "fine") (canon lift (core func $i "fine")))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "trap") (canon lift (core func $i "trap")))
  (func (export "recurse") (canon lift (core func $i "recurse")))
  (func (export "hoard") (canon lift (core func $i "hoard")))
  (func (export "wait") (canon lift (core func $i "wait")))
)"#;

const SLEEP: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(60);

fn load_text(text: &str, interfaces: &[&str]) -> Result<(Runtime, Program<()>), LoadError> {
    let runtime = Runtime::new(None).unwrap();
    let wasm = wat::parse_str(text).unwrap();
    let program = load(&runtime, &wasm, importing(interfaces), true, |linker| {
        linker
            .instance("test:host/clock@0.1.0")?
            .func_wrap_async("sleep", |_, (): ()| {
                Box::new(async {
                    tokio::time::sleep(SLEEP).await;
                    Ok(())
                })
            })
    })?;
    Ok((runtime, program))
}

fn program() -> (Runtime, Program<()>) {
    load_text(COMPONENT, &["test:host/clock@0.1.0"]).unwrap()
}

fn limits() -> Limits {
    Limits {
        cpu: Duration::from_millis(50),
        memory_bytes: 8 << 20,
        ..Limits::default()
    }
}

async fn call(
    program: &Program<()>,
    export: &'static str,
    timeout: Duration,
) -> (Result<(), Fault>, Guest<()>) {
    let mut guest = Guest::instantiate(&program.pre, limits(), (), Arc::new(|_: &str| {}))
        .await
        .unwrap();
    let result = guest
        .call(export, timeout, async |store, instance| {
            let function = instance.get_typed_func::<(), ()>(&mut *store, export)?;
            function.call_async(&mut *store, ()).await
        })
        .await;
    (result, guest)
}

#[tokio::test]
async fn an_endless_loop_ends_at_its_cpu_limit_and_others_run_meanwhile() {
    let (_runtime, program) = program();
    // On this one thread: the loop has to share it, or the second task would never run.
    let other = tokio::spawn(async { tokio::task::yield_now().await });
    let (result, guest) = call(&program, "spin", LONG).await;
    assert!(
        matches!(result, Err(Fault::Cpu { call: "spin", .. })),
        "{result:?}"
    );
    assert!(!guest.is_alive());
    assert!(other.is_finished(), "the loop kept the thread to itself");
}

#[tokio::test]
async fn waiting_in_the_host_is_free() {
    let (_runtime, program) = program();
    let (result, guest) = call(&program, "wait", LONG).await;
    assert_eq!(result, Ok(()), "slept longer than its CPU limit");
    assert!(guest.is_alive());
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_stuck() {
    let (_runtime, program) = program();
    let (result, guest) = call(&program, "wait", Duration::from_millis(10)).await;
    assert!(
        matches!(result, Err(Fault::Stuck { call: "wait", .. })),
        "{result:?}"
    );
    assert!(!guest.is_alive());
}

#[tokio::test]
async fn memory_beyond_the_limit_is_a_fault_that_names_the_setting() {
    let (_runtime, program) = program();
    let (result, _) = call(&program, "hoard", LONG).await;
    let text = result.unwrap_err().to_string();
    assert_eq!(
        text,
        "`hoard` needed more than 8388608 bytes of memory (`limits.memory_bytes`)"
    );
}

#[tokio::test]
async fn traps_say_what_happened() {
    let (_runtime, program) = program();
    for (export, part) in [("trap", "unreachable"), ("recurse", "call stack exhausted")] {
        let (result, guest) = call(&program, export, LONG).await;
        let text = result.unwrap_err().to_string();
        assert!(text.contains(part), "{export}: {text}");
        assert!(!guest.is_alive());
    }
}

#[tokio::test]
async fn an_instance_whose_call_was_abandoned_is_not_called_again() {
    let (_runtime, program) = program();
    let mut guest = Guest::instantiate(&program.pre, limits(), (), Arc::new(|_: &str| {}))
        .await
        .unwrap();
    let waiting = guest.call("wait", LONG, async |store, instance| {
        let function = instance.get_typed_func::<(), ()>(&mut *store, "wait")?;
        function.call_async(&mut *store, ()).await
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(5), waiting)
            .await
            .is_err()
    );
    assert!(!guest.is_alive());
    let again = guest.call("fine", LONG, async |_, _| Ok(())).await;
    assert!(matches!(again, Err(Fault::Trap { .. })), "{again:?}");
}

#[tokio::test]
async fn other_instances_do_not_notice_a_fault() {
    let (_runtime, program) = program();
    let (good, mut guest) = call(&program, "fine", LONG).await;
    assert_eq!(good, Ok(()));
    for _ in 0..100 {
        assert!(call(&program, "trap", LONG).await.0.is_err());
    }
    assert_eq!(guest.call("fine", LONG, async |_, _| Ok(())).await, Ok(()));
}

#[test]
fn what_cannot_be_loaded_says_why() {
    let runtime = Runtime::new(None).unwrap();
    let load = |wasm: &[u8]| {
        let known = ["test:host/clock@0.2.0", "test:host/other@1.0.0"];
        match load::<()>(&runtime, wasm, importing(&known), false, |_| Ok(())) {
            Ok(_) => panic!("it was loaded"),
            Err(error) => error.to_string(),
        }
    };
    let text = |text: &str| wat::parse_str(text).unwrap();
    for (wasm, part) in [
        (b"not wasm".to_vec(), "it is not WebAssembly"),
        (b"\0asm".to_vec(), "cannot be compiled"),
        (
            text(r#"(module (import "env" "x" (func)))"#),
            "without component metadata",
        ),
        (
            text(r#"(component (import "test:host/clock@0.1.0" (instance)))"#),
            "imports `test:host/clock@0.1.0`, which this host does not provide (it has \
             test:host/clock@0.2.0)",
        ),
        (
            text(r#"(component (import "acme:db/query@1.0.0" (instance)))"#),
            "imports `acme:db/query@1.0.0`, which this host does not provide (it has \
             test:host/clock@0.2.0, test:host/other@1.0.0)",
        ),
        (
            text(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#),
            "limits.allow_wasi",
        ),
    ] {
        let error = load(&wasm);
        assert!(error.contains(part), "expected {part:?} in {error:?}");
    }
}

#[test]
fn compiled_code_is_kept_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = wat::parse_str("(component)").unwrap();
    for _ in 0..2 {
        let runtime = Runtime::new(Some(folder.path().join("cache"))).unwrap();
        assert!(load::<()>(&runtime, &wasm, importing(&[]), true, |_| Ok(())).is_ok());
    }
    assert!(
        std::fs::read_dir(folder.path().join("cache"))
            .unwrap()
            .next()
            .is_some()
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_named_with_the_key_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Runtime::new(Some(file.join("cache")))
        .unwrap_err()
        .to_string();
    assert!(error.contains("set `cache` in switchboard.toml"), "{error}");
}
