//! What a plugin may reach over TCP: the addresses that the operator configured, and what both the
//! plugin's manifest and the operator name besides.

use super::endpoint::{Endpoint, EndpointPattern};

/// Most patterns in one grant.
const MAX_PATTERNS: usize = 64;

/// What one grant allows beyond the addresses of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpRights {
    /// Places that the plugin may name itself. Default: none.
    pub endpoints: Vec<EndpointPattern>,
}

impl TcpRights {
    /// What is wrong, as the key and what is to be said about it.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        match self.endpoints.len() {
            len if len > MAX_PATTERNS => vec![(
                "endpoints",
                format!("holds {len} patterns: {MAX_PATTERNS} are allowed"),
            )],
            _ => Vec::new(),
        }
    }

    fn covers(&self, endpoint: &Endpoint) -> bool {
        self.endpoints
            .iter()
            .any(|pattern| pattern.covers(endpoint))
    }
}

/// What a plugin may do on one connection: all that its manifest asks for and the operator allows. One
/// of the two may be silent; then what the other says holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpPermit {
    plugin: String,
    connection: String,
    asked: Vec<TcpRights>,
    /// None: `asked` is what the operator allows, and the manifest is silent.
    allowed: Option<Vec<TcpRights>>,
}

impl TcpPermit {
    pub(crate) fn new(
        plugin: &str,
        connection: &str,
        asked: Vec<TcpRights>,
        allowed: Option<Vec<TcpRights>>,
    ) -> Self {
        Self {
            plugin: plugin.to_owned(),
            connection: connection.to_owned(),
            asked,
            allowed,
        }
    }

    pub(super) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// May the plugin go there, beyond the addresses of the connection?
    ///
    /// # Errors
    /// Says which grant is missing, and where.
    pub(super) fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        let Self {
            plugin, connection, ..
        } = self;
        let covers = |all: &[TcpRights]| all.iter().any(|rights| rights.covers(endpoint));
        let grant = format!("{{ connection = \"{connection}\", endpoints = [\"{endpoint}\"] }}");
        let (asked, allowed) = match &self.allowed {
            Some(allowed) => (Some(&self.asked), allowed),
            None => (None, &self.asked),
        };
        if asked.is_some_and(|asked| !covers(asked)) {
            return Err(format!(
                "the manifest of `{plugin}` does not ask for {endpoint}: add {grant} to `grants.tcp` \
                 in {plugin}.toml beside the plugin"
            ));
        }
        if !covers(allowed) {
            return Err(format!(
                "`{plugin}` may not connect to {endpoint}: allow it with grants = {{ tcp = [{grant}] \
                 }} in [transports.{plugin}], or add it to `addresses` in \
                 [connections.tcp.{connection}]"
            ));
        }
        Ok(())
    }

    /// For people.
    pub(crate) fn in_words(&self) -> String {
        let asked = in_words(&self.asked);
        match self.allowed.as_deref().map(in_words) {
            Some(allowed) if allowed != asked => format!("{asked}; of that {allowed}"),
            _ => asked,
        }
    }
}

fn in_words(all: &[TcpRights]) -> String {
    let patterns = all.iter().flat_map(|rights| &rights.endpoints);
    let mut words = "its addresses".to_owned();
    for pattern in patterns {
        words.push_str(&format!(", {pattern}"));
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rights(patterns: &[&str]) -> Vec<TcpRights> {
        let endpoints = patterns.iter().map(|text| text.parse().unwrap()).collect();
        vec![TcpRights { endpoints }]
    }

    fn check(asked: &[&str], allowed: Option<&[&str]>) -> Result<(), String> {
        let permit = TcpPermit::new("nats", "main", rights(asked), allowed.map(rights));
        permit.check(&"n1.internal:4222".parse().unwrap())
    }

    #[test]
    fn an_endpoint_must_be_asked_for_and_allowed_and_the_error_names_the_line() {
        assert_eq!(check(&["*:*"], Some(&["*.internal:4222"])), Ok(()));
        assert_eq!(check(&["n1.internal:*"], None), Ok(()));
        let missing = "{ connection = \"main\", endpoints = [\"n1.internal:4222\"] }";
        for denied in [check(&["*:*"], Some(&[])), check(&[], None)] {
            let denied = denied.unwrap_err();
            assert!(denied.contains("in [transports.nats]"), "{denied}");
            assert!(denied.contains(missing), "{denied}");
        }
        let unasked = check(&[], Some(&["*:*"])).unwrap_err();
        assert!(unasked.contains("nats.toml"), "{unasked}");
        assert!(unasked.contains(missing), "{unasked}");
    }
}
