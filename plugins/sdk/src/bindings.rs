//! What wit-bindgen makes of the contract. Unsafe code is confined to this module and to the
//! export macro that it defines; nobody writes any by hand.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all
)]

wit_bindgen::generate!({
    path: ["../../wit/transport", "../../wit/bus", "../../wit/redis", "../../wit/postgres", "../../wit/tcp"],
    // Imports that a plugin does not use vanish when it is linked: a transport imports the
    // capabilities it needs and no others.
    inline: "
        package switchboard:sdk;
        world plugin {
            include switchboard:transport/transport@0.1.0;
            import switchboard:bus/bus@0.1.0;
            import switchboard:redis/redis@0.1.0;
            import switchboard:postgres/postgres@0.1.0;
            import switchboard:tcp/tcp@0.1.0;
        }
    ",
    world: "switchboard:sdk/plugin",
    pub_export_macro: true,
    default_bindings_module: "switchboard_plugin::bindings",
    generate_all,
});

/// The optional export; a module of its own, because a component must export all of its world.
pub mod with_recovery {
    wit_bindgen::generate!({
        path: ["../../wit/transport", "../../wit/bus"],
        inline: "
            package switchboard:sdk-recovery;
            world sessions {
                export switchboard:transport/recovery@0.1.0;
            }
        ",
        world: "switchboard:sdk-recovery/sessions",
        pub_export_macro: true,
        export_macro_name: "export_recovery",
        default_bindings_module: "switchboard_plugin::bindings::with_recovery",
        with: {
            "switchboard:transport/messages@0.1.0": super::switchboard::transport::messages,
            "switchboard:transport/lifecycle@0.1.0": super::switchboard::transport::lifecycle,
        },
    });
}
