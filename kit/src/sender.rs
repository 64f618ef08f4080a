//! A process of a cluster that is no server and only sends, as it is told: the subject of the tests of
//! emitters. It takes orders ([`Order`]) as JSON lines on standard input
//! until that ends. By hand:
//!
//! ```text
//! $ test-emitter switchboard.toml
//! READY
//! {"id":1,"op":"join","select":{"nsp":"/"},"rooms":["a"]}
//! {"id":1,"ok":null}
//! ```

use std::{error::Error, sync::Arc};

use serde_json::Value;
use switchboard::{Config, Emitter, EmitterOperators};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    console,
    protocol::{Order, Select},
    subject::log_to_stderr,
    value::Args,
};

/// Runs an emitter with these arguments (without the program's name), and ends the process: no
/// destructor may hold up the exit, for standard input is read by a thread that cannot be ended.
/// `program` is what it calls itself when it fails.
pub async fn run(program: &str, args: impl IntoIterator<Item = String>) -> ! {
    log_to_stderr();
    let code = match send(args).await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{program}: {error}");
            1
        }
    };
    std::process::exit(code)
}

async fn send(args: impl IntoIterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let mut args = args.into_iter();
    let file = args.next().ok_or("it takes a configuration: CONFIG")?;
    let emitter = Emitter::open(Config::from_file(file)?).await?;
    println!("READY");
    let open = Arc::new(emitter.clone());
    let obey = move |order| {
        let emitter = Arc::clone(&open);
        async move {
            obey(&emitter, order)
                .await
                .map_err(|error| error.to_string())
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = console::run(obey) => {}
        _ = terminate.recv() => {}
    }
    emitter.close().await;
    let stats = emitter.stats();
    match stats.unsent + stats.rejected {
        0 => Ok(()),
        left => Err(format!("{left} messages were not sent").into()),
    }
}

async fn obey(emitter: &Emitter, order: Order) -> Result<Value, Box<dyn Error + Send + Sync>> {
    match order {
        Order::Emit {
            select,
            event,
            args,
        } => {
            let args = Args::from_json(&args)?;
            operators(emitter, &select)?.emit(&event, &args).await?;
        }
        Order::Join { select, rooms } => operators(emitter, &select)?.join(rooms).await?,
        Order::Leave { select, rooms } => operators(emitter, &select)?.leave(rooms).await?,
        Order::Disconnect { select, close } => {
            operators(emitter, &select)?.disconnect(close).await?;
        }
        Order::ServerSideEmit { nsp, event, args } => {
            let args = Args::from_json(&args)?;
            emitter.of(nsp).server_side_emit(&event, &args).await?;
        }
    }
    Ok(Value::Null)
}

/// `emitter.of(…).to(…).except(…)`.
fn operators(emitter: &Emitter, select: &Select) -> Result<EmitterOperators, String> {
    if select.local || select.from.is_some() || select.timeout_ms.is_some() {
        return Err("an emitter has no sockets of its own and waits for nothing".into());
    }
    let operators = emitter
        .of(&select.nsp)
        .to(&select.rooms)
        .except(&select.except);
    Ok(match select.volatile {
        true => operators.volatile(),
        false => operators,
    })
}
