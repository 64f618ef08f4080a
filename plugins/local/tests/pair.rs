//! Both halves of the transport, natively, over a bus that exists in the test only.

use switchboard_plugin::{
    testing::{Network, Node, event},
    types::Event,
};
use switchboard_transport_local::transport::{In, Out};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn nodes(network: &Network) -> Result<[Node<Out, In>; 2], Box<dyn std::error::Error>> {
    Ok([network.node("ada", "{}")?, network.node("bob", "{}")?])
}

#[test]
fn a_batch_arrives_in_order_and_nobody_hears_itself() -> Outcome {
    let [mut ada, mut bob] = nodes(&Network::new())?;
    ada.publish(vec![event("ada", "[1]"), event("ada", "[2]")])?;
    bob.publish(vec![event("bob", "[3]")])?;
    assert_eq!(bob.heard()?, ["[1]", "[2]"]);
    assert_eq!(ada.heard()?, ["[3]"]);
    Ok(())
}

#[test]
fn a_bus_that_is_away_accepts_nothing_and_loses_nothing() -> Outcome {
    let network = Network::new();
    let [mut ada, mut bob] = nodes(&network)?;
    ada.publish(vec![event("ada", "[1]")])?;
    network.cut();
    assert!(ada.publish(vec![event("ada", "[2]")]).is_err());
    assert!(bob.poll().is_err());
    network.heal();
    bob.replace(None)?;
    ada.publish(vec![event("ada", "[2]")])?;
    assert_eq!(bob.heard()?, ["[1]", "[2]"]);
    Ok(())
}

#[test]
fn a_death_and_a_gap_are_told() -> Outcome {
    let network = Network::new();
    let [mut ada, _bob] = nodes(&network)?;
    network.lose("ada", 2);
    network.leave("bob");
    let events = ada.poll()?;
    assert!(
        matches!(&events[..], [Event::Lagged(_), Event::NodeLeft(node)] if node == "bob"),
        "{events:?}"
    );
    Ok(())
}
