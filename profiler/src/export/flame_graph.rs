//! Profiles → a flame graph, SVG.

use std::io;

use inferno::flamegraph::{Options, color::BasicPalette, color::Palette, from_lines};

use crate::{
    measure::{Kind, Sum},
    profile::{Projected, folded::folded, printable},
};

/// The SVG of the profiles of one kind.
pub(super) fn svg(profiles: &[Projected], kind: Kind) -> io::Result<Vec<u8>> {
    // inferno removes one mark of the kernel's frames.
    let lines = folded(profiles, kind).replace("_[k]", "_[k]_[k]");
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

fn title(profiles: &[Projected], kind: Kind) -> String {
    let profiles_named = profiles.iter().take(4);
    let names: Vec<_> = profiles_named
        .map(|profile| printable(&profile.service.name))
        .collect();
    let more = if profiles.len() > names.len() {
        ", …"
    } else {
        ""
    };
    let title = kind.terms().title;
    format!("{title} of {}{more}", names.join(", "))
}

fn subtitle(profiles: &[Projected], kind: Kind) -> String {
    let profiles = profiles.iter().filter(|profile| profile.kind == kind);
    let Sum { samples, nanos } = profiles.map(Projected::sum).sum();
    let title = kind.terms().title;
    format!("{samples} samples, {} ms of {title}", nanos / 1_000_000)
}
