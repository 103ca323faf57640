//! A Flask app under gunicorn, under load: the samples of a view carry its span.

use tests::{
    on_every_python,
    profile::{Profile, Row},
    python::Python,
    shop::Shop,
    spanprof,
};

on_every_python!(views_carry_their_spans);

/// Requests to each app. One takes some 20 ms of CPU: 4 samples at the frequency used.
const REQUESTS: usize = 200;
const VIEWS: [(&str, &str); 2] = [
    ("search_view", "GET /search/<query>"),
    ("checkout_view", "GET /checkout"),
];

/// Of the samples in a view, started before the recording or after, at least 95 % carry the view's
/// span as the app's own exporter reported it, and none carries another.
fn views_carry_their_spans(python: &Python) {
    let before = Shop::start(python, "shop-before");
    let recording = spanprof::Recording::start(&["--frequency", "199"]);
    let after = Shop::start(python, "shop-after");
    before.serve(REQUESTS);
    after.serve(REQUESTS);
    let recorded = recording.stop();
    for (shop, name) in [(before, "shop-before"), (after, "shop-after")] {
        check(shop, name, &recorded.profile);
    }
}

fn check(shop: Shop, name: &str, profile: &Profile) {
    let workers = shop.workers.clone();
    let spans = shop.stop();
    for (view, span_name) in VIEWS {
        let (mut all, mut right) = (0, 0);
        let of_shop = |row: &&Row| workers.contains(row.label("pid"));
        for row in profile.rows_in(view).into_iter().filter(of_shop) {
            assert_eq!(row.label("service_name"), name, "{row:#?}");
            all += row.nanoseconds;
            if row.label("span_id").is_empty() && row.label("span_name").is_empty() {
                continue;
            }
            assert_eq!(row.label("span_name"), span_name, "{row:#?}");
            let reported = &spans[row.label("span_id")];
            assert_eq!(reported.name, span_name, "{row:#?}");
            assert_eq!(reported.trace_id, row.label("trace_id"), "{row:#?}");
            let active = &spans[row.label("active_span_id")];
            assert_eq!(active.name, row.label("active_span_name"), "{row:#?}");
            if row.is_in("price_cart") {
                assert_eq!(active.name, "price cart", "{row:#?}");
                assert_eq!(active.parent.as_deref(), Some(row.label("span_id")));
            }
            right += row.nanoseconds;
        }
        let samples = all / profile.period;
        assert!(samples > 200, "only {samples} samples in {view} of {name}");
        eprintln!("{name}, {view}: {right} of {all} ns have their span");
        assert!(
            right * 100 >= all * 95,
            "{name}, {view}: {right} of {all} ns have their span"
        );
    }
}
