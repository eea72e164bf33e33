//! What tools ask and is not served, each with the reason: nobody has to find out whether a path is misspelt.

use axum::{Router, http::StatusCode, routing::any};

use super::{Context, routes::Refused};

/// The placement driver has one member.
const ALONE: &str = "the placement driver has one member so far: no other one can lead, and it cannot be taken away";
/// Nothing is kept for readers of the past.
const NO_SAFE_POINTS: &str =
    "transactions are not served, so there are no old versions that a safe point could keep";
/// A node's own business.
const OWN_FILE: &str = "what a placement driver is started with stands in its own file and cannot be changed or shown here: /config has the \
     settings of the cluster";

/// Nothing acknowledged is given up.
const NO_MINORITY: &str = "a region that has lost its majority is not made anew from what is left, since that may lack what was acknowledged: start \
     its stores again. A store that is lost where majorities are left is removed by DELETE /store/{id}?force";

const REFUSED: [(&str, &str); 16] = [
    ("/leader/resign", ALONE),
    ("/leader/transfer/{name}", ALONE),
    ("/members/name/{name}", ALONE),
    ("/members/id/{id}", ALONE),
    (
        "/regions/cpu",
        "stores do not tell what processor time a region takes: /regions/readflow and writeflow have its load",
    ),
    (
        "/regions/check/undersized-region",
        "regions are not merged, so none is too small: /regions/check/empty-region has the empty ones",
    ),
    (
        "/regions/check/hist-size",
        "sizes are not counted by class: /regions/size has the largest ones",
    ),
    (
        "/regions/check/hist-keys",
        "keys are not counted by class: /regions/keys has the largest ones",
    ),
    ("/config/pd-server", OWN_FILE),
    ("/config/service-middleware", OWN_FILE),
    ("/service-middleware/config", OWN_FILE),
    ("/gc/safepoint", NO_SAFE_POINTS),
    ("/gc/safepoint/{service}", NO_SAFE_POINTS),
    ("/admin/log", "how much is logged is said when a node is started"),
    ("/admin/unsafe/remove-failed-stores", NO_MINORITY),
    ("/admin/unsafe/remove-failed-stores/show", NO_MINORITY),
];

/// These paths below `/pd/api/v1`.
pub(super) fn router() -> Router<Context> {
    REFUSED.into_iter().fold(Router::new(), |router, (path, why)| {
        let refuse = move || async move {
            Refused(StatusCode::NOT_IMPLEMENTED, format!("[PD:apiutil:ErrNotServed]{why}"))
        };
        router.route(path, any(refuse))
    })
}
