//! Profiles → a flame graph, SVG.

use std::io;

use inferno::flamegraph::{Options, color::BasicPalette, color::Palette, from_lines};

use crate::{
    measure::{Kind, Sum},
    profile::{
        Profile, Row,
        folded::folded,
        view::{NativeFrames, view},
    },
};

/// The SVG of the rows of one kind, with these frames of machine code.
pub(super) fn svg(profiles: &[Profile], kind: Kind, native: NativeFrames) -> io::Result<Vec<u8>> {
    let shown = profiles.iter();
    let shown: Vec<Profile> = shown
        .map(|profile| view(profile, native).into_owned())
        .collect();
    // One mark of the kernel's frames is taken off by the one who draws.
    let lines = folded(&shown, kind).replace("_[k]", "_[k]_[k]");
    let mut options = Options::default();
    options.title = title(profiles, kind);
    options.subtitle = Some(subtitle(profiles, kind));
    kind.terms()
        .counted
        .unit()
        .clone_into(&mut options.count_name);
    options.colors = Palette::Basic(BasicPalette::Hot);
    // Equal names get equal colours, so that two graphs can be compared.
    options.hash = true;
    let mut svg = Vec::new();
    if lines.is_empty() {
        // Without a stack inferno refuses to draw; an empty recording is no error.
        from_lines(&mut options, ["[no samples] 1"], &mut svg).map_err(io::Error::other)?;
    } else {
        from_lines(&mut options, lines.lines(), &mut svg).map_err(io::Error::other)?;
    }
    Ok(svg)
}

fn title(profiles: &[Profile], kind: Kind) -> String {
    let names: Vec<&str> = profiles
        .iter()
        .take(4)
        .map(|profile| profile.service.name.as_str())
        .collect();
    let more = if profiles.len() > names.len() {
        ", …"
    } else {
        ""
    };
    let title = kind.terms().title;
    format!("{title} of {}{more}", names.join(", "))
}

fn subtitle(profiles: &[Profile], kind: Kind) -> String {
    let rows = profiles.iter().flat_map(|profile| &profile.rows);
    let rows = rows.filter(|row| row.measure.kind == kind);
    let Sum { samples, nanos } = rows.map(Row::sum).sum();
    let title = kind.terms().title;
    format!("{samples} samples, {} ms of {title}", nanos / 1_000_000)
}
