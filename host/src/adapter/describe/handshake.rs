//! The request that opened a connection, as Node.js tells it (`socket.handshake`).

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::UNIX_EPOCH,
};

use http::{header::ORIGIN, request::Parts};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{headers, query};
use crate::{
    adapter::handshake_layer::Arrival, cluster::message::Payload, payload::date::javascript_text,
};

/// In the order of Node.js. What is not known is left out.
#[derive(Serialize)]
struct Handshake<'a> {
    headers: BTreeMap<&'a str, headers::Value<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    xdomain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued: Option<u64>,
    url: &'a str,
    query: BTreeMap<String, String>,
    auth: &'a RawValue,
}

/// The handshake of a request, without the headers whose names are given.
pub(super) fn of(request: &Parts, auth: Option<Arc<Payload>>, hidden: &HashSet<String>) -> Payload {
    let arrival = request.extensions.get::<Arrival>();
    let issued = arrival
        .and_then(|arrival| arrival.at.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok());
    let (auth_json, attachments) = match auth.as_deref() {
        Some(auth) => (auth.json.as_str(), auth.attachments.clone()),
        None => ("{}", Vec::new()),
    };
    let written = serde_json::from_str::<&RawValue>(auth_json).and_then(|auth| {
        serde_json::to_string(&Handshake {
            headers: headers::of(&request.headers, hidden),
            time: issued
                .and_then(|ms| i64::try_from(ms).ok())
                .and_then(javascript_text),
            address: arrival.and_then(|arrival| arrival.peer),
            xdomain: request.headers.contains_key(ORIGIN),
            secure: arrival.map(|arrival| arrival.secure),
            issued,
            url: request.uri.path_and_query().map_or("/", |url| url.as_str()),
            query: query::parse(request.uri.query().unwrap_or_default()),
            auth,
        })
    });
    match written {
        Ok(json) => Payload {
            json: json.into(),
            attachments,
        },
        // Text keys and an auth that was checked: there is nothing that could fail.
        Err(_) => Payload::text(super::UNKNOWN_HANDSHAKE),
    }
}
