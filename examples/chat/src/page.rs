//! The files of the page, read from the `web` folder at every request, so that an edit shows at
//! the next reload. Only files in the table below are served. Nothing here knows of Socket.IO.

use std::{path::Path, sync::Arc};

use axum::{
    Router,
    extract::{self, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tracing::warn;

/// The official client, as `npm ci` puts it into the `web` folder.
const CLIENT: &str = "node_modules/socket.io-client/dist/socket.io.esm.min.js";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name in the address, file in the `web` folder, media type.
const FILES: [(&str, &str, &str); 15] = [
    ("index.html", "index.html", HTML),
    ("style.css", "style.css", CSS),
    ("icon.svg", "icon.svg", SVG),
    ("app.js", "app.js", JS),
    ("cluster.js", "cluster.js", JS),
    ("composer.js", "composer.js", JS),
    ("connection.js", "connection.js", JS),
    ("dom.js", "dom.js", JS),
    ("messages.js", "messages.js", JS),
    ("people.js", "people.js", JS),
    ("picture.js", "picture.js", JS),
    ("theme.js", "theme.js", JS),
    ("transport.js", "transport.js", JS),
    ("visitor.js", "visitor.js", JS),
    ("socket.io.js", CLIENT, JS),
];

/// The page talks to its own server only, and shows pictures only from memory.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob:; frame-ancestors 'none'";

/// Serves the page from the folder `web`.
pub(crate) fn router(web: &Path) -> Router {
    if !web.join(CLIENT).is_file() {
        warn!(
            "the page lacks Socket.IO's client; type: npm ci --prefix {}",
            web.display()
        );
    }
    Router::new()
        .route(
            "/",
            get(|web| file(web, extract::Path("index.html".to_owned()))),
        )
        .route("/{name}", get(file))
        .with_state(Arc::from(web))
}

async fn file(
    State(web): State<Arc<Path>>,
    extract::Path(name): extract::Path<String>,
) -> Response {
    let Some((_, path, media_type)) = FILES.iter().find(|file| file.0 == name) else {
        return (StatusCode::NOT_FOUND, "There is no such page.\n").into_response();
    };
    match tokio::fs::read(web.join(path)).await {
        Ok(bytes) => {
            let headers = [
                (header::CONTENT_TYPE, *media_type),
                (header::CACHE_CONTROL, "no-cache"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            ];
            (headers, bytes).into_response()
        }
        Err(error) => {
            let advice = match *path {
                CLIENT => format!("Type: npm ci --prefix {}", web.display()),
                _ => "Give the folder with the page's files as --web DIR.".to_owned(),
            };
            let text = format!(
                "{path} in {} cannot be read: {error}\n{advice}\n",
                web.display()
            );
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_in_the_folder() {
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        for (_, path, _) in FILES.iter().filter(|file| file.1 != CLIENT) {
            assert!(
                web.join(path).is_file(),
                "{path} is in the table but not in {web:?}"
            );
        }
    }

    #[tokio::test]
    async fn only_files_in_the_table_are_served() {
        let web: Arc<Path> = Arc::from(Path::new(env!("CARGO_MANIFEST_DIR")).join("web"));
        for name in ["package.json", "../Cargo.toml", "", "index.html/"] {
            let answer = file(State(web.clone()), extract::Path(name.to_owned())).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "for {name:?}");
        }
        let answer = file(State(web), extract::Path("index.html".to_owned())).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
