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
    path: ["../../wit/transport", "../../wit/bus"],
    // Imports that a plugin does not use vanish when it is linked: a transport imports the
    // capabilities it needs and no others.
    inline: "
        package switchboard:sdk;
        world plugin {
            include switchboard:transport/transport@0.1.0;
            import switchboard:bus/bus@0.1.0;
        }
    ",
    world: "switchboard:sdk/plugin",
    pub_export_macro: true,
    default_bindings_module: "switchboard_plugin::bindings",
    generate_all,
});
