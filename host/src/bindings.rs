//! What wasmtime makes of the contract in `wit/`: types of the border, import traits, export
//! handles. Messages on their way out are borrowed (`RunParam`), on their way in owned (`RunResult`),
//! and so is what they are made of.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all
)]

wasmtime::component::bindgen!({
    path: ["../wit/transport", "../wit/bus", "../wit/redis", "../wit/postgres", "../wit/tcp"],
    inline: "
        package switchboard:host;
        world plugin {
            include switchboard:transport/transport-with-recovery@0.1.0;
            import switchboard:bus/bus@0.1.0;
            import switchboard:redis/redis@0.1.0;
            import switchboard:postgres/postgres@0.1.0;
            import switchboard:tcp/tcp@0.1.0;
        }
    ",
    world: "switchboard:host/plugin",
    imports: {
        "switchboard:transport/node": trappable,
        default: async | trappable,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
    with: {
        "switchboard:bus/bus.sender": crate::capabilities::bus::SenderHandle,
        "switchboard:bus/bus.subscription": crate::capabilities::bus::SubscriptionHandle,
        "switchboard:redis/redis.client": crate::capabilities::redis::ClientHandle,
        "switchboard:redis/redis.reader": crate::capabilities::redis::ReaderHandle,
        "switchboard:redis/redis.subscription": crate::capabilities::redis::SubscriptionHandle,
        "switchboard:postgres/postgres.client": crate::capabilities::postgres::ClientHandle,
        "switchboard:postgres/postgres.subscription": crate::capabilities::postgres::SubscriptionHandle,
        "switchboard:tcp/tcp.socket": crate::capabilities::tcp::SocketHandle,
    },
});

/// Every interface that a plugin may import, for the messages of the loader.
pub(crate) const INTERFACES: &[&str] = &[
    "switchboard:transport/messages@0.1.0",
    "switchboard:transport/lifecycle@0.1.0",
    "switchboard:transport/node@0.1.0",
    "switchboard:bus/bus@0.1.0",
    "switchboard:redis/redis@0.1.0",
    "switchboard:postgres/postgres@0.1.0",
    "switchboard:tcp/tcp@0.1.0",
];
